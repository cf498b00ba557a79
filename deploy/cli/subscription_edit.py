"""`signpost subscriptions create`, `update` and `rotate`: one subscription, given by options."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import typer

from deploy.cli.context import command_app, duration_of, settings_of
from deploy.cli.subscription_access import check_drafts, existing, writer_of
from deploy.cli.subscription_options import (
    Certificate,
    Description,
    Filters,
    Header,
    HeaderEnv,
    HeaderFile,
    Id,
    Key,
    MaxInFlight,
    NoTypes,
    Paused,
    RateLimit,
    RemoveHeader,
    Schedule,
    SecretEnv,
    SecretFile,
    Timeout,
    Types,
    WithoutSecret,
    certificate_of,
    headers_of,
    secret_source,
    settings_named,
    types_of,
)
from deploy.cli.subscription_view import print_result, print_secret_warnings, print_warnings
from deploy.config.author import command_author
from producers.subscriptions.changes import Apply, Change, Rotate
from schemas.catalog.errors import InvalidInput, SubscriptionError
from schemas.settings.settings import Settings
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import KEEP, Draft, Given

app = command_app()


@app.command("create")
def _create(
    ctx: typer.Context,
    id_: Id,
    *,
    sender: Annotated[
        str, typer.Option("--sender", metavar="NAME", help="Sender of the webhooks, as in `signpost senders list`.")
    ],
    customer: Annotated[
        str, typer.Option("--customer", metavar="C", help="Customer: the `customer_id` of its events.")
    ],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="URL of the endpoint: https://host/path.")],
    event_types: Types = None,
    no_event_types: NoTypes = False,
    description: Description = None,
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
    no_secret: WithoutSecret = False,
    paused: Paused = False,
    filters: Filters = None,
    header: Header = None,
    header_env: HeaderEnv = None,
    header_file: HeaderFile = None,
    client_certificate: Certificate = None,
    client_key: Key = None,
    schedule: Schedule = None,
    timeout: Timeout = None,
    max_in_flight: MaxInFlight = None,
    rate_limit: RateLimit = None,
) -> None:
    """Create a subscription.

    Without a given secret, one is generated and shown once if the sender needs one; otherwise requests are not signed.
    Without event types, it takes all types, or none if the sender allows an empty list.
    """
    draft = Draft(
        id=id_,
        sender=sender,
        customer_id=customer,
        url=url,
        event_types=types_of(event_types, none=no_event_types),
        secret=secret_source(secret_env, secret_file, none=no_secret),
        paused=paused,
        filters=KEEP if filters is None else filters,
        description=description or "",
        headers=headers_of(header, header_env, header_file) or KEEP,
        client_certificate=certificate_of(client_certificate, client_key),
        **settings_named(schedule, timeout, max_in_flight, rate_limit),
    )
    _make(settings_of(ctx), draft)


def _make(settings: Settings, draft: Draft) -> None:
    check_drafts(settings, [draft])
    print_secret_warnings([draft])
    with writer_of(settings) as writer:
        if writer.read().find(draft.id)[1] is not None:
            raise SubscriptionError(
                f"subscription {draft.id}: exists already; `signpost subscriptions update` changes it"
            )
        print_warnings(writer.write([Apply(draft)], command_author(), print_result))


@app.command("update")
def _update(
    ctx: typer.Context,
    id_: Id,
    *,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="New URL of the endpoint.")] = None,
    event_types: Types = None,
    no_event_types: NoTypes = False,
    description: Description = None,
    no_secret: WithoutSecret = False,
    filters: Filters = None,
    header: Header = None,
    header_env: HeaderEnv = None,
    header_file: HeaderFile = None,
    remove_header: RemoveHeader = None,
    client_certificate: Certificate = None,
    client_key: Key = None,
    schedule: Schedule = None,
    timeout: Timeout = None,
    max_in_flight: MaxInFlight = None,
    rate_limit: RateLimit = None,
) -> None:
    """Change the given fields, keep the others. `default` resets a setting, `none` removes a client certificate."""
    changes = Changes(
        url=KEEP if url is None else url,
        event_types=types_of(event_types, none=no_event_types),
        secret=secret_source(None, None, none=no_secret),
        filters=KEEP if filters is None else filters,
        description=KEEP if description is None else description,
        headers=headers_of(header, header_env, header_file),
        without_headers=tuple(remove_header or ()),
        client_certificate=certificate_of(client_certificate, client_key),
        **settings_named(schedule, timeout, max_in_flight, rate_limit),
    )
    if changes == Changes():
        raise InvalidInput("no change is given; `signpost subscriptions update --help` shows the options")
    _change(settings_of(ctx), id_, changes)


def _change(settings: Settings, id_: str, changes: Changes) -> None:
    with writer_of(settings) as writer:
        check_drafts(settings, [changes.of(existing(writer.read(), id_))])
        print_warnings(writer.write([Change(id_, changes)], command_author(), print_result))


@app.command("rotate")
def _rotate(
    ctx: typer.Context,
    id_: Id,
    *,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="TIME", help="How long the old secret also signs, such as 24h."),
    ] = None,
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
    no_secret: WithoutSecret = False,
) -> None:
    """Sign with a new secret from now on; without a given secret, one is generated and shown once."""
    settings = settings_of(ctx)
    given = secret_source(secret_env, secret_file, none=no_secret)
    kept = timedelta(0) if keep is None else duration_of("--keep", keep)
    with writer_of(settings) as writer:
        draft = replace(Changes().of(existing(writer.read(), id_)), secret=given)
        check_drafts(settings, [draft])
        print_secret_warnings([draft])
        secret = given.secret if isinstance(given, Given) else given
        print_warnings(writer.write([Rotate(id_, secret, kept)], command_author(), print_result))
