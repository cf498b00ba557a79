"""`signpost receiver`: an endpoint that verifies signatures and prints one line per delivery."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

import typer

from deploy.cli.context import command_app, duration_of, settings_of
from deploy.config.secret_text import without_bom
from deploy.config.senders import sender_named
from deploy.dev.foreground import StopRequest
from deploy.dev.receiver import Receiver, Verify
from deploy.dev.responses import Behaviour, CannedResponse, Hang, Received, Reply, always, fail_first, text_in
from schemas.catalog.errors import InvalidInput
from schemas.senders.sender import Sender, load_senders
from schemas.subscriptions.secret_warnings import form_of

app = command_app()

Show: TypeAlias = Callable[[Received, Reply, str | None, Sender], str]

_FAILURE: Final = 503
_NOT_GENUINE: Final = 401
_MAX_SHOWN: Final = 200  # characters of a text from a request in a line for people


@app.command()
def _receiver(
    ctx: typer.Context,
    *,
    secret: Annotated[
        str | None,
        typer.Option(help="The subscription's secret; other users of this machine can see it.", show_default=False),
    ] = None,
    secret_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with the secret.", show_default=False)
    ] = None,
    sender: Annotated[str, typer.Option(help="Sender whose signatures are verified.")] = "zenoo",
    host: Annotated[str, typer.Option(help="Address to listen on; by default loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8080,
    fail: Annotated[
        int, typer.Option(metavar="N", min=0, help=f"Respond {_FAILURE} to the first N attempts of each event.")
    ] = 0,
    status: Annotated[int, typer.Option(min=200, max=599, help="Status of all other responses.")] = 200,
    delay: Annotated[str, typer.Option(metavar="TIME", help="Wait before each response, such as 500ms or 20s.")] = "0s",
    hang: Annotated[
        bool, typer.Option("--hang", help="Never respond; with --fail only to the first N attempts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with headers and body.")] = False,
) -> None:
    """Receive webhooks, verify their signatures, and print one line per delivery until Ctrl-C.

    With a secret, requests that are not genuine get a 401.
    """
    key = _secret(secret, secret_env)
    show = _json_line if as_json else _line
    known_sender = _sender(ctx, sender)
    verify = _verifier(known_sender, key) if key else None
    behave = _behaviour(fail, status, duration_of("--delay", delay), hang)
    _run(behave, host=host, port=port, sender=known_sender, key=key, verify=verify, show=show)


def _run(
    behave: Behaviour, *, host: str, port: int, sender: Sender, key: str | None, verify: Verify | None, show: Show
) -> None:
    stop_request = StopRequest()
    failures: list[OSError] = []

    def print_one(received: Received, reply: Reply) -> None:
        try:
            typer.echo(show(received, reply, key, sender))
        except OSError as error:  # the endpoint still responds to this request
            failures.append(error)
            stop_request.now()

    with Receiver(behave, host=host, port=port, verify=verify, on_delivery=print_one, keep=False) as receiver:
        verified = f"verifies signatures of {sender.name}" if key else "verifies nothing: no secret given"
        typer.echo(f"receiver: {receiver.url}, {verified}", err=True)
        stop_request.wait()
    for failure in failures[:1]:
        if failure.errno != errno.EPIPE:  # `signpost receiver | head`
            raise failure


def _secret(secret: str | None, variable: str | None) -> str | None:
    if secret and variable:
        raise InvalidInput("--secret and --secret-env exclude each other: give one")
    if not variable:
        return secret
    if not (value := without_bom(os.environ.get(variable, ""))):
        raise InvalidInput(f"--secret-env: the environment variable {variable} is not set")
    return value


def _sender(ctx: typer.Context, name: str) -> Sender:
    return load_senders().get(name) or sender_named(settings_of(ctx, broker=False), name)


def _verifier(sender: Sender, secret: str) -> Verify:
    try:
        sender.signing_key(secret)
    except InvalidInput as error:  # otherwise every delivery would be refused
        raise InvalidInput(f"invalid secret for sender {sender.name}: {error}{form_of(secret)}") from None
    return lambda received: sender.verify(dict(received.headers), received.body, secret)


def _behaviour(fail: int, status: int, delay: timedelta, hang: bool) -> Behaviour:
    usual = CannedResponse(status, delay=delay)
    failing: Reply = Hang() if hang else CannedResponse(_FAILURE, delay=delay)
    refused = CannedResponse(_NOT_GENUINE, delay=delay)
    behave = fail_first(fail, failing, usual) if fail else always(failing if hang else usual)
    return lambda received: refused if received.problem is not None else behave(received)


def _verification(received: Received, key: str | None) -> str:
    if received.problem is not None:
        return received.problem
    return "signature ok" if key else "not verified"


def _status(reply: Reply) -> int | None:
    return reply.status if isinstance(reply, CannedResponse) else None


def _event_type(received: Received, sender: Sender) -> str | None:
    """Return the event type from the body's envelope or from a header, as this sender has it."""
    key = next((key for key, field in sender.envelope_keys.items() if field == "event_type"), None)
    if key is None:
        names = [name.lower() for name, value in sender.header_templates.items() if value.lower() == "{event_type}"]
        return next((value for name, value in received.headers if name.lower() in names), None)
    return text_in(received.body, key)


def _line(received: Received, reply: Reply, key: str | None, sender: Sender) -> str:
    """Return a delivery as a line for people."""
    at = datetime.fromtimestamp(received.arrived_at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    status = _status(reply)
    parts = (
        at,
        str(status or "hang"),
        received.event_id or "no event id",
        _event_type(received, sender) or "no event type",
        f"attempt {received.attempt}",
        _verification(received, key),
        f"{len(received.body)} bytes",
        f"{received.method} {received.path}",
    )
    line = "  ".join(_printable(part) for part in parts)
    good = received.problem is None and status is not None and status < 300
    return typer.style(line, fg=None if good else "yellow")


def _printable(text: str) -> str:
    """Return text of a request that neither moves the cursor nor fills the screen."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_SHOWN])


def _json_line(received: Received, reply: Reply, key: str | None, sender: Sender) -> str:
    """Return a delivery as a line of JSON."""
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
