"""The past of records that were created twice: told of all of them, and undone in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Any

import pytest

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask, errors, max_, three_way
from crdt_sync.core.inverting import OTHERS_WROTE, STAYS_SETTLED
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, meet, memory


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    title: str = ""
    due: int | None = ask(default=None)
    body: str = three_way(default="")
    best: int | None = max_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]


@pytest.fixture
def devices() -> Iterator[list[Replica]]:
    """Three, on which the same thing was created twice: by the first one, and a little later by the second."""
    opened = [memory(seed + 1, Part, dice=Dice(seed + 1, now_ms=START_MS + 50 * seed)) for seed in range(3)]
    opened[0].create(
        Part, code="x", title="left", due=1, notes="mine", votes=1, tags=["a"], steps=["s"], prefs={"k": 1}
    )
    opened[1].create(Part, code="x", title="right", due=2, notes="theirs", votes=2, tags=["b"], steps=["t"], best=3)
    meet(*opened)
    yield opened
    for replica in opened:
        replica.close()


def part_of(replica: Replica) -> Part:
    (part,) = replica.find(Part)
    return part


def look(replica: Replica) -> list[Any]:
    return [(part.id, part.model_dump(), replica.also_known_as(part)) for part in replica.find(Part)]


FIELDS = list(Part.model_fields)


@pytest.mark.parametrize("field", [None, *FIELDS])
def test_explanation_names_both_records_and_is_the_same_everywhere(devices: list[Replica], field: str | None) -> None:
    part = part_of(devices[0])
    part.title, part.due = "both", 9
    meet(*devices)
    ids = {part.id, *devices[0].also_known_as(part)}
    texts = set()
    for replica in devices:
        for name in ids:
            explained = replica.explain(Part, name, field)
            assert explained.record_id == part.id
            assert all(set(cause.record_ids) <= ids for cause in explained.causes)
            texts.add(str(explained))
    (text,) = texts
    assert all(name in text for name in ids)


def test_a_value_written_to_both_is_one_cause_that_saw_what_either_held(devices: list[Replica]) -> None:
    part = part_of(devices[2])
    part.due = 9
    ids = tuple(sorted({part.id, *devices[2].also_known_as(part)}))
    causes = devices[2].explain(part, "due").causes
    assert [(cause.what, cause.value) for cause in causes] == [("shown", 9), ("hidden", 2), ("hidden", 1)]
    assert causes[0].record_ids == ids
    assert causes[0].saw == (2, 3)
    assert {cause.record_ids for cause in causes[1:]} == {(ids[0],), (ids[1],)}


def test_history_tells_of_both_and_has_one_item_for_each_transaction(devices: list[Replica]) -> None:
    part = part_of(devices[2])
    part.title = "both"
    (other,) = devices[2].also_known_as(part)
    for name in (part.id, other):
        items = list(devices[2].history(Part, name))
        assert [item.type.value for item in items] == ["create", "create", "update"]
        assert {item.record_ids for item in items[:2]} == {(part.id,), (other,)}
        assert sorted(items[2].record_ids) == sorted((part.id, other))
        changes = {change.field: change for change in items[2].changes}
        assert (changes["title"].old, changes["title"].new) == ("right", "both")
        assert [change.conflict for change in items[1].changes if change.field == "due"] == ["opened"]


def test_as_it_was_with_each_of_the_records(devices: list[Replica]) -> None:
    part = part_of(devices[0])
    times = sorted(item.timestamp for item in devices[0].history(part))
    part.title = "both"
    now = devices[0].last_operation().timestamp
    meet(*devices)
    (other,) = devices[0].also_known_as(part)
    for replica in devices:
        for name in (part.id, other):
            assert (replica.at(Part, name, times[0]).title, int(replica.at(Part, name, times[0]).votes)) == ("left", 1)
            assert (replica.at(Part, name, times[1]).title, int(replica.at(Part, name, times[1]).votes)) == ("right", 3)
            assert replica.at(Part, name, now).title == "both"
            with pytest.raises(errors.RecordNotFoundError):
                replica.at(Part, name, times[0] - 1)


CHANGES: dict[str, Any] = {
    "title": lambda part: setattr(part, "title", "both"),
    "body": lambda part: setattr(part, "body", "text"),
    "notes": lambda part: part.notes.insert(1, "zz"),
    "votes": lambda part: part.votes.increment(4),
    "an element more": lambda part: part.tags.add("c"),
    "an element of the other less": lambda part: part.tags.discard("b"),
    "a step more": lambda part: part.steps.append("u"),
    "all steps less": lambda part: part.steps.clear(),
    "a step of either set": lambda part: part.steps.__setitem__(1, "v"),
    "a step moved": lambda part: part.steps.move(0, 1),
    "a key set": lambda part: part.prefs.update(k=5, l=6),
    "a key less": lambda part: part.prefs.clear(),
    "a day": lambda part: part.days.update(mon=3),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_undo_in_every_record_and_redo(devices: list[Replica], change: str, at: int) -> None:
    replica = devices[at]
    before = look(replica)
    CHANGES[change](part_of(replica))
    after = look(replica)
    assert before != after
    for shown, call in ((before, replica.undo), (after, replica.redo), (before, replica.undo)):
        report = call()
        assert report is not None
        assert {item.reason for item in report.skipped} <= {STAYS_SETTLED}
        assert len(report.done) == 1
        assert report.done[0].record_id == part_of(replica).id
        assert look(replica) == shown
        meet(*devices)
        assert [look(other) for other in devices] == [shown] * 3


def test_undo_of_a_delete_restores_all_of_it_and_redo_deletes_all_of_it(devices: list[Replica]) -> None:
    replica = devices[2]
    before = look(replica)
    replica.delete(part_of(replica))
    meet(*devices)
    assert [look(other) for other in devices] == [[]] * 3
    assert replica.undo() is not None
    meet(*devices)
    assert [look(other) for other in devices] == [before] * 3
    assert replica.redo() is not None
    meet(*devices)
    assert [look(other) for other in devices] == [[]] * 3


def test_creation_that_was_merged_with_one_of_others_stays(devices: list[Replica]) -> None:
    report = devices[0].undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [OTHERS_WROTE]
    assert len(look(devices[0])) == 1


def test_what_others_wrote_to_one_of_the_records_alone_is_not_undone() -> None:
    """The other device knows only its own half, and writes the field there; its write is as late as any."""
    with memory(1, Part) as one, memory(2, Part, dice=Dice(2, now_ms=START_MS + 50)) as two, memory(3, Part) as three:
        one.create(Part, code="x", title="left")
        theirs = two.create(Part, code="x", title="right")
        exchange(two, three)
        exchange(one, two)
        part_of(one).title = "both"
        three.get(Part, theirs.id).title = "only there"
        meet(one, two, three)
        shown = part_of(one).title
        report = one.undo()
        assert report is not None
        assert [(item.field, item.reason) for item in report.skipped] == [("title", OTHERS_WROTE)]
        assert part_of(one).title == shown


def test_an_older_record_that_joins_later(devices: list[Replica]) -> None:
    """Then another one shows than the one that was written to; its text, and elements, are still known."""
    early = memory(9, Part, dice=Dice(9, now_ms=START_MS - 5_000))
    early.create(Part, code="x", title="first", notes="older", tags=["z"])
    replica = devices[0]
    part = part_of(replica)
    part.votes.increment(4)
    part.notes.append("!")
    meet(early, *devices)
    assert str(part_of(replica).notes) == "older"
    report = replica.undo()
    assert report is not None
    assert [item.field for item in report.done] == ["notes"]
    assert replica.undo() is not None
    meet(early, *devices)
    assert int(part_of(early).votes) == 3
    assert {item.value for item in early.candidates(part_of(early), "notes")} == {"older", "mine", "theirs"}
    early.close()


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_are_undone_one_by_one(devices: list[Replica], seed: int) -> None:
    dice = Random(seed)
    replica = devices[dice.randrange(3)]
    seen = [look(replica)]
    for _ in range(10):
        with replica.transaction():
            for _ in range(dice.randint(1, 3)):
                part = part_of(replica)
                change = dice.choice([name for name in CHANGES if "step" not in name or len(part.steps) > 1])
                CHANGES[change](part)
        if look(replica) != seen[-1]:
            seen.append(look(replica))
    for _ in range(2):
        for before in seen[-2::-1]:
            report = replica.undo()
            assert report is not None
            assert {item.reason for item in report.skipped} <= {STAYS_SETTLED}
            assert look(replica) == before
        for after in seen[1:]:
            assert replica.redo() is not None
            assert look(replica) == after
    meet(*devices)
    assert [look(other) for other in devices] == [seen[-1]] * 3


def test_a_conflict_between_two_records_is_told_to_be_settled(devices: list[Replica]) -> None:
    conflicts = {item.field: item for item in devices[2].conflicts()}
    assert {"due", "body"} & conflicts.keys() == {"due"}
    devices[2].resolve(conflicts["due"], value=9)
    meet(*devices)
    part = part_of(devices[0])
    (other,) = devices[0].also_known_as(part)
    for replica in devices:
        for name in (part.id, other):
            (settled,) = replica.settled(record=replica.get(Part, name))
            assert (settled.id, settled.record_id) == (conflicts["due"].id, part.id)
            assert [item.value for item in settled.candidates] == [2, 1]
            assert (settled.chosen.value, settled.chosen.device_id) == (9, devices[2].device_id)


def test_a_conflict_that_was_settled_in_one_of_them_before_is_told_once() -> None:
    with memory(1, Part) as one, memory(2, Part) as two, memory(3, Part) as three:
        mine = one.create(Part, code="x", due=0)
        three.create(Part, code="x", due=7)
        exchange(one, two)
        mine.due, two.get(Part, mine.id).due = 1, 2
        exchange(one, two)
        (conflict,) = one.conflicts()
        one.resolve(conflict, value=3)
        before = one.settled()
        meet(one, two, three)
        part_of(two).due = 4
        meet(one, two, three)
        for replica in (one, two, three):
            (merged, alone) = replica.settled(record=part_of(replica))
            assert (alone.id, alone.chosen, alone.candidates) == (before[0].id, before[0].chosen, before[0].candidates)
            assert [item.value for item in merged.candidates] in ([3, 7], [7, 3])
            assert merged.chosen.value == 4
