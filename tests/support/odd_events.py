"""Events that the product accepts and that simple tools cannot show."""

from __future__ import annotations

import json
from typing import Final

BIG: Final = "18528528433540659662000"
# The text of `data` of the sender `standard`, by name. Each contains the word `needle`.
DATA: Final = {
    "integer over 64 bits": f'{{"amount_wei":{BIG},"at":"needle"}}',
    "number beyond a double": '{"rate":1e400,"minus_zero":-0.0,"price":1.10,"at":"needle"}',
    "5,000 digits": f'{{"id":{"7" * 5_000},"at":"needle"}}',
    "1,000 levels": '{"a":' + "[" * 1_000 + '"needle"' + "]" * 1_000 + "}",
    "300 levels of objects": '{"a":' * 300 + '"needle"' + "}" * 300,
    "line separators": '{"text":"needle a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"}'.replace("\x0b", "\\u000b")
    .replace("\x0c", "\\f")
    .replace("\x1c", "\\u001c")
    .replace("\x1d", "\\u001d")
    .replace("\x1e", "\\u001e"),
    "NUL": '{"text":"needle \\u0000 x\\u001b[2J"}',
    "empty key": '{"":"needle","a b":{"":[]}}',
    "long string": '{"text":"needle ' + "é" * 60_000 + '"}',
    "astral characters": '{"text":"needle \\ud83d\\ude00 😀"}',
}


def native(data: str, id_: str, *, is_text: bool = False) -> str:
    """Return an event of `standard` as one line of JSON; `is_text`: its data are given as text."""
    shown = json.dumps(data) if is_text else data
    return f'{{"event_id":"{id_}","event_type":"note.added","customer_id":"acme","data":{shown}}}'
