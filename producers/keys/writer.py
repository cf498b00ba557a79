"""The writer of API keys: exclusive access to the partition of a key, as for subscriptions.

A revoked or expired key stays on the topic for 90 days, so that a list shows it. After that the next write to its
partition deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from producers.compacted.acknowledgement import acknowledge_after_s
from producers.compacted.author import Author
from producers.compacted.environment import Environment
from producers.compacted.log import Unreadable
from producers.compacted.partition_owner import KeyedRecord, PartitionOwner, SideRecord, Write
from producers.keys.log import KeyLog
from schemas.catalog.errors import InvalidInput, SealBroken
from schemas.input.durations import milliseconds
from schemas.input.suggestions import did_you_mean
from schemas.keys.hashing import KeyHasher
from schemas.keys.text import KeyText, generate_key
from schemas.records.api_key import ApiKey, Scope, encode_api_key
from schemas.records.health import KeyOperation, Operation, encode_operation
from schemas.records.topics import TopicNames

RevokeEffect: TypeAlias = Literal["revoked", "unchanged", "deleted"]
KEPT_AFTER_END: Final = timedelta(days=90)
# API processes read the topic every 200 ms, next to their requests.
_KNOWN_AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to create. Without sender and customer it is an operator's key."""

    sender: str | None = None
    customer_id: str | None = None
    scope: Scope = "write"
    lifetime: timedelta | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if (self.sender is None) != (self.customer_id is None):
            raise InvalidInput("an API key has both a sender and a customer, or neither of them")


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A created key; `text` is the key itself, to show once."""

    key: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Revocation:
    """What became of a key: revoked, unchanged (it was revoked before), or deleted (its record was unreadable)."""

    id: str
    effect: RevokeEffect
    key: ApiKey | None


class _Change(NamedTuple):
    """A change of the record of a key. `key` is the new record, or the deleted one (None: it was unreadable)."""

    kind: KeyOperation
    id: str
    key: ApiKey | None

    def record(self) -> KeyedRecord:
        """Return the record to write."""
        if self.key is None or self.kind == "api_key_deleted":
            return KeyedRecord(self.id, None)
        return KeyedRecord(self.id, encode_api_key(self.key))


class KeyWriter:
    """Creates and revokes API keys. `hasher` is needed only to create.

    Both methods return when every API process that is connected to its broker knows the change. The transaction of a
    change also has its audit record, with `author`. `timeout_s`: how long a write is retried before Unavailable.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        names: TopicNames,
        hasher: KeyHasher | None,
        *,
        environment: Environment | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._hasher = hasher
        self._operations = names.operations
        self._environment = environment or Environment()
        self.log = KeyLog(kafka, names, timeout_s=timeout_s)
        self._owner = PartitionOwner(
            kafka,
            self.log.compacted,
            lambda partition: f"{names.prefix}api-keys.{partition}",
            monotonic=self._environment.monotonic,
            uniform=self._environment.uniform,
            timeout_s=timeout_s,
        )

    def read(self) -> KeyLog:
        """Read up to the current end of committed records."""
        self.log.compacted.read()
        return self.log

    def create(self, new: NewKey, author: Author) -> CreatedKey:
        """Create a key. SealBroken if its hash would need a sealing key that no active key has."""
        self.read()
        text = generate_key(self._environment.random)
        key = self._key_of(new, text)

        def decide() -> Write:
            if self.log.get(key.id) == key:  # written by an earlier try
                return Write([])
            ended = self._ended_on(self.log.partition(key.id))
            return self._write([_Change("api_key_created", key.id, key), *ended], author)

        self._acknowledge(self._owner.write(self.log.partition(key.id), decide))
        return CreatedKey(key, text.text())

    def revoke(self, ids: Sequence[str], author: Author) -> list[Revocation]:
        """Revoke keys. InvalidInput has a sentence for each unknown id, and then nothing is written."""
        log = self.read()
        known = log.all()
        if unknown := [id_ for id_ in ids if id_ not in known]:
            raise InvalidInput("\n".join(f"key {id_}: does not exist{did_you_mean(id_, known)}" for id_ in unknown))
        done: dict[str, Revocation] = {}
        read_back_s = 0.0
        for partition in sorted({log.partition(id_) for id_ in ids}):
            here = [id_ for id_ in dict.fromkeys(ids) if log.partition(id_) == partition]
            read_back_s = max(read_back_s, self._revoke_on(partition, here, done, author))
        if any(one.effect != "unchanged" for one in done.values()):
            self._acknowledge(read_back_s)
        return [done[id_] for id_ in ids]

    def close(self) -> None:
        """Close the connections to the broker."""
        self._owner.close()
        self.log.compacted.close()

    def _key_of(self, new: NewKey, text: KeyText) -> ApiKey:
        if self._hasher is None:
            raise InvalidInput("API keys can only be created with a sealing key")
        now_ms = self._now_ms()
        self._check_sealing_key(self._hasher, now_ms)
        key = ApiKey(
            id=text.id,
            sender=new.sender,
            customer_id=new.customer_id,
            scope=new.scope,
            description=new.description,
            created_at_ms=now_ms,
            expires_at_ms=None if new.lifetime is None else now_ms + milliseconds(new.lifetime),
            revoked_at_ms=None,
            sealing_key=self._hasher.current,
            hash=b"",
        )
        return replace(key, hash=self._hasher.hash(key, text.secret))

    def _check_sealing_key(self, hasher: KeyHasher, now_ms: int) -> None:
        """Refuse a sealing key that no active key has: the API would probably not accept the new key."""
        found = self.log.all().values()
        active = [key for key in found if isinstance(key, ApiKey) and key.state(now_ms) == "active"]
        if active and not any(hasher.has_key_of(key) for key in active):
            raise SealBroken(
                "the sealing key is not the one of any active API key, so the API would not accept a new one; name "
                "the same sealing keys as for the API, or revoke the present keys first if their sealing key is lost"
            )

    def _revoke_on(self, partition: int, ids: Sequence[str], done: dict[str, Revocation], author: Author) -> float:
        """Revoke keys of a partition in one transaction; return how long reading it back took."""
        now_ms = self._now_ms()

        def decide() -> Write:
            changes: list[_Change] = []
            for id_ in ids:
                current = self.log.get(id_)
                if isinstance(current, ApiKey) and current.revoked_at_ms is None:
                    revoked = replace(current, revoked_at_ms=now_ms)
                    done[id_] = Revocation(id_, "revoked", revoked)
                    changes.append(_Change("api_key_revoked", id_, revoked))
                elif isinstance(current, Unreadable):
                    done[id_] = Revocation(id_, "deleted", None)
                    changes.append(_Change("api_key_deleted", id_, None))
                else:  # revoked before, perhaps by an earlier try
                    done.setdefault(id_, Revocation(id_, "unchanged", current))
            return self._write([*changes, *self._ended_on(partition, ids)] if changes else [], author)

        return self._owner.write(partition, decide)

    def _write(self, changes: Sequence[_Change], author: Author) -> Write:
        return Write([one.record() for one in changes], [self._audit(one, author) for one in changes])

    def _audit(self, change: _Change, author: Author) -> SideRecord:
        """Return the audit record of a change: which key, and who changed it."""
        operation = Operation(
            kind=change.kind,
            at_ms=self._now_ms(),
            customer_id=None if change.key is None else change.key.customer_id,
            sender=None if change.key is None else change.key.sender,
            actor=author.name,
            request_id=author.request_id,
            key_id=change.id,
        )
        return SideRecord(self._operations, change.id.encode(), encode_operation(operation))

    def _ended_on(self, partition: int, kept: Sequence[str] = ()) -> list[_Change]:
        """Return deletions of the keys of a partition that ended long ago, except `kept`."""
        before_ms = self._now_ms() - milliseconds(KEPT_AFTER_END)
        found = [key for key in self.log.compacted.all_on(partition) if isinstance(key, ApiKey)]
        return [
            _Change("api_key_deleted", key.id, key)
            for key in found
            if key.id not in kept and (ended_at_ms := key.ended_at_ms()) is not None and ended_at_ms < before_ms
        ]

    def _acknowledge(self, read_back_s: float) -> None:
        self._environment.sleep(max(_KNOWN_AFTER_S, acknowledge_after_s(read_back_s)))

    def _now_ms(self) -> int:
        return int(self._environment.clock() * 1_000)
