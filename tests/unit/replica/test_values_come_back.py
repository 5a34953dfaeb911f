"""Every value that a field may hold comes back equal and of the same type, from a field of any kind and by any way.

Here, on a peer, and from the disk; by `get`, by `find` for that very value, in histories, conflicts and the journal.
Many values share a pair of replicas, so that all of them can be tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from hypothesis import example, given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st

from crdt_sync import List, Map, Model, Replica, Set, ask, first, merge_with, three_way
from crdt_sync.core import codec
from crdt_sync.core.equality import alike as is_no_clash
from crdt_sync.testing.exchange import exchange
from tests.unit.core.values import EDGES, alike, anything
from tests.unit.replica.devices import memory, on_disk


def greatest(base: object, candidates: list[Any]) -> Any:
    del base
    return max(candidates, key=lambda value: (type(value).__name__, repr(value)))


class Anything(Model):
    plain: Any = None
    asking: Any = ask(default=None)
    merging: Any = three_way(default=None)
    deciding: Any = merge_with(greatest, default=None)
    once: Any = first(default=None)
    items: List[Any]
    entries: Map[str, Any]
    asking_entries: Map[str, Annotated[Any, ask()]]
    merging_entries: Map[str, Annotated[Any, three_way()]]
    deciding_entries: Map[str, Annotated[Any, merge_with(greatest)]]


class Elements(Model):
    members: Set[Any]


REGISTERS = ("plain", "asking", "merging", "deciding")
MAPS = ("entries", "asking_entries", "merging_entries", "deciding_entries")
KEY = "a/b~"
batches = st.lists(anything, min_size=4, max_size=12)


def fields_of(value: Any) -> dict[str, Any]:
    """A value as each field is given it, but for the one that keeps its first value."""
    return {**dict.fromkeys(REGISTERS, value), "items": [value], **{name: {KEY: value} for name in MAPS}}


def are_alike(record: Any, fields: dict[str, Any]) -> bool:
    """Whether the fields of a record show these values."""
    plain = {"items": list, **dict.fromkeys(MAPS, dict)}
    return all(alike(plain.get(name, lambda it: it)(getattr(record, name)), value) for name, value in fields.items())


def check(replica: Replica, names: Sequence[str], values: Sequence[Any]) -> None:
    """Read and find records, each of which holds one of the values."""
    for name, value in zip(names, values, strict=True):
        record = replica.get(Anything, name)
        fields = fields_of(value)
        assert are_alike(record, fields), value
        assert all(alike(replica.candidates(record, field)[0].value, value) for field in REGISTERS)
        for field, wanted in fields.items():
            question: dict[str, Any] = {field: wanted}
            assert record in replica.find(Anything, **question), (field, value)
            assert record not in replica.find(Anything, **{f"{field}__ne": wanted}), (field, value)
        assert record in replica.find(Anything, plain__in=["other", value])
        assert record in replica.find(Anything, items__contains=value)
        assert alike(replica.explain(record, "plain").value, value)


@Settings(max_examples=6)
@given(batches)
@example(EDGES)
def test_in_a_field_of_any_kind(values: Sequence[Any]) -> None:
    later = [*values[1:], values[0]]
    with TemporaryDirectory() as folder, memory(2, Anything) as two:
        with on_disk(Path(folder), Anything) as one:
            with one.transaction():
                names = [one.create(Anything, **fields_of(value), once=value).id for value in values]
            exchange(one, two)
            check(one, names, values)
            check(two, names, values)
            with two.transaction():
                for name, value in zip(names, later, strict=True):
                    two.update(two.get(Anything, name), **fields_of(value))
            exchange(one, two)
            check(two, names, later)
            for replica in (one, two):
                assert all(map(told, _each(replica, names), values, later))
        with Replica.open(Path(folder) / "a.db", models=[Anything], state_dir=Path(folder) / "state") as one:
            check(one, names, later)
            assert all(map(told, _each(one, names), values, later))
            assert list(one.invalid()) == one.conflicts() == []


def _each(replica: Replica, names: Sequence[str]) -> Iterator[tuple[Replica, Any]]:
    return ((replica, replica.get(Anything, name)) for name in names)


def told(where: tuple[Replica, Any], value: Any, later: Any) -> bool:
    """Whether the record's past has both values, in the fields that have changed and in no others."""
    replica, record = where
    made, *changes = replica.history(record)
    assert alike(record.once, value)
    assert value is None or {item.field for item in made.changes} == set(Anything.model_fields)
    assert all(alike(item.new, fields_of(value).get(item.field, value)) for item in made.changes)
    if alike(value, later):
        return not changes and are_alike(record, fields_of(value))
    (changed,) = changes
    assert {item.field for item in changed.changes} == set(fields_of(later)), (value, later)
    for item in changed.changes:
        assert alike(item.old, fields_of(value)[item.field])
        assert alike(item.new, fields_of(later)[item.field])
    return are_alike(replica.at(record, made.timestamp), fields_of(value))


@Settings(max_examples=6)
@given(batches)
@example(EDGES)
def test_what_undo_and_the_journal_know(values: Sequence[Any]) -> None:
    with memory(1, Anything) as replica:
        record = replica.create(Anything, **fields_of("before"))
        last: Any = "before"
        for value in values:
            wanted = fields_of(value)
            replica.update(record, **wanted)
            if alike(value, last):
                continue
            assert alike(replica.last_operation().data, wanted)
            assert replica.undo() is not None
            assert are_alike(record, fields_of(last))
            assert replica.redo() is not None
            assert are_alike(record, wanted)
            last = value


@Settings(max_examples=6)
@given(st.lists(st.tuples(anything, anything, anything), min_size=2, max_size=6))
@example([("base", value, EDGES[at - 1]) for at, value in enumerate(EDGES)])
@example([(value, EDGES[at - 1], "other") for at, value in enumerate(EDGES)])
def test_in_conflicts(cases: list[tuple[Any, Any, Any]]) -> None:
    with memory(1, Anything) as one, memory(2, Anything) as two:
        with one.transaction():
            names = [one.create(Anything, **fields_of(base)).id for base, _, _ in cases]
        exchange(one, two)
        for replica, side in ((one, 1), (two, 2)):
            with replica.transaction():
                for name, case in zip(names, cases, strict=True):
                    replica.update(replica.get(Anything, name), **fields_of(case[side]))
        exchange(one, two)
        for name, (base, left, right) in zip(names, cases, strict=True):
            here, there = one.get(Anything, name), two.get(Anything, name)
            assert alike([here.plain, here.deciding], [there.plain, there.deciding])
            conflicts = one.conflicts(record=here)
            assert conflicts == two.conflicts(record=there)
            found = {item.register: item for item in conflicts}
            clash = not (alike(base, left) or alike(base, right) or are_one(left, right))
            assert (f"asking_entries/{KEY}" in found) == ("asking" in found) == clash, (base, left, right)
            for register in found.keys() & {"asking", f"asking_entries/{KEY}"}:
                assert alike(found[register].base, base)
                told_of = [item.value for item in found[register].candidates]
                assert alike(told_of, [left, right]) or alike(told_of, [right, left])
        settle(one, two)


def are_one(left: Any, right: Any) -> bool:
    """Whether concurrent writes of these values do not clash."""
    return is_no_clash(*(codec.decode(codec.encode(value), named_zones=False) for value in (left, right)))


def settle(one: Replica, two: Replica) -> None:
    """Take a candidate of each conflict as another replica tells it, and look for it on both."""
    others = {item.id: item for item in two.conflicts()}
    with one.transaction():
        for conflict in one.conflicts():
            one.resolve(conflict, take=others[conflict.id].candidates[-1])
    exchange(one, two)
    assert one.conflicts() == two.conflicts() == []
    assert one.settled() == two.settled()
    for item in two.settled(model=Anything):
        shown = getattr(two.get(Anything, item.record_id), item.field)
        assert alike(item.chosen.value, dict(shown)[KEY] if item.field in MAPS else shown)


def can_be_element(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return bool(value == value)  # noqa: PLR0124  NaN is not itself


@Settings(max_examples=6)
@given(batches)
@example(EDGES)
def test_as_an_element_of_a_set(given_: Sequence[Any]) -> None:
    values = [value for value in given_ if can_be_element(value) and "nan" not in repr(value).lower()]
    with TemporaryDirectory() as folder, memory(2, Elements) as two:
        with on_disk(Path(folder), Elements) as one:
            with one.transaction():
                names = [one.create(Elements, members={value}).id for value in values]
            exchange(one, two)
            check_elements(two, names, values)
            for name, value in zip(names, values, strict=True):
                record = two.get(Elements, name)
                record.members.discard(value)
                assert not record.members
                record.members.add(value)
            exchange(one, two)
        with Replica.open(Path(folder) / "a.db", models=[Elements], state_dir=Path(folder) / "state") as one:
            check_elements(one, names, values)
            assert list(one.invalid()) == []


def check_elements(replica: Replica, names: Sequence[str], values: Sequence[Any]) -> None:
    for name, value in zip(names, values, strict=True):
        record = replica.get(Elements, name)
        assert alike(set(record.members), {value})
        assert value in record.members
        assert record in replica.find(Elements, members={value})
        assert record in replica.find(Elements, members__contains=value)
        assert alike([change.new for item in replica.history(record) for change in item.changes][-1], {value})


def test_equal_elements_are_one_and_show_alike_everywhere() -> None:
    with memory(1, Elements) as one, memory(2, Elements) as two:
        here = one.create(Elements, members={1})
        exchange(one, two)
        there: Any = two.get(Elements, here.id)
        here.members.add(True)
        there.members.add(1.0)
        exchange(one, two)
        assert len(here.members) == 1
        assert alike(set(here.members), set(there.members))
        there.members.discard(1)
        exchange(one, two)
        assert not here.members


def test_what_was_read_is_a_copy_that_can_be_changed_and_written() -> None:
    """Also where nobody wrote since the creation, of which the replica keeps the values in memory."""
    with memory(1, Anything) as one, memory(2, Anything) as two:
        for value in ([1], {"a": [1]}, ([1],), [{"a": ([1],)}]):
            here = one.create(Anything, **fields_of(value), once=value)
            exchange(one, two)
            there = two.get(Anything, here.id)
            for field in (*REGISTERS, "once"):
                change_inside(getattr(here, field))
                change_inside(one.find(Anything, id=here.id)[0].model_dump()[field])
                change_inside(one.candidates(here, field)[0].value if field != "once" else [])
                assert alike(getattr(here, field), value), field
            for field in REGISTERS:
                changed = getattr(here, field)
                change_inside(changed)
                setattr(here, field, changed)
                assert not alike(changed, value)
                exchange(one, two)
                assert alike(getattr(there, field), changed), field
            assert are_alike(one.at(here, next(one.history(here)).timestamp), fields_of(value))


def change_inside(value: Any) -> None:
    """Add something to the innermost list of a value."""
    while isinstance(value, dict | tuple) or (value and isinstance(value[0], dict | tuple)):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    value.append("more")
