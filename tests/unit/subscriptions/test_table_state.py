"""The effective record of each id in a compacted topic."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from consumers.subscriptions.state import Deleted, Entry, NotYet, TableState, Unusable
from schemas.catalog.errors import SealBroken, UnreadableRecord

BROKEN = b"broken"


def interpret(_partition: int, _offset: int, _key: str, value: bytes) -> bytes:
    if value.startswith(BROKEN):
        raise UnreadableRecord("invalid_value", "broken")
    return value


def table_of(*records: tuple[int, int, str, bytes | None]) -> TableState[bytes]:
    table = TableState(interpret)
    for record in records:
        table.apply(*record)
    return table


def test_last_record_is_effective():
    """The last of several records of an id is effective, with its partition and offset."""
    table = table_of((0, 0, "a", b"old"), (0, 4, "a", b"new"))
    assert table.lookup("a", 0, 4) == Entry(b"new", 0, 4)
    assert len(table) == 1


def test_tombstone_deletes():
    """After a tombstone, the id is gone and is not among the entries."""
    table = table_of((0, 0, "a", b"1"), (0, 1, "a", None))
    assert table.lookup("a", 0, 0) == Deleted()
    assert len(table) == 0


def test_record_after_the_position_is_not_yet_known():
    """A record after the position is NotYet, even if an older record of the id is known."""
    table = table_of((0, 0, "a", b"1"))
    assert table.lookup("a", 0, 1) == NotYet()
    assert table.lookup("b", 0, 7) == NotYet()
    assert table.lookup("a", 3, 0) == NotYet()


def test_id_without_a_record_before_the_position_is_gone():
    """Markers at the end of a log advance the position like records, and an id without a record is Deleted."""
    table = table_of((0, 0, "a", b"1"))
    table.advance(0, 8)
    assert table.lookup("b", 0, 7) == Deleted()
    assert table.lookup("b", 0, 8) == NotYet()


def test_position_never_goes_back():
    """A record that is read twice, or an end that is reported late, changes nothing."""
    table = table_of((0, 5, "a", b"new"))
    table.advance(0, 2)
    assert not table.apply(0, 5, "a", None).changed
    assert table.lookup("a", 0, 5) == Entry(b"new", 0, 5)


def test_unusable_record_keeps_the_last_good_one():
    """An unreadable record is reported, and does not stop an id that worked before."""
    table = table_of((0, 0, "a", b"good"))
    applied = table.apply(0, 1, "a", BROKEN)
    assert not applied.changed
    assert applied.unusable == Unusable("invalid_value: broken", 0, 1)
    assert table.lookup("a", 0, 1) == Entry(b"good", 0, 0)
    assert table.unusable() == {}


def test_unusable_record_without_a_good_one_is_not_gone():
    """An id with only a broken record is Unusable until it is written again or deleted."""
    table = table_of((0, 0, "a", BROKEN))
    assert isinstance(table.lookup("a", 0, 0), Unusable)
    assert list(table.unusable()) == ["a"]

    table.apply(0, 1, "a", b"good")
    assert table.lookup("a", 0, 1) == Entry(b"good", 0, 1)
    assert table.unusable() == {}

    table.apply(0, 2, "a", None)
    table.apply(0, 3, "a", BROKEN)
    assert isinstance(table.lookup("a", 0, 3), Unusable)
    table.apply(0, 4, "a", None)
    assert table.lookup("a", 0, 4) == Deleted()


def test_broken_seal_makes_a_record_unusable():
    """A broken seal is treated as a broken record."""

    def refuse(_partition: int, _offset: int, _key: str, _value: bytes) -> bytes:
        raise SealBroken("wrong key")

    table = TableState(refuse)
    table.apply(0, 0, "a", b"1")
    assert table.lookup("a", 0, 0) == Unusable("wrong key", 0, 0)


def test_lower_of_two_partitions_is_effective():
    """If an id is on two partitions, the record of the lower one is effective in any order, and the id is reported."""
    for records in (((2, 0, "a", b"two"), (1, 0, "a", b"one")), ((1, 0, "a", b"one"), (2, 0, "a", b"two"))):
        table = table_of(*records)
        assert table.lookup("a", 1, 0) == table.lookup("a", 2, 0) == Entry(b"one", 1, 0)
        assert table.partitions_of("a") == (1, 2)
        assert table.apply(1, 1, "a", None).after == Entry(b"two", 2, 0)
        assert table.partitions_of("a") == ()


def test_unusable_record_of_the_lower_partition_hides_the_higher_one():
    """The content of the lower record is unknown, so that the higher one must not be used."""
    table = table_of((2, 0, "a", b"two"))
    applied = table.apply(1, 0, "a", BROKEN)
    assert applied.changed
    assert applied.after is None
    assert isinstance(table.lookup("a", 1, 0), Unusable)


@dataclass
class Model:
    """The rules in their plainest form: all records are kept and evaluated for each lookup."""

    records: list[tuple[int, int, str, bytes | None]]
    positions: dict[int, int]

    def lookup(self, id_: str, partition: int, offset: int) -> object:
        if self.positions.get(partition, 0) <= offset:
            return NotYet()
        for number in sorted(self.positions):
            entry: Entry[bytes] | None = None
            bad: Unusable | None = None
            for where, at, key, value in self.records:
                if (where, key) != (number, id_):
                    continue
                if value is None:
                    entry, bad = None, None
                elif value.startswith(BROKEN):
                    bad = Unusable("invalid_value: broken", where, at)
                else:
                    entry, bad = Entry(value, where, at), None
            if entry is not None or bad is not None:
                return entry or bad
        return Deleted()


steps = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),  # markers and compaction leave gaps
    st.sampled_from(["a", "b"]),
    st.sampled_from([b"1", b"2", BROKEN, None]),
    st.booleans(),
)


@given(st.lists(steps, max_size=25))
def test_table_matches_the_model(history):
    """Any history of records, tombstones, broken records and gaps gives the same result as the plain rules."""
    table, model = TableState(interpret), Model([], {})
    changes: dict[str, Entry[bytes] | None] = {}
    for partition, gap, key, value, is_marker in history:
        offset = model.positions.get(partition, 0) + gap
        model.positions[partition] = offset + 1
        if is_marker:
            table.advance(partition, offset + 1)
            continue
        model.records.append((partition, offset, key, value))
        applied = table.apply(partition, offset, key, value)
        if applied.changed:
            changes[key] = applied.after
        for id_ in ("a", "b"):
            for number in range(3):
                for at in {0, model.positions.get(number, 0) - 1, model.positions.get(number, 0)}:
                    assert table.lookup(id_, number, at) == model.lookup(id_, number, at)
    # The reported changes alone give the same table.
    present = {id_: entry for id_ in ("a", "b") if (entry := table.get(id_)) is not None}
    assert {id_: entry for id_, entry in changes.items() if entry is not None} == present
    assert len(table) == len(present)
    passed = next(iter(model.positions), None)
    if passed is not None:
        unusable = {id_ for id_ in ("a", "b") if isinstance(model.lookup(id_, passed, -1), Unusable)}
        assert set(table.unusable()) == unusable
