"""`signpost subscriptions create`, `update` and `rotate`: one subscription, by options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import duration_of, settings_of
from deploy.cli.subscription_access import check_drafts, existing, writer_of
from deploy.cli.subscription_options import (
    Certificate,
    Description,
    Header,
    HeaderEnv,
    HeaderFile,
    Id,
    Key,
    MaxInFlight,
    RateLimit,
    RemoveHeader,
    Schedule,
    SecretEnv,
    SecretFile,
    Timeout,
    Types,
    certificate_of,
    headers_of,
    secret_of,
    settings_named,
)
from deploy.cli.subscription_view import print_result, print_warnings
from schemas.errors import InvalidInput, SubscriptionError

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from schemas.changes import Changes
    from schemas.rules import Draft
    from schemas.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("create")(_create)
    app.command("update")(_update)
    app.command("rotate")(_rotate)


def _create(
    ctx: typer.Context,
    id_: Id,
    *,
    sender: Annotated[
        str, typer.Option("--sender", metavar="NAME", help="Whose webhooks: `signpost senders list` shows them.")
    ],
    customer: Annotated[str, typer.Option("--customer", metavar="C", help="Whose events: their `customer_id`.")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where to: https://host/path.")],
    event_types: Types = None,
    description: Description = None,
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
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
    """Make a subscription, of all event types if none is given; without a secret it gets one, which is shown once."""
    from schemas.rules import KEEP, Draft  # noqa: PLC0415  # 0.3 s that `--help` need not wait

    draft = Draft(
        id=id_,
        sender=sender,
        customer_id=customer,
        url=url,
        event_types=tuple(event_types or ("*",)),
        secret=secret_of(secret_env, secret_file),
        description=description or "",
        headers=headers_of(header, header_env, header_file) or KEEP,
        client_certificate=certificate_of(client_certificate, client_key),
        **settings_named(schedule, timeout, max_in_flight, rate_limit),
    )
    _make(settings_of(ctx), draft)


def _make(settings: Settings, draft: Draft) -> None:
    from producers.subscription_changes import Apply  # noqa: PLC0415  # see above

    check_drafts(settings, [draft])
    with writer_of(settings) as writer:
        if writer.read().find(draft.id)[1] is not None:
            raise SubscriptionError(
                f"subscription {draft.id}: is there already; `signpost subscriptions update` changes it"
            )
        print_warnings(writer.write([Apply(draft)], print_result))


def _update(
    ctx: typer.Context,
    id_: Id,
    *,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Where to from now on.")] = None,
    event_types: Types = None,
    description: Description = None,
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
    """Change what is named and keep the rest; `default` takes a setting back, `none` a client certificate."""
    from schemas.changes import Changes  # noqa: PLC0415  # see above
    from schemas.rules import KEEP  # noqa: PLC0415

    changes = Changes(
        url=KEEP if url is None else url,
        event_types=tuple(event_types) if event_types else KEEP,
        description=KEEP if description is None else description,
        headers=headers_of(header, header_env, header_file),
        without_headers=tuple(remove_header or ()),
        client_certificate=certificate_of(client_certificate, client_key),
        **settings_named(schedule, timeout, max_in_flight, rate_limit),
    )
    if changes == Changes():
        raise InvalidInput("nothing to change is named; `signpost subscriptions update --help` shows what can be")
    _change(settings_of(ctx), id_, changes)


def _change(settings: Settings, id_: str, changes: Changes) -> None:
    from producers.subscription_changes import Change  # noqa: PLC0415  # see above

    with writer_of(settings) as writer:
        check_drafts(settings, [changes.of(existing(writer.read(), id_))])
        print_warnings(writer.write([Change(id_, changes)], print_result))


def _rotate(
    ctx: typer.Context,
    id_: Id,
    *,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="TIME", help="How long the present secret signs beside the new one, such as 24h."
        ),
    ] = None,
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
) -> None:
    """Sign with a new secret from now on; without one given it is made, and shown once."""
    from dataclasses import replace  # noqa: PLC0415  # see above
    from datetime import timedelta  # noqa: PLC0415

    from producers.subscription_changes import Rotate  # noqa: PLC0415
    from schemas.changes import Changes  # noqa: PLC0415

    settings = settings_of(ctx)
    given = secret_of(secret_env, secret_file)
    kept = timedelta(0) if keep is None else duration_of("--keep", keep)
    with writer_of(settings) as writer:
        check_drafts(settings, [replace(Changes().of(existing(writer.read(), id_)), secret=given)])
        writer.write([Rotate(id_, None if given is None else given.secret, kept)], print_result)
