"""Checks of the schema registry and of the ledger's database."""

from __future__ import annotations

from typing import Final, assert_never

from consumers.kafka.schema_registry import NoRegistry, RegistryRefuses, RegistryState, RegistryWorks
from consumers.ledger.database_state import DatabaseState, NoLedgerTables
from deploy.doctor.findings import Finding, NotObserved, Observed, error, warning

_REGISTRY: Final = "schema_registry_url"
_DATABASE: Final = "database_url"
# docs/operations.md names it.
_OLDEST_POSTGRESQL: Final = 14


def check_registry(registry: Observed[RegistryState] | NotObserved) -> list[Finding]:
    """Return the finding about the schema registry, if there is one."""
    if isinstance(registry, NotObserved):
        do = "start the registry, or correct schema_registry_url; until then the router pauses partitions"
        return [error("registry", "registry_unreachable", _REGISTRY, registry.reason, do)]
    match registry.value:
        case RegistryWorks():
            return []
        case RegistryRefuses(response):
            what = f"the schema registry refuses requests: {response}"
            do = "write user and password into schema_registry_url, or correct them"
            return [error("registry", "registry_refuses", _REGISTRY, what, do)]
        case NoRegistry(response):
            what = f"the service at this URL is not a schema registry: {response}"
            do = "correct schema_registry_url; some registries have a path, such as /apis/ccompat/v7"
            return [error("registry", "registry_invalid", _REGISTRY, what, do)]
        case state:
            assert_never(state)


def check_database(database: Observed[DatabaseState] | NotObserved) -> list[Finding]:
    """Return the findings about the ledger's database."""
    if isinstance(database, NotObserved):
        do = "start the database, or correct database_url; until then the ledger waits, and lists of the API fail"
        return [error("database", "database_unreachable", _DATABASE, database.reason, do)]
    state = database.value
    if isinstance(state, NoLedgerTables):
        what = "the database has no tables of the ledger: the API has no statistics"
        do = "start `signpost ledger`: it creates the tables"
        return [warning("database", "database_empty", _DATABASE, what, do)]
    findings = []
    if state.server and state.server[0] < _OLDEST_POSTGRESQL:
        what = f"PostgreSQL has version {'.'.join(map(str, state.server))}, which the ledger does not support"
        do = f"upgrade PostgreSQL to {_OLDEST_POSTGRESQL} or later"
        findings.append(error("database", "database_version_old", _DATABASE, what, do))
    if state.version not in state.known:
        what = f"the tables have version {state.version}, newer than this Signpost knows: its ledger does not start"
        findings.append(error("database", "database_newer", _DATABASE, what, "upgrade Signpost on this machine"))
    elif state.version != state.known[0]:
        what = f"the tables have version {state.version}, and this Signpost needs {state.known[0]}"
        do = "restart `signpost ledger`: it upgrades the tables"
        findings.append(warning("database", "database_outdated", _DATABASE, what, do))
    return findings
