"""The closed lists of reasons match the code, and each reason is described."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from consumers.delivery import scheduler
from consumers.delivery.admission.types import LimitReason
from consumers.delivery.results.handler import UNKNOWN_SUBSCRIPTION, CancelReason
from consumers.delivery.results.retry_policy import Delivered, Disposition, Exhausted, Gone, Retry
from consumers.router import routing
from consumers.router.paused_partitions import PAUSE_KINDS
from deploy.reference.tables import sections
from schemas.catalog import reasons
from schemas.catalog.errors import UNREADABLE_REASONS
from schemas.records.health import DisabledReason, OperationKind

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
# Reasons to defer a job before admission control.
BEFORE_ADMISSION = re.findall(
    r'_defer_for_default\(\w+, "(\w+)"\)', Path(scheduler.__file__).read_text(encoding="utf-8")
)
USED: dict[str, Collection[str]] = {
    "DEAD_JOBS": {"exhausted", "gone", UNKNOWN_SUBSCRIPTION},
    "DEAD_RECORDS": {*UNREADABLE_REASONS, *routing._RENDERED.values()},
    "CANCELLED": get_args(CancelReason),
    "DISABLED": get_args(DisabledReason),
    "DEFERRED": {*(reason.value for reason in LimitReason), *BEFORE_ADMISSION},
    "OPERATIONS": get_args(OperationKind),
    "PAUSED": PAUSE_KINDS,
}


@pytest.mark.parametrize("name", USED)
def test_every_reason_is_described(name: str) -> None:
    """A list has exactly the reasons of the code, each with a meaning and an action."""
    described = getattr(reasons, name)
    assert set(described) == set(USED[name])
    assert all(meaning.what and meaning.to_do for meaning in described.values())


def test_every_disposition_is_known() -> None:
    """A job dies by two dispositions; another disposition needs another reason."""
    assert set(get_args(Disposition)) == {Delivered, Retry, Gone, Exhausted}


def test_all_tables_are_in_operations_md() -> None:
    """docs/operations.md has a table for each list of reasons."""
    text = OPERATIONS.read_text(encoding="utf-8")
    shown = set(re.findall(r"<!-- begin: (\w+) -->", text))
    assert shown == sections().keys() - {"settings", "metrics"}
