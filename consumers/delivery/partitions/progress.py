"""Which offsets of one partition are finished: order of completion is free, the committed offset is not.

The commit is the lowest unfinished offset. Its metadata lists what is unfinished beyond it, delta-coded, up to the end
of what was read; all else there is finished, gaps (markers, aborted records, compaction) included. So a restart repeats
only the unfinished. A serial in the metadata tells whose commit it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Final

# 4,095 ASCII bytes is the broker's limit (offset.metadata.max.bytes); version and serial take up to 60 of them. A delta
# d is written in 1 + floor(log32 d) digits, so n of them over a span s take at most n * (1 + log32(s / n)) (the mean of
# logarithms is below the logarithm of the mean). Reading stops when one more batch could take the list over LIST_BYTES.
MAX_METADATA: Final = 4_095
LIST_BYTES: Final = 4_000
MAX_BATCH: Final = 256
MAX_UNFINISHED: Final = 2_000
# A partition that was full is read again when no more than this is unfinished. So fewer jobs may wait for long.
ROOMY_UNFINISHED: Final = MAX_UNFINISHED // 2 - MAX_BATCH
# Never over LIST_BYTES: 500 * (1 + log32(2**24 / 500)) is 2,004, and the span may not grow beyond.
_SURELY_FITS: Final = 500
MAX_SPAN: Final = 1 << 24

_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class Position:
    """What is committed for a partition: the offset, and metadata of at most 4,095 ASCII bytes."""

    offset: int
    metadata: str


class Progress:
    """The offsets of one partition that were read and are not yet finished."""

    __slots__ = ("_end", "_finished", "_known", "_order", "next_offset")

    def __init__(self, position: Position, *, log_begin: int = 0, log_end: int | None = None) -> None:
        """Go on from a committed position, or where the log begins if retention has overtaken it.

        The list of what is finished is dropped where the log (`log_end`) ends below it.
        """
        self.next_offset = max(position.offset, log_begin)
        self._order: deque[int] = deque()  # what was read, ascending, from the lowest unfinished on
        self._finished: set[int] = set()  # of _order
        unfinished, end = _decode(position)
        if log_end is not None and end > log_end:
            unfinished, end = [], position.offset
        # Below _end, an offset not read again yet is finished unless it stands in _known.
        self._known: deque[int] = deque(offset for offset in unfinished if offset >= log_begin)
        self._end = end

    def read(self, offset: int) -> bool:
        """Note that the record at `offset` (ascending) was read; False: it is finished already."""
        self.next_offset = offset + 1
        known = self._known
        while known and known[0] < offset:
            known.popleft()
        if offset < self._end:
            if not known or known[0] != offset:
                return False
            known.popleft()
        self._order.append(offset)
        return True

    def skip_to(self, log_begin: int) -> None:
        """Go on where the log begins; what was read before and is not finished stays so."""
        self.next_offset = max(self.next_offset, log_begin)
        while self._known and self._known[0] < log_begin:
            self._known.popleft()

    def finish(self, offset: int) -> None:
        """Note that the record at `offset`, once read, is finished."""
        order = self._order
        if order[0] != offset:
            self._finished.add(offset)
            return
        order.popleft()
        finished = self._finished
        while order and order[0] in finished:
            finished.remove(order.popleft())

    @property
    def unfinished(self) -> int:
        """How many offsets are known and not finished."""
        return len(self._order) - len(self._finished) + len(self._known)

    @property
    def lowest(self) -> int:
        """The lowest offset that is not finished: the one to commit."""
        if self._order:
            return self._order[0]
        return self._known[0] if self._known else max(self.next_offset, self._end)

    @property
    def full(self) -> bool:
        """Whether reading has to stop so that the metadata cannot overflow (not while old ground is read again)."""
        next_offset, order = self.next_offset, self._order
        if next_offset < self._end:
            return False
        if len(order) <= _SURELY_FITS - MAX_BATCH and not self._known:  # as nearly always
            return bool(order) and next_offset - order[0] + MAX_BATCH >= MAX_SPAN
        count = self.unfinished + MAX_BATCH
        span = next_offset - self.lowest + MAX_BATCH
        if count <= _SURELY_FITS:
            return span >= MAX_SPAN
        return count > MAX_UNFINISHED or span >= MAX_SPAN or count * (1 + log(span / count, 32)) > LIST_BYTES

    @property
    def roomy(self) -> bool:
        """Whether so much is finished since it was full that reading is worth another fetch."""
        count, span = self.unfinished + MAX_BATCH, self.next_offset - self.lowest + MAX_BATCH
        if self.full or self.unfinished > ROOMY_UNFINISHED:
            return False
        return count * (1 + log(span / count, 32)) <= LIST_BYTES * 0.7

    def position(self, serial: str) -> Position:
        """Return what to commit; `serial` (no `|`, at most 40 characters) names the transaction."""
        lowest = self.lowest
        unfinished = [offset for offset in self._order if offset not in self._finished]
        unfinished.extend(self._known)
        end = max(self.next_offset, self._end)
        return Position(lowest, f"{_VERSION}|{serial}|{_encode([*unfinished, end])}")


def _encode(offsets: Iterable[int]) -> str:
    """Write ascending offsets as deltas: digits of 5 bits, the low ones first, 32 added where another one follows."""
    digits = []
    previous = None
    for offset in offsets:
        if previous is not None:
            delta = offset - previous
            while delta > 31:
                digits.append(_DIGITS[32 | delta & 31])
                delta >>= 5
            digits.append(_DIGITS[delta])
        previous = offset
    return "".join(digits)


def _decode(position: Position) -> tuple[list[int], int]:
    """Return the unfinished offsets and the end of what was read; metadata that is not ours lists nothing."""
    offset, parts = position.offset, position.metadata.split("|")
    if len(parts) != 3 or parts[0] != _VERSION or not parts[2]:
        return [], offset
    offsets = [offset]
    delta = shift = 0
    for digit in parts[2]:
        value = _VALUES.get(digit)
        if value is None:
            return [], position.offset
        delta |= (value & 31) << shift
        shift += 5
        if value < 32:
            offset += delta
            offsets.append(offset)
            delta = shift = 0
    return offsets[:-1], offsets[-1]
