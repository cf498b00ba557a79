"""Runs `signpost …` commands in this process, and makes records for them to read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from deploy.cli.main import main
from schemas.records.delivery import UNKNOWN_OFFSET, Job, JobCodec, Outcome, OutcomeCodec

T0_MS = 1_771_236_060_000


class CommandResult(NamedTuple):
    code: int
    out: str
    err: str


class Commands:
    """Runs `signpost …` with settings from `env`; the result has exit code and output."""

    def __init__(self, env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> CommandResult:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return CommandResult(code or 0, out.getvalue(), err.getvalue())


def job(number: int = 1, **fields: Any) -> Job:
    """Return a job of event `evt_<number>` for `sub-1`."""
    given: dict[str, Any] = {
        "job_id": f"job-{number}",
        "subscription_id": "sub-1",
        "subscription_partition": 0,
        "subscription_offset": 0,
        "activation": 0,
        "run": 0,
        "attempt": 1,
        "due_at_ms": 0,
        "first_offset": UNKNOWN_OFFSET,
        "sender": "zenoo",
        "event_type": "case.created",
        "event_id": f"evt_{number}",
        "customer_id": "acme",
        "source_topic": "events",
        "source_partition": 0,
        "source_offset": number,
        "appended_at_ms": T0_MS,
        "body": b'{"event_type":"case.created"}',
    }
    return Job(**(given | fields))


def job_value(one: Job) -> bytes:
    """Return a job as the value of a record."""
    codec = JobCodec()
    names = tuple(field.name for field in dataclasses.fields(Job))  # the compiled class has no __slots__
    split = names.index("sender")
    tail = codec.tail(**{name: getattr(one, name) for name in names[split:]})
    return codec.encode(tail, **{name: getattr(one, name) for name in names[:split]})


def outcome_value(one: Job, **fields: Any) -> bytes:
    """Return the outcome of an attempt as the value of a record; delivered by default."""
    given: dict[str, Any] = {
        "state": "delivered",
        "reason": "",
        "status": 200,
        "error": None,
        "host": "hooks.acme.example",
        "at_ms": T0_MS + 1_000,
        "duration_us": 12_500,
        "next_due_at_ms": None,
        "response": b"ok",
        "body_cut": False,
        "partition": 0,
        "first_offset": 0,
    }
    return OutcomeCodec().encode(Outcome(one, **(given | fields)))
