"""`signpost senders`: how webhooks look to receivers, and folders of custom senders."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deploy.cli.columns import Column, print_table
from deploy.cli.context import command_app, print_json, settings_of
from deploy.config.senders import make_folder, read_folder, sender_named, senders_of
from deploy.reference.folder import check_documents, write_documents
from schemas.input.durations import format_duration
from schemas.senders.sender import Sender, load_senders
from schemas.senders.traits import signs_with_all

_ANY: Final = "any other"

app = command_app("Show how webhooks look, and add senders of your own.")


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with all fields of `show`.")] = False,
) -> None:
    """List all senders."""
    senders = senders_of(settings_of(ctx, broker=False))
    if json:
        print_json([_as_json(sender) for sender in senders.values()])
        return
    rows = [
        (name, sender.title, _types(sender), "built in" if name in load_senders() else "custom")
        for name, sender in senders.items()
    ]
    print_table(tuple(map(Column, ("SENDER", "PRODUCT", "EVENT TYPES", "SOURCE"))), rows)


@app.command("show")
def _show(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="As `list` shows it.")]) -> None:
    """Show one sender: event types, headers, schedule and limits."""
    _print(sender_named(settings_of(ctx, broker=False), name))


@app.command("check")
def _check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a sender: sender.toml, events, payloads, examples.")
    ],
) -> None:
    """Check a sender's folder; errors name file, line and field."""
    sender = read_folder(folder)
    check_documents(sender)
    typer.echo(f"{folder}: sender {sender.name} is valid: {_types(sender)}, {len(sender.schedule) + 1} attempts")


@app.command("new")
def _new(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The new folder; its last part is the sender's name.")],
) -> None:
    """Create the folder of a new sender, with one example event type."""
    sender = make_folder(folder)
    typer.echo(f"{folder / 'sender.toml'}: envelope, headers, signature, schedule; edit what differs")
    for name in sender.event_types:
        typer.echo(f"{folder / 'events' / name}.avsc: the fields of {name}")
        typer.echo(f"{folder / 'examples' / name}.json: an example for documents")
    typer.echo(f"then run `signpost senders check {folder}`, and add {folder} to the setting `senders`")


@app.command("docs")
def _docs(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Senders; all by default.", show_default=False)
    ] = None,
) -> None:
    """Write documents for receivers: a guide with code, AsyncAPI, OpenAPI if it has an API, and JSON Schemas."""
    settings = settings_of(ctx, broker=False)
    senders = [sender_named(settings, name) for name in names or senders_of(settings)]
    count = write_documents(folder, senders, settings.names.events, version("kafka-signpost"))
    typer.echo(f"{folder}: {count} files of {len(senders)} sender{'' if len(senders) == 1 else 's'}")


def _types(sender: Sender) -> str:
    number = len(sender.event_types)
    named = f"{number} event type{'' if number == 1 else 's'}"
    if sender.any_type is None:
        return named
    return f"{named} and any other" if number else "any event type"


def _as_json(sender: Sender) -> dict[str, Any]:
    return {
        "name": sender.name,
        "title": sender.title,
        "event_types": [
            {"name": name, "trigger": event_type.trigger} for name, event_type in sender.event_types.items()
        ],
        "any_event_type": sender.any_type is not None,
        "headers": [*sender.header_templates, *sender.signature.header_names],
        "trace_context": sender.trace_context,
        "needs_secret": sender.needs_secret,
        "secrets_that_sign": "all" if signs_with_all(sender) else "newest",
        "schedule": [format_duration(wait) for wait in sender.schedule],
        "timeout": format_duration(sender.timeout),
        "max_body": sender.max_body,
        "max_subscriptions": sender.max_subscriptions,
        "subscription_types": sender.type_count,
        "filters": sender.has_filters,
        "kafka_key": list(sender.key_fields),
    }


def _print(sender: Sender) -> None:
    fields = _as_json(sender)
    types = fields.pop("event_types")
    for name, value in fields.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower()
        shown = {"name": sender.name, "title": sender.title, "max_subscriptions": text.replace("none", "no limit")}
        typer.echo(f"{name + ':':<19} {shown.get(name, text)}")
    typer.echo("event types:")
    width = max((len(one["name"]) for one in types), default=len(_ANY))
    for one in types:
        typer.echo(f"  {one['name']:<{width}}  {one['trigger']}")
    if sender.any_type is not None:
        typer.echo(f"  {_ANY:<{width}}  {sender.any_type.trigger}")
