"""Options about one subscription. Secrets come from an environment variable or a file, never from an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from deploy.config.secret_text import read_secret, without_bom
from deploy.config.subscription_settings import read_schedule
from schemas.catalog.errors import InvalidInput
from schemas.input.durations import parse_duration
from schemas.input.suggestions import did_you_mean
from schemas.subscriptions.client_certificate import GivenCertificate, read_certificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import KEEP, Given, Keep, NoSecret

_STDIN: Final = "-"
_DEFAULT: Final = "default"
PANEL: Final = "Settings of this subscription"


def _own(name: str, metavar: str, text: str) -> Any:
    """Return an option about a setting of the subscription."""
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=PANEL, show_default=False)


Id: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="ID", help="Any id of 1 to 128 letters, digits, _ or -, such as acme-cases."),
]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--event-type", "-e", metavar="TYPE", help="An event type, `case.*`, `*` or `all`; repeatable."),
]
NoTypes: TypeAlias = Annotated[
    bool, typer.Option("--no-event-types", help="An empty list, which receives nothing, if the sender allows it.")
]
Description: TypeAlias = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="For people; never sent.")
]
SecretEnv: TypeAlias = Annotated[
    str | None, typer.Option("--secret-env", metavar="NAME", help="Environment variable with the secret.")
]
SecretFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--secret-file", metavar="FILE", help="File with the secret; - is standard input."),
]
WithoutSecret: TypeAlias = Annotated[
    bool, typer.Option("--no-secret", help="No secret: requests are not signed, if the sender allows it.")
]
Paused: TypeAlias = Annotated[bool, typer.Option("--paused", help="Send nothing until `resume`.")]
Filters: TypeAlias = Annotated[
    str | None,
    typer.Option("--filters", metavar="JSON", help="An object, if the sender has filters; stored, not evaluated."),
]
Header: TypeAlias = Annotated[
    list[str] | None,
    _own(
        "--header",
        "'Name: value'",
        "Sent with every attempt, such as 'X-Region: eu'; other users of this machine can see it.",
    ),
]
HeaderEnv: TypeAlias = Annotated[
    list[str] | None,
    _own(
        "--header-env",
        "NAME=VARIABLE",
        "A header with its value from a variable: Authorization=ACME_TOKEN.",
    ),
]
HeaderFile: TypeAlias = Annotated[
    list[str] | None,
    _own("--header-file", "NAME=FILE", "A header with its value from a file; - is standard input."),
]
RemoveHeader: TypeAlias = Annotated[list[str] | None, _own("--remove-header", "NAME", "Remove a header; repeatable.")]
Certificate: TypeAlias = Annotated[
    str | None,
    _own("--client-certificate", "FILE", "Client certificate for mTLS, in PEM with its chain."),
]
Key: TypeAlias = Annotated[
    str | None, _own("--client-key", "FILE", "Key of that certificate, in PEM; - is standard input.")
]
Schedule: TypeAlias = Annotated[
    str | None,
    _own(
        "--schedule",
        "WAITS",
        "Waits after failed attempts, such as 5s,1m,30m. Each is 1s, 5s, 20s, 1m, 5m, 30m, 2h, 5h, 10h, 14h, 20h or "
        "24h, or one in the schedule of a sender of your own: these have delay topics. `none`: one attempt.",
    ),
]
Timeout: TypeAlias = Annotated[
    str | None, _own("--timeout", "TIME", "Timeout of an attempt, in whole seconds or minutes: 10s, 1m.")
]
MaxInFlight: TypeAlias = Annotated[
    str | None, _own("--max-in-flight", "N", "Maximum concurrent requests: 1 to 10,000, by default 16.")
]
RateLimit: TypeAlias = Annotated[
    str | None, _own("--rate-limit", "N", "Maximum requests per second: 0.001 to 100,000, such as 2.5 or 0.1.")
]


def secret_of(variable: str | None, file: str | None) -> Given | None:
    """Return the given secret, None if there is none."""
    if variable is not None and file is not None:
        raise InvalidInput("--secret-env and --secret-file exclude each other: give one")
    if variable is not None:
        return Given(_of_variable("--secret-env", variable))
    return None if file is None else Given(_of_file("--secret-file", file))


def secret_source(variable: str | None, file: str | None, *, none: bool) -> Given | NoSecret | None:
    """Return the given secret, the wish for none, or None if nothing is said about it."""
    if none and (variable, file) != (None, None):
        raise InvalidInput("--no-secret excludes --secret-env and --secret-file")
    return NoSecret() if none else secret_of(variable, file)


def types_of(names: Sequence[str] | None, *, none: bool) -> tuple[str, ...] | Keep:
    """Return the event types; KEEP leaves the present ones, or those that a new subscription gets by default."""
    if none and names:
        raise InvalidInput("--no-event-types excludes --event-type")
    return tuple(names) if names else () if none else KEEP


def headers_of(
    literal: Sequence[str] | None, variables: Sequence[str] | None, files: Sequence[str] | None
) -> tuple[GivenHeader, ...]:
    """Return the headers, given literally, by variables or by files."""
    commands = []
    for given in literal or ():
        name, colon, value = given.partition(":")
        if not colon:
            raise InvalidInput(f"--header: write 'Name: value' ({name[:100]!r} has no colon)")
        commands.append(GivenHeader(name, value.removeprefix(" ")))
    for option, pairs, fetch in (
        ("--header-env", variables, _of_variable),
        ("--header-file", files, _of_file),
    ):
        for given in pairs or ():
            name, equals, where = given.partition("=")
            if not equals:
                raise InvalidInput(f"{option}: write Name=… (there is no =)")
            commands.append(GivenHeader(name, fetch(option, where)))
    return tuple(commands)


def certificate_of(certificate: str | None, key: str | None) -> GivenCertificate | Keep | None:
    """Return the client certificate; KEEP leaves the present one, None removes it."""
    if certificate is None and key is None:
        return KEEP
    if certificate == "none" and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput("--client-certificate and --client-key belong together: give both")
    return read_certificate(_of_file("--client-certificate", certificate), _of_file("--client-key", key))


def settings_named(schedule: str | None, timeout: str | None, most: str | None, rate: str | None) -> dict[str, Any]:
    """Return the given settings, as fields of a draft."""
    found: dict[str, Any] = {}
    for name, text, read in (
        ("schedule", schedule, read_schedule),
        ("timeout", timeout, parse_duration),
        ("max_in_flight", most, int),
        ("rate_limit", rate, float),
    ):
        if text is None:
            continue
        try:
            found[name] = None if text == _DEFAULT else read(text)
        except ValueError:
            hint = did_you_mean(text, (_DEFAULT,))
            raise InvalidInput(
                f"--{name.replace('_', '-')}: write a number or `default` (got {text!r}){hint}"
            ) from None
        except InvalidInput as error:
            words = (_DEFAULT, "none") if name == "schedule" else (_DEFAULT,)
            raise InvalidInput(f"--{name.replace('_', '-')}: {error}{did_you_mean(text, words)}") from None
    return found


def _of_variable(option: str, name: str) -> str:
    value = without_bom(os.environ.get(name, ""))
    if not value:
        raise InvalidInput(f"{option}: the environment variable {name} is not set, or empty")
    return value


def _of_file(option: str, name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == _STDIN else Path(name).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{option}: {name} cannot be read: {error}") from None
    text = read_secret(content, f"{option}: {name}")
    if not text:
        raise InvalidInput(f"{option}: {name} is empty")
    return text
