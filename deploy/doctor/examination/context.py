"""What the parts of an examination share: the request, readings with a time limit, and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from consumers.kafka.admin import REQUEST_ERRORS, sentence_of
from consumers.kafka.threads import in_thread
from deploy.config.settings_sources import Loaded
from deploy.doctor.checks.acls import ROLES, RoleName
from deploy.doctor.findings import AREAS, Area, Finding, NotObserved, Observation, Observed, Severity
from schemas.catalog.errors import SignpostError

T = TypeVar("T")

# What cannot be checked without a broker.
OF_BROKERS: Final[tuple[Area, ...]] = ("topics", "acls", "clock", "subscriptions", "endpoint")


@dataclass(frozen=True, slots=True)
class ExaminationRequest:
    """What to examine. `subscription` is an id; with `sends_test` its endpoint gets a test event.

    `roles` are those whose ACLs are checked, `state` is the state folder of `signpost up`.
    """

    subscription: str | None = None
    sends_test: bool = False
    roles: tuple[RoleName, ...] = ROLES
    state: Path | None = None


@dataclass(frozen=True, slots=True)
class ExaminationEnvironment:
    """Our clock in Unix ms, the time limit of a reading, and of the first response of a broker."""

    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    reading_s: float = 20.0
    connect_s: float = 5.0


@dataclass(slots=True)
class Report:
    """The findings, and why areas were not checked."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: dict[Area, str] = field(default_factory=dict)

    @property
    def checked(self) -> list[Area]:
        """The areas that were checked."""
        return [area for area in AREAS if area not in self.not_checked]

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding; None if there is no finding."""
        severities = {finding.severity for finding in self.findings}
        return next((one for one in (Severity.ERROR, Severity.WARNING) if one in severities), None)


class Reading(Generic[T]):
    """A call in a thread of its own; the process does not wait for one that hangs."""

    def __init__(self, call: Callable[[], T], limit_s: float) -> None:
        self._limit_s = limit_s
        self._until_s = time.monotonic() + limit_s
        self._future: Future[T] = in_thread("doctor", call)

    def result(self) -> Observation[T]:
        """Wait for the end of the call, until its limit."""
        try:
            return Observed(self._future.result(max(0.0, self._until_s - time.monotonic())))
        except TimeoutError:
            return NotObserved(f"no response within {self._limit_s:g} s")
        except SignpostError as failed:
            return NotObserved(str(failed))
        except REQUEST_ERRORS as failed:
            return NotObserved(sentence_of(failed))


class Context:
    """The state of one examination."""

    def __init__(self, loaded: Loaded, request: ExaminationRequest, environment: ExaminationEnvironment) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.request = request
        self.environment = environment
        self.report = Report()

    def start(self, call: Callable[[], T]) -> Reading[T]:
        """Start a reading."""
        return Reading(call, self.environment.reading_s)

    def read(self, call: Callable[[], T], limit_s: float | None = None) -> Observation[T]:
        """Make a reading, with the usual time limit or another one, and wait for it."""
        return Reading(call, self.environment.reading_s if limit_s is None else limit_s).result()

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings to the report."""
        self.report.findings += findings

    def skip(self, areas: Iterable[Area], reason: str) -> None:
        """Report areas as not checked, unless a reason is known already."""
        for area in areas:
            self.report.not_checked.setdefault(area, reason)
