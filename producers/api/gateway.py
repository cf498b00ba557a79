"""One request from start to end: id, key, limits, operation, errors, answer, metrics and log line.

Each request is one log line, `api.requested`. It has ids only: no key, no secret, no body, no URL and no path. At a
high rate, lines of successes may be sampled. The next line that is written has the number of those left out.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from producers.api.access import authenticate, customer_of, header
from producers.api.body import parse_fields, read_body
from producers.api.flavours import Answer, Call, Flavour, Operation
from producers.api.ports import ApiMetrics, Caller, Keys, OperationName, SuccessSampler
from producers.api.refusals import Refusal, overloaded, refusal_of, unknown_path, wrong_method
from schemas.catalog.errors import Unavailable

log = structlog.get_logger("api")

BODY_TIMEOUT_S: Final = 10.0
# Requests of a process at the same time.
MAX_UNDER_WAY: Final = 1_000
JSON: Final = "application/json"
# The status of a request that was not answered, in logs and metrics only (nginx has the same).
_CANCELLED: Final = 499
# From this status on a request has failed: its line is never left out.
_REFUSED: Final = 400
# An int of more digits is no length that anyone sends.
_MOST_DIGITS: Final = 12


class _Body:
    """The body of one request, read if its operation asks for it."""

    def __init__(self, scope: Scope, receive: Receive, timeout_s: float) -> None:
        length = header(scope["headers"], b"content-length")
        self._receive = receive
        self._timeout_s = timeout_s
        self._length = int(length[:_MOST_DIGITS]) if length is not None and length.isdigit() else None
        self._is_chunked = header(scope["headers"], b"transfer-encoding") is not None
        self._is_read = False

    @property
    def is_left(self) -> bool:
        """Whether there are bytes that no operation has read."""
        return not self._is_read and (self._is_chunked or bool(self._length))

    async def fields(self) -> Mapping[str, Any]:
        """Return the fields of the body; Refusal."""
        body = await read_body(self._receive, self._length, self._timeout_s)
        self._is_read = True
        return parse_fields(body)


@dataclass(slots=True)
class _Record:
    """The facts about a request, for its log line."""

    request_id: str
    operation: Operation | None
    caller: Caller | None = None
    call: Call | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> OperationName:
        """Name of the operation."""
        return "none" if self.operation is None else self.operation.name


class Gateway:
    """Serves requests of all flavours. `monotonic` is in seconds."""

    def __init__(
        self,
        keys: Keys,
        metrics: ApiMetrics,
        *,
        sampler: SuccessSampler,
        new_id: Callable[[], str],
        monotonic: Callable[[], float],
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._sampler = sampler
        self._new_id = new_id
        self._monotonic = monotonic
        self._body_timeout_s = body_timeout_s
        self._under_way = 0

    async def serve(
        self,
        flavour: Flavour,
        operations: Mapping[str, Operation],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request to a path that has these operations, by method."""
        self._under_way += 1
        try:
            await self._serve(flavour, operations, scope, receive, send)
        finally:
            self._under_way -= 1

    async def _serve(
        self,
        flavour: Flavour,
        operations: Mapping[str, Operation],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        started_s = self._monotonic()
        is_head = scope["method"] == "HEAD"
        record = _Record(self._new_id(), operations.get("GET" if is_head else scope["method"]))
        body = _Body(scope, receive, self._body_timeout_s)
        # The status of a request that is cancelled at the end of the process. A change may be made nevertheless.
        status = _CANCELLED
        try:
            answer = await self._answer(flavour, operations, scope, body, record)
            status = answer.status
            response = _response(answer, record.request_id, is_closing=body.is_left)
            if is_head:
                response.body = b""  # the headers are those of GET
            await response(scope, receive, send)
        finally:
            self._report(flavour, status, self._monotonic() - started_s, record)

    async def _answer(
        self,
        flavour: Flavour,
        operations: Mapping[str, Operation],
        scope: Scope,
        body: _Body,
        record: _Record,
    ) -> Answer:
        try:
            if self._under_way > MAX_UNDER_WAY:
                raise overloaded(MAX_UNDER_WAY)
            if record.operation is None:
                raise wrong_method(tuple(operations)) if operations else unknown_path()
            return await self._run(flavour, record.operation, scope, body, record)
        except Exception as error:
            return self._refuse(flavour, error, record)

    async def _run(self, flavour: Flavour, operation: Operation, scope: Scope, body: _Body, record: _Record) -> Answer:
        headers = scope["headers"]
        record.caller = authenticate(flavour, headers, self._keys)
        record.call = Call(
            caller=record.caller,
            customer_id=customer_of(record.caller, operation, headers),
            request_id=record.request_id,
            webhook_id=scope["path_params"].get("webhook_id", ""),
            read_fields=body.fields,
        )
        return await operation.run(record.call)

    def _refuse(self, flavour: Flavour, error: Exception, record: _Record) -> Answer:
        refusal = refusal_of(error)
        record.facts["code"] = refusal.code
        if refusal.problems:
            record.facts["fields"] = sorted({str(problem.path[0]) for problem in refusal.problems if problem.path})
        if isinstance(error, Unavailable):
            record.facts["reason"] = str(error)
        elif not isinstance(error, Refusal):
            # Without the message of the error, which may contain values of the request.
            log.error("api.failed", request_id=record.request_id, error=type(error).__name__, frames=_frames(error))
        return Answer(refusal.status, flavour.error_body(refusal, record.request_id), refusal.headers)

    def _report(self, flavour: Flavour, status: int, duration_s: float, record: _Record) -> None:
        self._metrics.on_request(flavour.name, record.name, status, duration_s)
        if status < _REFUSED and not self._sampler.admits(int(self._monotonic() * 1_000)):
            self._metrics.set_lines_omitted(self._sampler.omitted)
            return
        if omitted := self._sampler.take_omitted():
            record.facts["omitted"] = omitted
        call = record.call
        log.info(
            "api.requested",
            operation=record.name,
            flavour=flavour.name,
            status=status,
            duration_ms=round(duration_s * 1_000, 1),
            key_id=None if record.caller is None else record.caller.key_id,
            customer=None if call is None else call.customer_id,
            subscription=None if call is None else call.subscription_id,
            request_id=record.request_id,
            **record.facts,
        )


def _response(answer: Answer, request_id: str, *, is_closing: bool) -> Response:
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store", **dict(answer.headers)}
    if is_closing:
        # A client could go on sending the unread part without end.
        headers["Connection"] = "close"
    return Response(answer.body, answer.status, headers, media_type=JSON if answer.body else None)


def _frames(error: BaseException) -> list[str]:
    """Return where an error came from, without any value."""
    found = []
    for one in (error.__cause__, error):
        if one is not None:
            found += [
                f"{PurePath(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
                for frame, line in traceback.walk_tb(one.__traceback__)
            ]
    return found
