"""`signpost keys`: API keys, with which customers and operators use the REST APIs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, Final, get_args

import typer

from consumers.inspect.readable import time_text
from deploy.cli.columns import Column, print_table
from deploy.cli.context import command_app, duration_of, print_json, settings_of
from deploy.cli.scanning import ago, now_ms
from deploy.cli.subscription_access import silent_client
from deploy.config.author import command_author
from deploy.config.sealing_key import sealing_keys_of
from deploy.config.senders import senders_of
from producers.api.ports import FlavourName
from producers.compacted.log import Unreadable
from producers.keys.log import read_last_uses
from producers.keys.writer import CreatedKey, KeyWriter, NewKey, Revocation
from schemas.catalog.errors import InvalidInput
from schemas.input.suggestions import among, did_you_mean, one_of
from schemas.input.terminal import printable
from schemas.keys.hashing import KeyHasher
from schemas.keys.text import PREFIX, id_in
from schemas.records.api_key import SCOPES, ApiKey, Scope
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import MAX_CUSTOMER_ID, MAX_DESCRIPTION
from schemas.subscriptions.sealing import sealing_key_id

_COLUMNS: Final = (
    Column("ID"),
    Column("SENDER"),
    Column("CUSTOMER", least=12, cut_order=1),
    Column("SCOPE"),
    Column("STATE"),
    Column("EXPIRES"),
    Column("LAST USE"),
    Column("DESCRIPTION", least=11, optional=True),
)
# A mistyped id is at most this long. A longer argument may be a part of a key, which an error must not show.
_MAX_SHOWN: Final = 20
_SIGNS: Final = {"revoked": "-", "deleted": "-", "unchanged": "="}
_WITH_API: Final[tuple[str, ...]] = get_args(FlavourName)

app = command_app("Manage API keys: who may read and write the subscriptions of a customer over the REST APIs.")


@app.command("create")
def _create(
    ctx: typer.Context,
    *,
    sender: Annotated[
        str | None,
        typer.Option(
            "--sender", metavar="NAME", help="Sender that has a REST API: onboarding, diligent.", show_default=False
        ),
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option("--customer", metavar="C", help="Customer: the `customer_id` of its events.", show_default=False),
    ] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="A key for all senders and customers, instead of one customer.")
    ] = False,
    scope: Annotated[
        str, typer.Option("--scope", metavar="read|write", help="read: the key changes nothing.")
    ] = "write",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            help="How long the key is valid, such as 90d; by default until it is revoked.",
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="For people.", show_default=False)
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Create an API key and show it: once, here.

    The key is for the subscriptions of one customer of one sender, or with --operator for all. After exit code 0 every
    API process accepts it. Signpost stores only a keyed hash: a lost key is replaced by a new one.
    """
    settings = settings_of(ctx)
    _check_owner(settings, sender, customer, operator=operator)
    _check_text("--description", description, MAX_DESCRIPTION)
    new = NewKey(
        sender=sender,
        customer_id=customer,
        scope=_scope_of(scope),
        lifetime=None if expires is None else _lifetime(expires),
        description=description,
    )
    hasher = KeyHasher(settings.names.api_keys, [key for _, key in sealing_keys_of(settings)])
    with _writer_of(settings, hasher) as writer:
        created = writer.create(new, command_author())
    _print_created(created, json=json)


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List API keys, never the keys themselves: for whom, state, last use.

    Revoked and expired keys are listed for 90 days. The last use is up to a minute old. An `unusable` key needs a
    sealing key that is not in the settings.
    """
    settings = settings_of(ctx)
    with _writer_of(settings, None) as writer:
        found = writer.read().all()
    uses = read_last_uses(settings.kafka_properties(), settings.names)
    names = _sealing_key_names(settings)
    at_ms = now_ms()
    shown = [_fields(id_, record, uses.get(id_), names, at_ms) for id_, record in found.items()]
    if json:
        print_json(shown)
    elif not shown:
        typer.echo("there are no API keys")
    else:
        print_table(_COLUMNS, [_row(fields, uses.get(fields["id"]), at_ms) for fields in shown])
        _print_old_hashes(found.values(), names, at_ms)


@app.command("revoke")
def _revoke(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of keys; a whole key also names its id.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Revoke API keys for good.

    If an id is unknown, nothing is revoked. After exit code 0 no API process that reaches its broker accepts the keys.
    """
    chosen = list(dict.fromkeys(_id_of(text) for text in ids))
    with _writer_of(settings_of(ctx), None) as writer:
        results = writer.revoke(chosen, command_author())
    if json:
        print_json([_revoked_fields(result) for result in results])
        return
    for result in results:
        typer.echo(f"{_SIGNS[result.effect]} {printable(result.id)}  {result.effect}{_owner(result.key)}")


@contextmanager
def _writer_of(settings: Settings, hasher: KeyHasher | None) -> Iterator[KeyWriter]:
    writer = KeyWriter(settings.kafka_properties(), settings.names, hasher)
    try:
        with silent_client():
            yield writer
    finally:
        writer.close()


def _check_owner(settings: Settings, sender: str | None, customer: str | None, *, operator: bool) -> None:
    """Check for whom the key is: one customer of a known sender, or all."""
    if operator:
        if (sender, customer) != (None, None):
            raise InvalidInput("--operator is for all senders and customers: leave out --sender and --customer")
        return
    if sender is None or customer is None:
        raise InvalidInput("name --sender and --customer, or --operator for a key for all senders and customers")
    known = senders_of(settings)
    if sender not in known:
        raise InvalidInput(f"--sender: unknown sender {sender[:100]!r}{did_you_mean(sender, known) or among(known)}")
    if sender not in _WITH_API:
        raise InvalidInput(
            f"--sender: {sender} has no REST API, so a key for it would open nothing; senders with one: "
            f"{', '.join(_WITH_API)}"
        )
    if not customer:
        raise InvalidInput("--customer is empty")
    _check_text("--customer", customer, MAX_CUSTOMER_ID)


def _check_text(option: str, text: str, most: int) -> None:
    """Apply the rules that a subscription has for the same text."""
    if len(text) > most:
        raise InvalidInput(f"{option} has {len(text)} characters; at most {most} are allowed")
    if text != text.strip() or (text and not text.isprintable()):
        raise InvalidInput(f"{option} must not begin or end with a space, and must not contain control characters")


def _scope_of(text: str) -> Scope:
    one_of("--scope", text, SCOPES)
    return "write" if text == "write" else "read"


def _lifetime(text: str) -> timedelta:
    lifetime = duration_of("--expires", text)
    if not lifetime:
        raise InvalidInput("--expires: the key would never be valid; write a duration such as 90d")
    return lifetime


def _id_of(text: str) -> str:
    """Return the id that an argument names. An error never shows an argument that may be a key."""
    if (id_ := id_in(text)) is not None:
        return id_
    if text.startswith(PREFIX) or len(text) > _MAX_SHOWN:
        raise InvalidInput("an argument is neither a key nor an id of one; `signpost keys list` shows the ids")
    return text


def _print_created(created: CreatedKey, *, json: bool) -> None:
    key = created.key
    if json:
        print_json(
            {
                "id": key.id,
                "key": created.text,
                "sender": key.sender,
                "customer_id": key.customer_id,
                "scope": key.scope,
                "description": key.description,
                "created_at": time_text(key.created_at_ms),
                "expires_at": _time(key.expires_at_ms),
            }
        )
        return
    until = "" if key.expires_at_ms is None else f", until {time_text(key.expires_at_ms)}"
    typer.echo(f"+ {key.id}  created{_owner(key)}{until}")
    typer.echo(f"    key: {created.text}  (shown only once)")


def _owner(key: ApiKey | None) -> str:
    """Return for whom a key is, after its effect."""
    if key is None:
        return ""
    who = "operator" if key.is_operator else f"{key.sender} {key.customer_id}"
    return printable(f" ({who}, {key.scope})")


def _fields(
    id_: str, record: ApiKey | Unreadable, last_used_ms: int | None, names: Mapping[bytes, str] | None, at_ms: int
) -> dict[str, Any]:
    """Return a key as `list --json` shows it."""
    if isinstance(record, Unreadable):
        return {"id": id_, "state": "unreadable"}
    state: str = record.state(at_ms)
    if state == "active" and names is not None and record.sealing_key not in names:
        state = "unusable"
    return {
        **_key_fields(record, state),
        "last_used_at": _time(last_used_ms),
        "sealing_key": (names or {}).get(record.sealing_key) or record.sealing_key.hex(),
    }


def _key_fields(key: ApiKey, state: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "sender": key.sender,
        "customer_id": key.customer_id,
        "operator": key.is_operator,
        "scope": key.scope,
        "state": state,
        "description": key.description,
        "created_at": time_text(key.created_at_ms),
        "expires_at": _time(key.expires_at_ms),
        "revoked_at": _time(key.revoked_at_ms),
    }


def _revoked_fields(result: Revocation) -> dict[str, Any]:
    """Return a key as `revoke --json` shows it; of a deleted record only the id is known."""
    known: dict[str, Any] = {"id": result.id} if result.key is None else _key_fields(result.key, "revoked")
    return {**known, "effect": result.effect}


def _row(fields: Mapping[str, Any], last_used_ms: int | None, at_ms: int) -> tuple[str, ...]:
    if fields["state"] == "unreadable":
        return (fields["id"], "?", "?", "?", "unreadable", "", "", "")
    return (
        fields["id"],
        fields["sender"] or "all",
        fields["customer_id"] or "all",
        fields["scope"],
        fields["state"],
        (fields["expires_at"] or "never")[:10],
        "never" if last_used_ms is None else ago(last_used_ms, at_ms),
        fields["description"],
    )


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else time_text(at_ms)


def _sealing_key_names(settings: Settings) -> Mapping[bytes, str] | None:
    """Return the names of the configured sealing keys by id, the current one first; None if none is configured."""
    if not settings.has_sealing_key:
        return None
    return {sealing_key_id(key): name for name, key in sealing_keys_of(settings)}


def _print_old_hashes(records: Iterable[ApiKey | Unreadable], names: Mapping[bytes, str] | None, at_ms: int) -> None:
    """Say how many active keys end with an old sealing key: nothing can give a key a new hash."""
    if not names:
        return
    current = next(iter(names))
    active = [key for key in records if isinstance(key, ApiKey) and key.state(at_ms) == "active"]
    if old := sum(key.sealing_key != current for key in active):
        typer.echo(
            f"active keys that need another sealing key than the first: {old}; replace them before you remove that one"
        )
