"""The progress of one partition: which of its offsets are finished, and which position to commit.

Jobs finish in any order. The committed offset is the lowest unfinished one. Its metadata lists the unfinished offsets
beyond it, as deltas, up to the end of what was read. All other offsets in that range are finished, including gaps
(transaction markers, aborted records, compaction). A restart therefore repeats only unfinished jobs. The serial in the
metadata names the process and transaction of the commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Final

# The broker accepts 4,095 ASCII bytes of metadata (offset.metadata.max.bytes). Version and serial take up to 60 bytes.
# A delta d takes 1 + floor(log32 d) digits. So n deltas over a span s take at most n * (1 + log32(s / n)) digits,
# because the mean of logarithms is below the logarithm of the mean. Reading stops when another batch could exceed
# LIST_BYTES.
MAX_METADATA: Final = 4_095
LIST_BYTES: Final = 4_000
MAX_BATCH: Final = 256
MAX_UNFINISHED: Final = 2_000
# A partition that was full is read again when no more than this is unfinished. So fewer jobs may wait for long.
ROOMY_UNFINISHED: Final = MAX_UNFINISHED // 2 - MAX_BATCH
# This many offsets always fit: 500 * (1 + log32(2**24 / 500)) is 2,004 bytes, and a span is at most MAX_SPAN.
_SURELY_FITS: Final = 500
MAX_SPAN: Final = 1 << 24

_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class Position:
    """A committed position: the offset, and metadata of at most 4,095 ASCII bytes."""

    offset: int
    metadata: str


class Progress:
    """The offsets of one partition that were read, and which of them are finished."""

    __slots__ = ("_end", "_finished", "_listed", "_order", "next_offset")

    def __init__(self, position: Position, *, log_begin: int = 0, log_end: int | None = None) -> None:
        """Continue from a committed position, or from the begin of the log if retention deleted records beyond it.

        If the log ends (`log_end`) below the end of the list in the metadata, the list is dropped: after an unclean
        leader election the broker assigns the same offsets to other records.
        """
        self.next_offset = max(position.offset, log_begin)
        self._order: deque[int] = deque()  # offsets that were read, ascending, from the lowest unfinished one
        self._finished: set[int] = set()  # finished offsets in _order
        unfinished, end = _decode(position)
        if log_end is not None and end > log_end:
            unfinished, end = [], position.offset
        # Listed in the metadata as unfinished, not read again yet. All other offsets below _end are finished.
        self._listed: deque[int] = deque(offset for offset in unfinished if offset >= log_begin)
        self._end = end

    def read(self, offset: int) -> bool:
        """Add the record at `offset`, which was read, in ascending order. Return False if it is finished already."""
        self.next_offset = offset + 1
        listed = self._listed
        while listed and listed[0] < offset:
            listed.popleft()
        if offset < self._end:
            if not listed or listed[0] != offset:
                return False
            listed.popleft()
        self._order.append(offset)
        return True

    def skip_to(self, log_begin: int) -> None:
        """Continue at the begin of the log. Records that were read and are unfinished stay unfinished."""
        self.next_offset = max(self.next_offset, log_begin)
        while self._listed and self._listed[0] < log_begin:
            self._listed.popleft()

    def finish(self, offset: int) -> None:
        """Finish the record at `offset`, which was read."""
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
        """Number of unfinished offsets: read, or listed in the metadata."""
        return len(self._order) - len(self._finished) + len(self._listed)

    @property
    def lowest(self) -> int:
        """The lowest unfinished offset: the offset to commit."""
        if self._order:
            return self._order[0]
        if self._listed:
            return self._listed[0]
        return max(self.next_offset, self._end)

    @property
    def full(self) -> bool:
        """Whether reading has to stop, because another batch might overflow the metadata.

        Never while offsets below the end of the list in the metadata are read again.
        """
        next_offset = self.next_offset
        order = self._order
        if next_offset < self._end:
            return False
        if len(order) <= _SURELY_FITS - MAX_BATCH and not self._listed:  # the usual case
            return bool(order) and next_offset - order[0] + MAX_BATCH >= MAX_SPAN
        count = self.unfinished + MAX_BATCH
        span = next_offset - self.lowest + MAX_BATCH
        if count <= _SURELY_FITS:
            return span >= MAX_SPAN
        return count > MAX_UNFINISHED or span >= MAX_SPAN or count * (1 + log(span / count, 32)) > LIST_BYTES

    @property
    def has_room_again(self) -> bool:
        """Whether enough offsets are finished, after the partition was full, to be worth another fetch."""
        count = self.unfinished + MAX_BATCH
        span = self.next_offset - self.lowest + MAX_BATCH
        if self.full or self.unfinished > ROOMY_UNFINISHED:
            return False
        return count * (1 + log(span / count, 32)) <= LIST_BYTES * 0.7

    def position(self, serial: str) -> Position:
        """Return the position to commit. `serial` names the transaction: at most 40 characters, without `|`."""
        lowest = self.lowest
        unfinished = [offset for offset in self._order if offset not in self._finished]
        unfinished.extend(self._listed)
        end = max(self.next_offset, self._end)
        return Position(lowest, f"{_VERSION}|{serial}|{_encode([*unfinished, end])}")


def _encode(offsets: Iterable[int]) -> str:
    """Encode ascending offsets as deltas: digits of 5 bits, low bits first. Bit 5 means that another digit follows."""
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
    """Return the unfinished offsets and the end of what was read. Metadata of other tools lists no offsets."""
    offset = position.offset
    parts = position.metadata.split("|")
    if len(parts) != 3 or parts[0] != _VERSION or not parts[2]:
        return [], offset
    offsets = [offset]
    delta = 0
    shift = 0
    for digit in parts[2]:
        value = _VALUES.get(digit)
        if value is None:
            return [], position.offset
        delta |= (value & 31) << shift
        shift += 5
        if value < 32:
            offset += delta
            offsets.append(offset)
            delta = 0
            shift = 0
    return offsets[:-1], offsets[-1]
