"""Who makes a request, and for which customer. Pure but for the port of keys.

No answer hints at another customer: a key of another sender is as invalid as an unknown one, and a webhook of another
customer is as unknown as one that does not exist (webhooks.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from producers.api.flavours import ApiOperation, Flavour
from producers.api.ports import Caller, Keys
from producers.api.refusals import Refusal, RequestProblem, invalid, read_only, too_often, unauthenticated
from schemas.subscriptions.rules import MAX_CUSTOMER_ID

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, as ASGI gives them."""

CUSTOMER_HEADER: Final = "X-Signpost-Customer"
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,512}")


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a header; None also if it occurs several times, since nobody can say which one counts."""
    found = [value for key, value in headers if key == name]
    return found[0] if len(found) == 1 else None


def authenticate(flavour: Flavour, headers: Headers, keys: Keys) -> Caller:
    """Return who makes a request; Refusal if the key is not valid for this flavour, or used too often."""
    value = header(headers, flavour.key_header)
    key = None if value is None else flavour.key_in(value)
    caller = keys.authenticate(key.decode()) if key is not None and _KEY.fullmatch(key) else None
    if caller is None or caller.sender not in (None, flavour.name):
        raise unauthenticated(flavour.challenge)
    if (wait_s := keys.may_request(caller)) > 0:
        raise too_often(wait_s)
    return caller


def customer_of(caller: Caller, operation: ApiOperation, headers: Headers) -> str:
    """Return the customer for whom a caller acts; Refusal if the key does not permit the operation.

    A customer's key acts for its customer, whatever the headers say. An operator's key acts for the customer that
    `X-Signpost-Customer` names.
    """
    if operation.writes and not caller.may_write:
        raise read_only()
    if caller.customer_id is not None:
        return caller.customer_id
    value = header(headers, CUSTOMER_HEADER.lower().encode())
    try:
        customer_id = (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise _unnamed_customer("is not UTF-8") from None
    if not customer_id:
        raise _unnamed_customer("an operator's key needs this header, once, with the id of a customer")
    if len(customer_id) > MAX_CUSTOMER_ID or not customer_id.isprintable() or customer_id != customer_id.strip():
        raise _unnamed_customer(f"is not an id of a customer: at most {MAX_CUSTOMER_ID} printable characters")
    return customer_id


def _unnamed_customer(message: str) -> Refusal:
    return invalid(RequestProblem((CUSTOMER_HEADER,), "invalid_value", message))
