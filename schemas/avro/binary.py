"""Fast binary encoding (Avro 1.12 specification) of the few types in job and outcome records.

These records are read or written for every attempt, and these functions are faster than a general library. They reject
some valid values with `ValueError` or `IndexError`; the general reader then decides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_ONE: Final = tuple(bytes((number,)) for number in range(128))
# Seven bits per byte: nine bytes hold a long of 62 bits and its sign. The general reader reads longer ones.
_MOST_BITS: Final = 56
NULL: Final = b"\x00"
PRESENT: Final = b"\x02"  # the second branch of a union with null first
FALSE: Final = b"\x00"
TRUE: Final = b"\x01"


def long_bytes(number: int) -> bytes:
    """Encode an int or a long: zigzag, then seven bits per byte, the low bits first."""
    zigzag = number << 1 if number >= 0 else ~(number << 1)
    if zigzag < 0x80:
        return _ONE[zigzag]
    if zigzag < 0x4000:
        return bytes((zigzag & 127 | 128, zigzag >> 7))
    if zigzag < 0x200000:
        return bytes((zigzag & 127 | 128, zigzag >> 7 & 127 | 128, zigzag >> 14))
    encoded = bytearray()
    while zigzag > 127:
        encoded.append(zigzag & 127 | 128)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


# For values that many records share, such as the millisecond of the start.
common_long_bytes = lru_cache(maxsize=1_024)(long_bytes)


def text_bytes(text: str) -> bytes:
    """Encode a string."""
    encoded = text.encode()
    size = len(encoded)
    return (_ONE[size + size] if size < 64 else long_bytes(size)) + encoded


common_text_bytes = lru_cache(maxsize=1_024)(text_bytes)


def read_longs(value: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Decode `count` ints or longs from `position`; return them and the position after them."""
    found = []
    for _ in range(count):
        byte = value[position]
        position += 1
        zigzag, bits = byte & 127, 7
        while byte > 127:
            if bits > _MOST_BITS:
                raise ValueError("a long of ten bytes or more")
            byte = value[position]
            position += 1
            zigzag |= (byte & 127) << bits
            bits += 7
        found.append((zigzag >> 1) ^ -(zigzag & 1))
    return found, position


def read_texts(value: bytes, position: int, count: int) -> tuple[list[str], int]:
    """Decode `count` strings from `position`; return them and the position after them.

    That position may be beyond the end of the value.
    """
    found = []
    for _ in range(count):
        size = value[position]
        position += 1
        if size & 1:  # the sign bit, also of a length of several bytes
            raise ValueError("a negative length")
        if size > 127:
            (size,), position = read_longs(value, position - 1, 1)
            size += size
        end = position + (size >> 1)
        found.append(value[position:end].decode())
        position = end
    return found, position
