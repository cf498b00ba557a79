"""A mistake, and parts of a request without it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

Part: TypeAlias = Literal[
    "secret",  # the right secret in another form
    "key",  # another key was derived from the secret
    "body",  # the body was changed
    "signature",  # another notation of the signature
    "header",  # a renamed header
    "time",  # the time in another unit
    "text",  # another text was signed
]
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. `how` describes the given value; it never contains a part of the secret."""

    part: Part
    how: str


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """A value that may be the right one, and the mistakes that lead from it to the given one."""

    value: T
    mistakes: tuple[Mistake, ...] = ()

    @property
    def cost(self) -> int:
        """The number of mistakes."""
        return len(self.mistakes)


def forms(
    given: T, changes: Callable[[T], Iterable[tuple[str, T]]], part: Part, *, most: int = 2, limit: int = 2_000
) -> Iterator[Form[T]]:
    """Yield the given value and the results of up to `most` changes, those with the fewest changes first."""
    known = {given}
    level: list[Form[T]] = [Form(given)]
    yield level[0]
    for _ in range(most):
        following: list[Form[T]] = []
        for form in level:
            for how, value in changes(form.value):
                if value in known or len(known) >= limit:
                    continue
                known.add(value)
                found = Form(value, (*form.mistakes, Mistake(part, how)))
                following.append(found)
                yield found
        level = following
