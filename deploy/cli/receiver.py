"""`signpost receiver`: an endpoint that verifies signatures and prints one line a delivery."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from deploy.cli.context import START, duration_of, settings_of
from schemas.errors import InvalidInput

if TYPE_CHECKING:
    from deploy.local.receiver import Verify
    from deploy.local.replies import Behaviour, Received, Reply
    from schemas.sender import Sender

    Show: TypeAlias = Callable[[Received, Reply, str | None, Sender], str]

_FAILURE: Final = 503
_NOT_GENUINE: Final = 401
_SHOWN: Final = 200  # characters of anything that came from outside, in a line for people


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("receiver", rich_help_panel=START)(_receiver)


def _receiver(
    ctx: typer.Context,
    *,
    secret: Annotated[
        str | None,
        typer.Option(help="The subscription's secret; others on this machine can see it.", show_default=False),
    ] = None,
    secret_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The variable that holds the secret.", show_default=False)
    ] = None,
    sender: Annotated[str, typer.Option(help="Whose signature is verified.")] = "zenoo",
    host: Annotated[str, typer.Option(help="Where to listen; loopback only, by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 is any that is free.")] = 8080,
    fail: Annotated[
        int, typer.Option(metavar="N", min=0, help=f"Answer {_FAILURE} to the first N attempts of every event.")
    ] = 0,
    status: Annotated[int, typer.Option(min=200, max=599, help="What is answered otherwise.")] = 200,
    delay: Annotated[str, typer.Option(metavar="TIME", help="Wait before each answer, such as 500ms or 20s.")] = "0s",
    hang: Annotated[
        bool, typer.Option("--hang", help="Never answer; with --fail only to the first N attempts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with headers and body.")] = False,
) -> None:
    """Take webhooks, verify their signatures, and print one line a delivery until Ctrl-C.

    With a secret, what is not genuine is answered 401.
    """
    key = _secret(secret, secret_env)
    show = _json_line if as_json else _line
    whose = _sender(ctx, sender)
    verify = _verifier(whose, key) if key else None
    behave = _behaviour(fail, status, duration_of("--delay", delay), hang)
    _run(behave, host=host, port=port, sender=whose, key=key, verify=verify, show=show)


def _run(
    behave: Behaviour, *, host: str, port: int, sender: Sender, key: str | None, verify: Verify | None, show: Show
) -> None:
    from deploy.local.foreground import Ending  # noqa: PLC0415  # asyncio, which `--help` does without
    from deploy.local.receiver import Receiver  # noqa: PLC0415

    ending = Ending()

    def print_one(received: Received, reply: Reply) -> None:
        try:
            typer.echo(show(received, reply, key, sender))
        except BrokenPipeError:  # `signpost receiver | head`
            ending.now()

    with Receiver(behave, host=host, port=port, verify=verify, on_delivery=print_one, keep=False) as receiver:
        verified = f"verifies signatures of {sender.name}" if key else "verifies nothing, as no secret is given"
        typer.echo(f"receiver: {receiver.url}, {verified}", err=True)
        ending.wait()


def _secret(secret: str | None, variable: str | None) -> str | None:
    if secret and variable:
        raise InvalidInput("--secret and --secret-env are both given: keep one of them")
    if not variable:
        return secret
    if not os.environ.get(variable):
        raise InvalidInput(f"--secret-env: the variable {variable} is not set")
    return os.environ[variable]


def _sender(ctx: typer.Context, name: str) -> Sender:
    from deploy.senders import sender_named  # noqa: PLC0415  # fastavro, which `--help` does without
    from schemas.sender import load_senders  # noqa: PLC0415

    return load_senders().get(name) or sender_named(settings_of(ctx), name)


def _verifier(sender: Sender, secret: str) -> Verify:
    try:
        sender.signing_key(secret)
    except InvalidInput as error:  # else every delivery would be refused for it
        raise InvalidInput(f"the secret is none of sender {sender.name}: {error}") from None
    return lambda received: sender.verify(dict(received.headers), received.body, secret)


def _behaviour(fail: int, status: int, delay: timedelta, hang: bool) -> Behaviour:
    from deploy.local.replies import Answer, Hang, always, fail_first  # noqa: PLC0415

    usual = Answer(status, delay=delay)
    failing: Reply = Hang() if hang else Answer(_FAILURE, delay=delay)
    refused = Answer(_NOT_GENUINE, delay=delay)
    behave = fail_first(fail, failing, usual) if fail else always(failing if hang else usual)
    return lambda received: refused if received.problem is not None else behave(received)


def _verdict(received: Received, key: str | None) -> str:
    if received.problem is not None:
        return received.problem
    return "signature ok" if key else "not verified"


def _status(reply: Reply) -> int | None:
    from deploy.local.replies import Answer  # noqa: PLC0415

    return reply.status if isinstance(reply, Answer) else None


def _event_type(received: Received, sender: Sender) -> str | None:
    """Return the type as this sender tells it: under a key of the body's envelope, else in a header."""
    key = next((key for key, field in sender.envelope_keys.items() if field == "event_type"), None)
    if key is None:
        telling = [n.lower() for n, value in sender.header_templates.items() if value.lower() == "{event_type}"]
        return next((value for name, value in received.headers if name.lower() in telling), None)
    try:
        value = json.loads(received.body)
    except ValueError:
        return None
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _line(received: Received, reply: Reply, key: str | None, sender: Sender) -> str:
    """Show a delivery to people."""
    at = datetime.fromtimestamp(received.arrived_at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    status = _status(reply)
    parts = (
        at,
        str(status or "hang"),
        received.event_id or "no event id",
        _event_type(received, sender) or "no event type",
        f"attempt {received.attempt}",
        _verdict(received, key),
        f"{len(received.body)} bytes",
        f"{received.method} {received.path}",
    )
    line = "  ".join(_printable(part) for part in parts)
    good = received.problem is None and status is not None and status < 300
    return typer.style(line, fg=None if good else "yellow")


def _printable(text: str) -> str:
    """Keep what came from outside from moving the cursor, or from filling the screen."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def _json_line(received: Received, reply: Reply, key: str | None, sender: Sender) -> str:
    """Show a delivery to programs."""
    return json.dumps(
        {
            "number": received.number,
            "at": datetime.fromtimestamp(received.arrived_at, UTC).isoformat(timespec="milliseconds"),
            "status": _status(reply),
            "event_id": received.event_id,
            "event_type": _event_type(received, sender),
            "attempt": received.attempt,
            "genuine": None if key is None else received.problem is None,
            "problem": received.problem,
            "method": received.method,
            "path": received.path,
            "headers": received.headers,
            "body": received.body.decode(errors="replace"),
        }
    )
