"""Records that were created twice, on devices that were apart: shown as one, written as one, and one for ever."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest

from crdt_sync import Counter, List, Map, Model, Ref, Replica, Set, Text, ask, first, max_
from crdt_sync.core.ids import RecordId, document_key
from crdt_sync.core.links import links_of
from crdt_sync.errors import (
    ElementNotFoundError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
    SchemaError,
)
from crdt_sync.replica.derive import MODELS as MODELS_KEY
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.unique_index import _note_values
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import meet, memory, on_disk, state_of


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    title: str = ""
    due: int | None = ask(default=None)
    best: int | None = max_(default=None)
    origin: str | None = first(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]


class Order(Model):
    part: Ref[Part] | None = None


class Pair(Model, unique=("room", "day")):
    room: str | None = None
    day: int | None = None


class Loose(Model, unique=("code",), on_duplicate="keep_both"):
    code: str = ""


MODELS = (Part, Order, Pair, Loose)


@pytest.fixture
def devices() -> Iterator[list[Replica]]:
    with memory(1, *MODELS) as one, memory(2, *MODELS) as two, memory(3, *MODELS) as three:
        yield [one, two, three]


def view(replica: Replica) -> list[Any]:
    """What a user of a replica sees of its parts."""
    parts = replica.find(Part, order_by="id")
    assert replica.count(Part) == len(parts)
    shown = [(part.id, part.model_dump(), replica.also_known_as(part)) for part in parts]
    texts = [[(item.value, item.device_id) for item in replica.candidates(part, "notes")] for part in parts]
    return [*shown, *texts, *((item.id, item.record_id, item.field) for item in replica.conflicts())]


def test_created_at_once_they_show_as_one(devices: list[Replica]) -> None:
    one, two, _ = devices
    mine = one.create(Part, code="x", title="left", notes="mine", votes=1, tags=["a"], steps=["s"], prefs={"k": 1})
    theirs = two.create(Part, code="x", title="right", notes="theirs", votes=2, tags=["b"], steps=["t"], best=3)
    assert mine.id != theirs.id
    meet(one, two)
    for replica in (one, two):
        (part,) = replica.find(Part)
        assert part.id in (mine.id, theirs.id)
        assert (int(part.votes), set(part.tags), part.best) == (3, {"a", "b"}, 3)
        assert (sorted(part.steps), dict(part.prefs)) == (["s", "t"], {"k": 1})
        assert {item.value for item in replica.candidates(part, "title")} == {"left", "right"}
        assert {item.value for item in replica.candidates(part, "notes")} == {"mine", "theirs"}
        assert replica.get(Part, mine.id) == replica.get(Part, theirs.id) == part
        assert replica.count(Part, code="x") == 1
        assert len(replica.also_known_as(part)) == 1
    assert view(one) == view(two)
    assert one.pending_count() + two.pending_count() == 0  # merging writes nothing


def test_the_older_one_survives(devices: list[Replica]) -> None:
    one, two, _ = devices
    younger = [one.create(Part) for _ in range(5)]
    late = one.create(Part, code="x", notes="late")
    early = two.create(Part, code="x", notes="early")
    meet(one, two)
    assert one.get(Part, late.id).id == early.id
    assert str(late.notes) == str(early.notes) == "early"
    assert len(younger) == 5


def test_a_visible_duplicate_is_refused(devices: list[Replica]) -> None:
    one, *_ = devices
    part, other = one.create(Part, code="x"), one.create(Part, code="y")
    with pytest.raises(RecordExistsError) as refused:
        one.create(Part, code="x")
    assert refused.value.record_id == part.id
    assert part.id in (refused.value.hint or "")
    with pytest.raises(RecordExistsError):
        other.code = "x"
    assert other.code == "y"
    part.code = "x"
    other.title = "fine"
    with one.transaction():
        one.delete(one.create(Part, code="z"))
        one.delete(one.create(Part, code="z"))
    assert one.count(Part) == 2
    with one.transaction():
        part.code = "z"
        other.code = "x"
        with pytest.raises(RecordExistsError):
            one.create(Part, code="z")
        one.delete(part)
        one.create(Part, code="z")


def test_none_equals_nothing_and_all_fields_count(devices: list[Replica]) -> None:
    one, *_ = devices
    one.create(Part)
    one.create(Part)
    one.create(Pair, room="a", day=1)
    one.create(Pair, room="a", day=2)
    one.create(Pair, room="a")
    one.create(Pair, room="a")
    with pytest.raises(RecordExistsError):
        one.create(Pair, room="a", day=1)
    assert (one.count(Part), one.count(Pair)) == (2, 4)


def test_a_write_goes_to_every_half_and_keeps_them_together(devices: list[Replica]) -> None:
    one, two, three = devices
    mine = one.create(Part, code="x", title="left", due=1, days={"m": 1})
    theirs = two.create(Part, code="x", title="right", due=2, days={"m": 2})
    meet(one, two)
    assert {item.field for item in one.conflicts()} == {"due", "days"}
    part = one.find(Part)[0]
    part.title, part.due = "both", 3
    part.days["m"] = 3
    part.code = "y"
    meet(one, two, three)
    for replica in devices:
        assert replica.conflicts() == []
        (held,) = replica.find(Part)
        assert (held.title, held.due, dict(held.days), held.code) == ("both", 3, {"m": 3}, "y")
        assert [item.value for item in replica.candidates(held, "title")] == ["both"]
        assert replica.get(Part, mine.id) == replica.get(Part, theirs.id)


def test_what_is_removed_is_removed_wherever_it_is(devices: list[Replica]) -> None:
    one, two, _ = devices
    with one.transaction():
        one.create(Part, code="other", steps=["o"])
        mine = one.create(Part, code="x", tags=["a", "b"], steps=["s"], prefs={"k": 1, "only": 5})
    two.create(Part, code="x", tags=["a", "c"], steps=["t"], prefs={"k": 2})
    meet(one, two)
    mine.tags.discard("a")
    mine.tags.discard("c")
    mine.tags.add("d")
    del mine.prefs["k"]
    del mine.prefs["only"]
    mine.prefs["new"] = 7
    mine.steps[0], mine.steps[1] = "u", "v"
    mine.steps.move(0, 1)
    del mine.steps[0]
    mine.steps.append("w")
    mine.votes.increment(2)
    with pytest.raises(ElementNotFoundError):
        del mine.prefs["k"]
    assert (set(mine.tags), dict(mine.prefs), list(mine.steps)) == ({"b", "d"}, {"new": 7}, ["u", "w"])
    meet(one, two)
    assert view(one) == view(two)
    assert int(two.get(Part, mine.id).votes) == 2


def test_a_conflict_of_two_halves_is_settled_in_both(devices: list[Replica]) -> None:
    one, two, three = devices
    mine, theirs = one.create(Part, code="x", due=1), two.create(Part, code="x", due=2)
    meet(one, two)
    (conflict,) = one.conflicts()
    assert {item.value for item in conflict.candidates} == {1, 2}
    assert one.conflicts(record=mine) == one.conflicts(record=one.get(Part, theirs.id)) == [conflict]
    two.get(Part, mine.id).title = "edited"
    one.resolve(conflict, take=conflict.candidates[-1])
    assert one.conflicts() == []
    meet(one, two, three)
    assert [replica.conflicts() for replica in devices] == [[], [], []]
    assert three.find(Part)[0].due == conflict.candidates[-1].value


def test_a_conflict_is_settled_though_an_older_survivor_came_meanwhile(devices: list[Replica]) -> None:
    one, two, three = devices
    three.create(Part, code="x", title="oldest")
    for _ in range(5):
        one.create(Part)
    one.create(Part, code="x", due=1)
    two.create(Part, code="x", due=2)
    meet(one, two)
    (conflict,) = one.conflicts()
    exchange(one, three)
    assert one.find(Part, code="x")[0].id != conflict.record_id or one.conflicts()
    one.resolve(conflict, value=9)
    meet(one, two, three)
    for replica in devices:
        assert {item.value for item in replica.candidates(replica.find(Part, code="x")[0], "due")} >= {9}
        assert not {1, 2} & {item.value for item in replica.candidates(replica.find(Part, code="x")[0], "due")}


def test_deleting_deletes_every_half(devices: list[Replica]) -> None:
    one, two, three = devices
    mine, theirs = one.create(Part, code="x", votes=1), two.create(Part, code="x", votes=2)
    meet(one, two)
    one.delete(mine)
    meet(one, two, three)
    for replica in devices:
        assert replica.find(Part) == []
        for name in (mine.id, theirs.id):
            with pytest.raises(RecordNotFoundError):
                replica.get(Part, name)
    with pytest.raises(RecordDeletedError):
        theirs.title = "late"
    restored = two.restore(Part, theirs.id)
    meet(one, two, three)
    for replica in devices:
        (part,) = replica.find(Part)
        assert (part.id, int(part.votes)) == (restored.id, 3)
    assert view(one) == view(three)


def test_an_edit_of_one_half_outlives_a_delete_of_the_whole(devices: list[Replica]) -> None:
    one, two, three = devices
    mine, theirs = one.create(Part, code="x", votes=1), two.create(Part, code="x", votes=2)
    exchange(two, three)
    meet(one, two)
    one.delete(mine)
    three.get(Part, theirs.id).title = "kept"
    meet(one, two, three)
    for replica in devices:
        (part,) = replica.find(Part)
        assert (part.title, int(part.votes)) == ("kept", 3)
        assert replica.get(Part, mine.id) == replica.get(Part, theirs.id) == part
    assert view(one) == view(two) == view(three)


def test_links_bring_nothing_dead_to_life(devices: list[Replica]) -> None:
    one, two, three = devices
    mine, theirs = one.create(Part, code="x"), two.create(Part, code="x")
    exchange(two, three)
    meet(one, two)
    three.delete(three.get(Part, theirs.id))
    one.get(Part, mine.id).votes.increment()  # to the survivor alone; the other half gets a link
    survivor = one.find(Part)[0].id
    meet(one, two, three)
    assert view(one) == view(two) == view(three)
    if survivor == mine.id:
        one.delete(mine)
        meet(one, two, three)
        assert [replica.count(Part) for replica in devices] == [0, 0, 0]


def test_references_follow(devices: list[Replica]) -> None:
    one, two, _ = devices
    mine, theirs = one.create(Part, code="x"), two.create(Part, code="x")
    first, second = one.create(Order, part=mine), two.create(Order, part=theirs)
    meet(one, two)
    assert first.part is not None
    assert second.part is not None
    assert first.part.get(one) == one.get(Order, second.id).part.get(one) == one.find(Part)[0]  # type: ignore[union-attr]  # set above


def test_a_chain_seen_in_pieces_comes_to_one(devices: list[Replica]) -> None:
    one, two, three = devices
    for number, replica in enumerate(devices):
        replica.create(Part, code="x", votes=10**number)
    exchange(one, two)
    one.find(Part)[0].title = "by one"
    exchange(two, three)
    two.find(Part)[0].title = "by two"
    three.find(Part)[0].code = "y"
    meet(one, two, three)
    assert view(one) == view(two) == view(three)
    (part,) = one.find(Part)
    assert int(part.votes) == 111
    assert len(one.also_known_as(part)) == 2


def test_values_that_differ_again_part_what_nobody_touched(devices: list[Replica]) -> None:
    one, two, three = devices
    one.create(Part, code="x")
    theirs = two.create(Part, code="x")
    exchange(two, three)
    three.get(Part, theirs.id).code = "y"
    exchange(one, two)
    assert one.count(Part) == two.count(Part) == 1
    meet(one, two, three)
    assert [replica.count(Part) for replica in devices] == [2, 2, 2]
    assert view(one) == view(two) == view(three)


def test_observers_hear_of_it(devices: list[Replica]) -> None:
    one, two, _ = devices
    mine, theirs = one.create(Part, code="x"), two.create(Part, code="x")
    seen: list[tuple[str, str, str]] = []
    one.observe(lambda change: seen.append((change.type, change.record_id, change.into)))
    exchange(one, two)
    survivor = one.find(Part)[0].id
    (alias,) = {mine.id, theirs.id} - {survivor}
    assert ("merged", alias, survivor) in seen
    assert {kind for kind, name, _ in seen if name == survivor} <= {"update", "create"}
    seen.clear()
    one.delete(mine)
    assert seen == [("delete", survivor, "")]


def test_keep_both_keeps_both(devices: list[Replica]) -> None:
    one, two, _ = devices
    one.create(Loose, code="x")
    one.create(Loose, code="x")
    two.create(Loose, code="x")
    meet(one, two)
    assert one.count(Loose, code="x") == two.count(Loose, code="x") == 3
    assert one.conflicts() == []
    assert one.also_known_as(one.find(Loose)[0]) == ()


def test_amid_a_transaction_the_tables_show_groups_as_one(devices: list[Replica]) -> None:
    one, two, _ = devices
    mine = one.create(Part, code="x", votes=1)
    two.create(Part, code="x", votes=2)
    meet(one, two)
    with one.transaction():
        mine.title = "t"
        mine.votes.increment()
        (part,) = one.find(Part)
        assert (part.title, int(part.votes)) == ("t", 4)
        one.delete(part)
        assert one.find(Part) == []
        one.restore(Part, mine.id)
        assert one.count(Part, title="t") == 1
    meet(one, two)
    assert view(one) == view(two)


def test_amid_a_transaction_a_restored_record_is_one_with_its_equal_at_once(devices: list[Replica]) -> None:
    one, two, _ = devices
    old = one.create(Part, code="x", title="old", votes=1)
    one.delete(old)
    new = one.create(Part, code="x", title="new", votes=10)
    with one.transaction():
        one.restore(Part, old.id)
        (part,) = one.find(Part)
        assert (part, one.also_known_as(part), one.count(Part)) == (old, (new.id,), 1)
        assert one.get(Part, new.id) == old
        one.get(Part, new.id).title = "both"
        part.votes.increment(100)
        assert (new.title, int(new.votes), part.title) == ("both", 111, "both")
    assert (one.find(Part), part.title, int(part.votes)) == ([old], "both", 111)
    with one.transaction():
        one.delete(part)
        one.restore(Part, new.id)
        one.delete(one.get(Part, new.id))
        assert one.find(Part) == []
    assert one.find(Part) == []
    meet(one, two)
    assert view(two) == []


def test_amid_a_transaction_only_what_is_equal_by_then_is_one(devices: list[Replica]) -> None:
    one, *_ = devices
    old = one.create(Part, code="x")
    one.delete(old)
    new, other = one.create(Part, code="x"), one.create(Part, code="y")
    with one.transaction():
        new.code = "z"
        other.code = "x"
        one.restore(Part, old.id)
        assert one.also_known_as(old) == (other.id,)
        assert {part.id for part in one.find(Part)} == {old.id, new.id}
    assert one.also_known_as(old) == (other.id,)
    assert {part.id for part in one.find(Part)} == {old.id, new.id}
    assert one.check().ok


def test_a_younger_record_that_was_found_in_the_transaction_that_restored_it_has_no_row(
    devices: list[Replica],
) -> None:
    one, *_ = devices
    older, younger = one.create(Part), one.create(Part, code="x")
    one.delete(younger)
    older.code = "x"
    with one.transaction():
        one.restore(Part, younger.id)
        one.count(Part)
    assert one.find(Part) == [older]
    assert one.also_known_as(older) == (younger.id,)
    assert one.check().ok


def test_a_link_is_no_edit(devices: list[Replica]) -> None:
    one, two, three = devices
    for _ in range(5):
        two.create(Part)
    mine, theirs = one.create(Part, code="x"), two.create(Part, code="x")
    exchange(two, three)
    exchange(one, two)
    three.delete(three.get(Part, theirs.id))
    (survivor,) = one.find(Part, code="x")
    assert survivor == mine
    survivor.votes.increment()
    meet(one, two, three)
    content = state_of(one).documents.get(document_key("", "Part", RecordId(theirs.id))).content(())
    assert links_of(content).merged == {mine.id}
    assert not content.is_live("edit_wins")
    assert [item.live for item in one.history(Part, theirs.id)] == [True] * 4


def test_a_value_written_to_both_halves_is_one_candidate_and_goes_from_both(devices: list[Replica]) -> None:
    one, two, three = devices
    one.create(Part, code="x", due=1)
    exchange(one, three)
    two.create(Part, code="x", due=2)
    exchange(one, two)
    one.find(Part)[0].due = 3
    three.find(Part)[0].due = 5
    meet(one, two, three)
    (conflict,) = two.conflicts()
    assert sorted(item.value for item in conflict.candidates) == [3, 5]
    two.resolve(conflict, take=next(item for item in conflict.candidates if item.value == 5))
    meet(one, two, three)
    for replica in devices:
        assert replica.conflicts() == []
        assert replica.find(Part)[0].due == 5


def test_elements_with_one_name_in_two_records_stay_two(devices: list[Replica]) -> None:
    one, two, _ = devices
    with one.transaction():
        first = one.create(Part, code="1", steps=["p"])
        second = one.create(Part, code="2", steps=["q"])
    meet(one, two)
    one.get(Part, first.id).code = "x"
    two.get(Part, second.id).code = "x"
    meet(one, two)
    (part,) = one.find(Part)
    assert sorted(part.steps) == ["p", "q"]
    part.steps.remove("p")
    part.steps[0] = "r"
    meet(one, two)
    assert list(two.find(Part)[0].steps) == ["r"]


def test_a_file_shows_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    with on_disk(tmp_path, Part, seed=1) as one, on_disk(tmp_path, Part, seed=2, name="b.db", state="other") as two:
        mine = one.create(Part, code="x", due=1, notes="mine")
        two.create(Part, code="x", due=2, notes="theirs")
        meet(one, two)
        one.find(Part)[0].votes.increment()
        before = view(one)
    with on_disk(tmp_path, Part, seed=3) as again:
        assert view(again) == before
        with pytest.raises(RecordExistsError):
            again.create(Part, code="x")
        assert again.get(Part, mine.id) == again.find(Part)[0]


def test_declaring_it_later_finds_what_is_there(tmp_path: Path) -> None:
    loose = types.new_class("Part", (Model,), {}, lambda scope: scope.update(__annotations__={"code": str}))
    with on_disk(tmp_path, loose, seed=1) as one:
        one.create(loose, code="x")
        one.create(loose, code="x")
        assert one.count(loose) == 2
    keywords = {"unique": ("code",)}
    strict = types.new_class("Part", (Model,), keywords, lambda scope: scope.update(__annotations__={"code": str}))
    for seed in (2, 3):
        with on_disk(tmp_path, strict, seed=seed) as one:
            assert one.count(strict) == 1
    with on_disk(tmp_path, loose, seed=4) as one:
        assert one.count(loose) == 2
    with on_disk(tmp_path, strict, seed=5) as one:
        assert one.count(strict) == 1


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"unique": ("missing",)}, "its own fields"),
        ({"unique": "code"}, "a tuple"),
        ({"unique": ("votes",)}, "plain value"),
        ({"unique": ("code",), "on_duplicate": "guess"}, "there is no on_duplicate"),
        ({"on_duplicate": "keep_both"}, "goes with unique"),
    ],
)
def test_what_cannot_be_declared_is_refused(keywords: dict[str, Any], words: str) -> None:
    fields = {"code": str, "votes": Counter}
    with pytest.raises(SchemaError, match=words):
        types.new_class("Wrong", (Model,), keywords, lambda scope: scope.update(__annotations__=fields))


def _zone(hours: int) -> timezone:
    return timezone(timedelta(hours=hours))


EQUAL = [
    (Decimal("1.0"), Decimal("1.00")),
    (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=_zone(1))),
    (time(12, tzinfo=UTC), time(13, tzinfo=_zone(1))),
    (0.0, -0.0),
    ([Decimal(100), {"a": 0.0}], [Decimal("1E+2"), {"a": -0.0}]),
]


class Valued(Model, unique=("code",)):
    code: Any = None


class Keyed(Model, key=("code",)):
    code: Any = None
    size: int = 0


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_values_that_are_equal_are_one_value(left: Any, right: Any) -> None:
    with memory(1, Valued, Keyed) as one, memory(2, Valued, Keyed) as two:
        first = one.create(Valued, code=left)
        with pytest.raises(RecordExistsError):
            one.create(Valued, code=right)
        second = two.create(Valued, code=right)
        kept = one.create(Keyed, code=left, size=1)
        with pytest.raises(RecordExistsError):
            one.create(Keyed, code=right)
        assert two.create(Keyed, code=right).id == kept.id
        assert exchange(one, two).proven_equal
        assert one.count(Valued) == one.count(Keyed) == two.count(Keyed) == 1
        assert one.get(Valued, second.id).id == two.get(Valued, first.id).id
        assert not one.check().listed


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (1, True), (Decimal(1), 1), ([1], [True]), ((1,), [1])])
def test_values_of_two_types_are_two_values(left: Any, right: Any) -> None:
    with memory(1, Valued, Keyed) as one:
        assert one.create(Valued, code=left).id != one.create(Valued, code=right).id
        assert one.create(Keyed, code=left).id != one.create(Keyed, code=right).id


def test_a_store_that_names_values_otherwise_is_no_damaged_one_and_names_them_anew(tmp_path: Path) -> None:
    with on_disk(tmp_path, Valued, seed=1) as one:
        record = one.create(Valued, code=Decimal("1.0"))
        store, key = state_of(one).store, document_key("", "Valued", record.id)
        described = described_models(store)
        described["Valued"].pop("equality")
        with store.transaction():
            store.put(Table.META, MODELS_KEY, json.dumps(described).encode())
            _note_values(store, key, b"n" * 16)
        assert not one.check().listed
    with on_disk(tmp_path, Valued, seed=2) as one:
        assert not one.check().listed
        with pytest.raises(RecordExistsError):
            one.create(Valued, code=Decimal("1.00"))
