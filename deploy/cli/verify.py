"""`signpost verify`: whether a request is genuine, and if not, why."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Protocol

import typer

from deploy.cli.context import command_app, print_json, settings_of
from deploy.config.secret_text import read_secret
from deploy.config.senders import sender_named
from schemas.catalog.errors import InvalidInput
from schemas.input.header_text import Headers, joined_values, plain_name, read_headers
from schemas.input.recorded_request import read_request
from schemas.senders.sender import load_senders
from schemas.senders.verification import SignatureFinding, examine

app = command_app()

_STDIN: Final = "-"
_NOT_GENUINE: Final = 1


class _Examine(Protocol):
    def __call__(self, given: Mapping[str, str], body: bytes, *, has_bytes: bool = True) -> SignatureFinding: ...


@app.command()
def _verify(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="File with the body, byte for byte, or with the whole request: raw HTTP, JSON with headers and body, "
            "or a curl command; - is standard input.",
        ),
    ],
    *,
    sender: Annotated[str, typer.Option(metavar="NAME", help="Sender of the webhook.")],
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'Name: value'", help="A header of the request; repeatable."),
    ] = None,
    headers_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File with the headers: lines `Name: value`, JSON, or as a program printed them."
        ),
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

    The command tries usual mistakes with the secret, the body, the headers and the signature until the signature
    matches, and names those that explain it. What no signature proves is called possible.
    """
    known = load_senders().get(sender) or sender_named(settings_of(ctx, broker=False), sender)
    if [file, headers_file, secret_file].count(_STDIN) > 1:
        raise InvalidInput("only one of FILE, --headers-file and --secret-file can be standard input")
    headers = joined_values([*_listed(headers_file), *map(_header, header or ())])
    key = _secret(secret, secret_env, secret_file)
    now_s = None if any_time else int(time.time())

    def examine_one(given: Mapping[str, str], body: bytes, *, has_bytes: bool = True) -> SignatureFinding:
        return examine(known, given, body, key, now_s, has_bytes=has_bytes)

    found = _examine(_read(file), headers, examine_one)
    _print(found, as_json=as_json)
    if not found.is_genuine:
        raise typer.Exit(_NOT_GENUINE)


def _print(found: SignatureFinding, *, as_json: bool) -> None:
    if as_json:
        about = {"kind": found.kind, "sentence": found.sentence, "hints": list(found.hints)}
        print_json({"genuine": found.is_genuine, **about})
        return
    for line in (found.sentence, *(f"  {hint}" for hint in found.hints)):
        typer.echo(line)


def _examine(data: bytes, headers: Mapping[str, str], examine_one: _Examine) -> SignatureFinding:
    """Examine the data as a body, or as a recorded request. Given headers replace recorded ones."""
    recorded = read_request(data)
    if recorded is None:
        return examine_one(headers, data)
    if headers and not recorded.is_certain:
        found = examine_one(headers, data)
        if found.is_proven:
            return found
    given = {name.lower() for name in headers}
    others = {name: value for name, value in recorded.headers.items() if name.lower() not in given}
    found = examine_one({**others, **headers}, recorded.body, has_bytes=recorded.has_bytes)
    return replace(found, hints=(*found.hints, *recorded.notes))


def _secret(text: str | None, variable: str | None, file: str | None) -> str:
    if [text, variable, file].count(None) != 2:  # exactly one of three
        raise InvalidInput("give the secret by exactly one of --secret-env, --secret-file and --secret")
    if variable is not None:
        text = os.environ.get(variable)
    elif file is not None:
        text = read_secret(_read(file), f"--secret-file: {file}")
    if not text:
        raise InvalidInput(
            "the secret is empty" if variable is None else f"--secret-env: {variable} is not set, or empty"
        )
    return text


def _listed(file: str | None) -> Headers:
    if file is None:
        return []
    data = _read(file)
    recorded = read_request(data)
    if recorded is not None and recorded.headers:
        return list(recorded.headers.items())
    headers = read_headers(data.decode("utf-8", "surrogateescape"))
    if not headers and data.strip():
        raise InvalidInput(
            f"--headers-file: {file} has no headers: expected lines `Name: value`, a JSON object, or a printed map"
        )
    for name, value in headers:
        _check(name, value)
    return headers


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise InvalidInput(f"--header: write 'Name: value' ({name[:100]!r} has no colon)")
    _check(name, value)
    return plain_name(name.strip()), value.strip()


def _check(name: str, value: str) -> None:
    try:
        f"{name}: {value}".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a JSON escape that is half of a surrogate pair
        raise InvalidInput(f"--header: {name[:100]!r}: the line is not valid text") from None


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from None
