"""Options about one subscription, and what they mean. A secret need not stand in a command: a variable, a file, `-`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from schemas.errors import InvalidInput

if TYPE_CHECKING:  # cryptography and pydantic: `signpost --help` does without
    from schemas.client_certificate import CertificateWish
    from schemas.header_rules import HeaderWish
    from schemas.rules import Given, Keep

_STDIN: Final = "-"
_DEFAULT: Final = "default"
SETTINGS_OF_ITS_OWN: Final = "Settings of its own"


def _own(name: str, metavar: str, text: str) -> Any:
    """Describe an option about a setting of a subscription's own."""
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=SETTINGS_OF_ITS_OWN, show_default=False)


Id: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="Yours for it: 1 to 128 letters, digits, _ or -, such as acme-cases.")
]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--event-type", "-e", metavar="TYPE", help="Exact, `case.*`, or `*`; as often as needed."),
]
Description: TypeAlias = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="For people; no receiver sees it.")
]
SecretEnv: TypeAlias = Annotated[
    str | None, typer.Option("--secret-env", metavar="NAME", help="The variable that holds the secret.")
]
SecretFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--secret-file", metavar="FILE", help="The file that holds the secret; - is standard input."),
]
Header: TypeAlias = Annotated[
    list[str] | None,
    _own(
        "--header",
        "'Name: value'",
        "Sent with every attempt, such as 'X-Region: eu'; others on this machine can see what stands here.",
    ),
]
HeaderEnv: TypeAlias = Annotated[
    list[str] | None,
    _own("--header-env", "NAME=VARIABLE", "A header whose value a variable holds: Authorization=ACME_TOKEN."),
]
HeaderFile: TypeAlias = Annotated[
    list[str] | None,
    _own("--header-file", "NAME=FILE", "A header whose value a file holds; - is standard input."),
]
RemoveHeader: TypeAlias = Annotated[
    list[str] | None, _own("--remove-header", "NAME", "Take a header away; as often as needed.")
]
Certificate: TypeAlias = Annotated[
    str | None,
    _own("--client-certificate", "FILE", "Shown to an endpoint that asks for one (mTLS): PEM, with its chain."),
]
Key: TypeAlias = Annotated[str | None, _own("--client-key", "FILE", "Its key, in PEM; - is standard input.")]
Schedule: TypeAlias = Annotated[
    str | None,
    _own(
        "--schedule",
        "WAITS",
        "The waits after failed attempts, such as 5s,1m,30m (`signpost topics plan` knows the tiers); `none`: one "
        "attempt.",
    ),
]
Timeout: TypeAlias = Annotated[
    str | None, _own("--timeout", "TIME", "How long one attempt may take, in whole seconds or minutes: 10s, 1m.")
]
MaxInFlight: TypeAlias = Annotated[
    str | None, _own("--max-in-flight", "N", "Requests at a time at most: 1 to 10,000; 16 if nothing is said.")
]
RateLimit: TypeAlias = Annotated[
    str | None, _own("--rate-limit", "N", "Requests a second at most: 0.001 to 100,000, such as 2.5 or 0.1.")
]


def secret_of(variable: str | None, file: str | None) -> Given | None:
    """Return the secret that is given."""
    from schemas.rules import Given  # noqa: PLC0415  # see above

    if variable is not None and file is not None:
        raise InvalidInput("--secret-env and --secret-file are both given: keep one of them")
    if variable is not None:
        return Given(_of_variable("--secret-env", variable))
    return None if file is None else Given(_of_file("--secret-file", file))


def headers_of(
    literal: Sequence[str] | None, variables: Sequence[str] | None, files: Sequence[str] | None
) -> tuple[HeaderWish, ...]:
    """Return the headers that are given in one of three ways."""
    from schemas.header_rules import HeaderWish  # noqa: PLC0415  # see above

    wishes = []
    for given in literal or ():
        name, colon, value = given.partition(":")
        if not colon:
            raise InvalidInput(f"--header: write 'Name: value' ({name[:100]!r} has no colon)")
        wishes.append(HeaderWish(name, value.removeprefix(" ")))
    for option, pairs, fetch in (
        ("--header-env", variables, _of_variable),
        ("--header-file", files, _of_file),
    ):
        for given in pairs or ():
            name, equals, where = given.partition("=")
            if not equals:
                raise InvalidInput(f"{option}: write Name=… (there is no =)")
            wishes.append(HeaderWish(name, fetch(option, where)))
    return tuple(wishes)


def certificate_of(certificate: str | None, key: str | None) -> CertificateWish | Keep | None:
    """Return the client certificate; None: the one that is there goes."""
    from schemas.client_certificate import read_certificate  # noqa: PLC0415  # see above
    from schemas.rules import KEEP  # noqa: PLC0415

    if certificate is None and key is None:
        return KEEP
    if certificate == "none" and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput("a client certificate has a key: give --client-certificate and --client-key together")
    return read_certificate(_of_file("--client-certificate", certificate), _of_file("--client-key", key))


def settings_named(schedule: str | None, timeout: str | None, most: str | None, rate: str | None) -> dict[str, Any]:
    """Return the settings that are named, as fields of a draft."""
    from deploy.subscription_settings import read_schedule  # noqa: PLC0415  # see above
    from schemas.durations import parse_duration  # noqa: PLC0415

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
            raise InvalidInput(f"--{name.replace('_', '-')}: write a number or `default` (got {text!r})") from None
        except InvalidInput as error:
            raise InvalidInput(f"--{name.replace('_', '-')}: {error}") from None
    return found


def _of_variable(option: str, name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidInput(f"{option}: the variable {name} is not set, or empty")
    return value


def _of_file(option: str, name: str) -> str:
    try:
        text = sys.stdin.read() if name == _STDIN else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{option}: {name} cannot be read: {error}") from None
    if not (text := text.removesuffix("\n").removesuffix("\r")):
        raise InvalidInput(f"{option}: {name} is empty")
    return text
