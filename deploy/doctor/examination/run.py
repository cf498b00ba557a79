"""Examines an installation: settings, brokers with their topics and records, registry, database, one endpoint.

A reading that fails or takes too long becomes one finding. Checks that depend on it do not run; all others do.
Readings that do not depend on one another run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from consumers.ledger.database_state import DatabaseState, state_of
from deploy.config.database import database_url_of
from deploy.config.settings_sources import Loaded
from deploy.doctor.checks.services import check_database, check_registry
from deploy.doctor.checks.settings import check_settings, check_unreadable
from deploy.doctor.examination.brokers import examine_brokers
from deploy.doctor.examination.context import (
    OF_BROKERS,
    Context,
    ExaminationEnvironment,
    ExaminationRequest,
    Reading,
    Report,
)
from deploy.doctor.examination.records import examine_records
from deploy.doctor.findings import AREAS, Area, Observed
from deploy.doctor.reading.services import RegistryReading, read_registry
from deploy.doctor.reading.settings import read_refusals
from schemas.catalog.errors import SettingsError


def examine(load: Callable[[], Loaded], request: ExaminationRequest, environment: ExaminationEnvironment) -> Report:
    """Return the report; InvalidInput if `request` names an unknown subscription, or one that cannot be tested.

    `load` reads the settings.
    """
    try:
        loaded = load()
    except SettingsError as refused:
        others: dict[Area, str] = {area: "the settings cannot be read" for area in AREAS if area != "settings"}
        return Report(check_unreadable(str(refused)), others)
    context = Context(loaded, request, environment)
    _examine(context)
    context.report.findings.sort(key=lambda finding: AREAS.index(finding.area))
    return context.report


def _examine(context: Context) -> None:
    refusals = read_refusals(context.settings)
    refused = {refusal.code for refusal in refusals}
    context.add(check_settings(context.settings, refusals))
    registry = _start_registry(context)
    database = _start_database(context)
    if context.request.subscription is None:
        context.skip(["endpoint"], "no subscription is named")
    if "sender_invalid" in refused:
        context.skip(("broker", *OF_BROKERS), "a sender is invalid")
    elif (cluster := examine_brokers(context, registry)) is not None:
        if "sealing_key_unusable" in refused:
            context.skip(("subscriptions", "endpoint"), "the sealing key cannot be used")
        else:
            examine_records(context, cluster)
    if registry is not None:
        read = registry.result()
        context.add(check_registry(Observed(read.value.state) if isinstance(read, Observed) else read))
    if database is not None:
        context.add(check_database(database.result()))


def _start_registry(context: Context) -> Reading[RegistryReading] | None:
    url = context.settings.schema_registry_url
    if url is None:
        context.skip(["registry"], "schema_registry_url is not set")
        return None
    return context.start(partial(read_registry, url, context.environment.clock))


def _start_database(context: Context) -> Reading[DatabaseState] | None:
    try:
        url = database_url_of(context.settings, context.request.state)
    except SettingsError:
        context.skip(["database"], "database_url is not set, and there is no state folder")
        return None
    return context.start(partial(state_of, url))
