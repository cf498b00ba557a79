"""`signpost verify`: whether a request is genuine, and if not, why."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.cli.context import command_app, print_json, settings_of
from deploy.config.senders import sender_named
from schemas.catalog.errors import InvalidInput
from schemas.senders.sender import load_senders
from schemas.senders.verification import Finding, examine

app = command_app()

_STDIN: Final = "-"
_NOT_GENUINE: Final = 1


@app.command()
def _verify(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="File with the body, byte for byte; - is standard input.")
    ],
    *,
    sender: Annotated[str, typer.Option(metavar="NAME", help="Sender of the webhook.")],
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'Name: value'", help="A header of the request; repeatable."),
    ] = None,
    headers_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with the headers: lines `Name: value`, or a JSON object.")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="The subscription's secret, or its public key; other users of this machine can see it."),
    ] = None,
    secret_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with the secret.")
    ] = None,
    secret_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with the secret; - is standard input.")
    ] = None,
    any_time: Annotated[bool, typer.Option("--any-time", help="Accept a request of any age.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check whether a request is genuine (exit code 0), and if not, explain why (exit code 1).

    The command tries common mistakes with the secret, the body and the signature, and names the one that explains it.
    """
    known = load_senders().get(sender) or sender_named(settings_of(ctx, broker=False), sender)
    if [file, headers_file, secret_file].count(_STDIN) > 1:
        raise InvalidInput("only one of FILE, --headers-file and --secret-file can be standard input")
    headers = _headers([*_lines(headers_file), *(header or ())])
    now_s = None if any_time else int(time.time())
    found = examine(known, headers, _read(file), _secret(secret, secret_env, secret_file), now_s)
    _print(found, as_json=as_json)
    if not found.is_genuine:
        raise typer.Exit(_NOT_GENUINE)


def _print(found: Finding, *, as_json: bool) -> None:
    if as_json:
        about = {"kind": found.kind, "sentence": found.sentence, "hints": list(found.hints)}
        print_json({"genuine": found.is_genuine, **about})
        return
    for line in (found.sentence, *(f"  {hint}" for hint in found.hints)):
        typer.echo(line)


def _secret(text: str | None, variable: str | None, file: str | None) -> str:
    if [text, variable, file].count(None) != 2:  # exactly one of three
        raise InvalidInput("give the secret by exactly one of --secret-env, --secret-file and --secret")
    if variable is not None:
        text = os.environ.get(variable)
    elif file is not None:
        text = _read(file).decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidInput(
            "the secret is empty" if variable is None else f"--secret-env: {variable} is not set, or empty"
        )
    return text


def _lines(file: str | None) -> list[str]:
    if file is None:
        return []
    text = _read(file).decode("utf-8", "surrogateescape")
    if not text.lstrip().startswith("{"):
        return [line for line in text.splitlines() if line.strip()]
    try:
        return [f"{name}: {value}" for name, value in json.loads(text).items()]
    except ValueError as error:
        raise InvalidInput(f"--headers-file: {file} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidInput(f"--headers-file: {file} is nested too deeply for a JSON object of headers") from None


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidInput(f"--header: write 'Name: value' ({name[:100]!r} has no colon)")
        try:
            line.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a JSON escape that is half of a surrogate pair
            raise InvalidInput(f"--header: {name[:100]!r}: the line is not valid text") from None
        headers[name.strip()] = value.removeprefix(" ")
    return headers


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from None
