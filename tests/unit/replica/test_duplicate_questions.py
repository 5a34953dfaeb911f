"""Records created twice, of a model that asks: both show, somebody is asked, and the answer holds everywhere."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest

from crdt_sync import (
    DELETED,
    KEEP_BOTH,
    UNKNOWN,
    Candidate,
    Change,
    Choice,
    Conflict,
    Counter,
    Map,
    Model,
    Replica,
    Set,
    Settled,
    Text,
    ask,
    field,
    max_,
    three_way,
)
from crdt_sync.core.inverting import STAYS_SETTLED
from crdt_sync.core.making import make_model
from crdt_sync.errors import (
    ConflictNotFoundError,
    InputError,
    InvalidValueError,
    NotACandidateError,
    RecordExistsError,
    RecordNotFoundError,
)
from crdt_sync.replica.conflicts import Rule
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk

KIND = "duplicate_create"


class Part(Model, unique=("code",), on_duplicate="ask"):
    code: str | None = None
    title: str = ""
    due: int | None = ask(default=None)
    where: dict[str, Any] = three_way(default_factory=dict)
    best: int | None = max_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    days: Map[str, Annotated[int, ask()]]


class Sure(Model, unique=("code",), on_duplicate="ask", on_edit_after_delete="ask"):
    code: str | None = None
    title: str = ""


class Loose(Model, unique=("code",), on_edit_after_delete="ask"):
    code: str | None = None
    title: str = ""


MODELS = (Part, Sure, Loose)


@pytest.fixture
def devices() -> Iterator[list[Replica]]:
    with memory(1, *MODELS) as one, memory(2, *MODELS) as two, memory(3, *MODELS) as three:
        yield [one, two, three]


def meet(*replicas: Replica) -> None:
    """Everybody has what everybody has."""
    for _ in range(2):
        for left, right in pairwise(replicas):
            assert exchange(left, right).proven_equal


def view(replica: Replica) -> list[object]:
    """What a user of a replica sees."""
    parts = replica.find(Part, order_by="id")
    shown = [(part.id, part.model_dump(), replica.also_known_as(part)) for part in parts]
    return [*shown, replica.conflicts(), replica.count(Part)]


def pair(devices: list[Replica]) -> tuple[Part, Part]:
    """Two records of the first device with one code, the older one first."""
    one, two, *_ = devices
    mine = one.create(Part, code="x", title="left", due=1, notes="mine", votes=1, tags=["a"], days={"m": 1, "t": 5})
    theirs = two.create(Part, code="x", title="right", due=2, best=3, votes=2, tags=["b"], days={"m": 2})
    meet(*devices)
    (conflict,) = one.conflicts()
    older = mine if conflict.record_id == mine.id else one.get(Part, theirs.id)
    return older, one.get(Part, theirs.id if older.id == mine.id else mine.id)


def asked(replica: Replica) -> Conflict:
    """The one question that is open."""
    (conflict,) = replica.conflicts(kind=KIND)
    return conflict


def candidate(conflict: Conflict, name: str) -> Candidate:
    """A record's candidate."""
    (found,) = (item for item in conflict.candidates if item.value["id"] == name)
    return found


def decided(replica: Replica, record: Part | None = None) -> list[Settled]:
    """The questions that were settled, not what became of single fields with them."""
    return [item for item in replica.settled(model=Part, record=record) if item.kind.value == KIND]


def test_both_show_and_one_question_is_open(devices: list[Replica]) -> None:
    older, younger = pair(devices)
    assert view(devices[0]) == view(devices[1]) == view(devices[2])
    for replica in devices:
        assert replica.count(Part, code="x") == 2
        conflict = asked(replica)
        assert (conflict.field, conflict.register, conflict.record_id) == ("", "", older.id)
        assert (conflict.base, conflict.value["title"]) == (UNKNOWN, older.title)
        assert [item.value["id"] for item in conflict.candidates] == [younger.id, older.id]
        assert conflict.candidates[0].value["votes"] == int(younger.votes)
        assert {item.device_id for item in conflict.candidates} == {
            str(devices[0].device_id),
            str(devices[1].device_id),
        }
        assert [item.timestamp for item in conflict.candidates] == sorted(
            (item.timestamp for item in conflict.candidates), reverse=True
        )
        assert conflict.paths == ("/title", "/due", "/days/m")
        for name in (older.id, younger.id):
            assert replica.get(Part, name).id == name
            assert replica.conflicts(record=replica.get(Part, name)) == [conflict]
            assert replica.conflicts(model=Part, record=replica.get(Part, name), kind=KIND) == [conflict]
            assert replica.conflicts(record=replica.get(Part, name), kind="edit_of_deleted") == []
        assert replica.conflicts(model=Sure) == []


@pytest.mark.parametrize("place", [0, 1])
def test_taking_one_merges_with_its_values(devices: list[Replica], place: int) -> None:
    older, younger = pair(devices)
    conflict = asked(devices[1])
    taken = conflict.candidates[place]
    devices[1].resolve(conflict, take=taken)
    meet(*devices)
    assert view(devices[0]) == view(devices[1]) == view(devices[2])
    for replica in devices:
        assert replica.conflicts() == []
        (part,) = replica.find(Part)
        assert (part.id, replica.also_known_as(part)) == (older.id, (younger.id,))
        assert (part.title, part.due) == (taken.value["title"], taken.value["due"])
        assert dict(part.days) == {"m": taken.value["days"]["m"], "t": 5}
        assert (part.best, int(part.votes), set(part.tags)) == (3, 3, {"a", "b"})
        assert [item.value for item in replica.candidates(part, "title")] == [part.title]
        assert replica.get(Part, younger.id) == part
    older.code = "y"
    meet(*devices)
    assert [replica.count(Part) for replica in devices] == [1, 1, 1]


def test_records_without_a_difference_merge_too(devices: list[Replica]) -> None:
    one, two, three = devices
    one.create(Part, code="x")
    two.create(Part, code="x")
    meet(*devices)
    conflict = asked(three)
    assert conflict.paths == ()
    three.resolve(conflict, paths={})
    meet(*devices)
    assert [replica.count(Part) for replica in devices] == [1, 1, 1]
    assert view(one) == view(two) == view(three)


def test_field_by_field(devices: list[Replica]) -> None:
    older, younger = pair(devices)
    conflict = asked(devices[0])
    of_older, of_younger = candidate(conflict, older.id), candidate(conflict, younger.id)
    choice = {"/title": of_older, "/due": 7, "/days/m": of_younger}
    for wrong in ({}, {**choice, "/votes": 1}, {"/title": of_older}):
        with pytest.raises(InputError, match="each path"):
            devices[0].resolve(conflict, paths=wrong)
    with pytest.raises(InvalidValueError):
        devices[0].resolve(conflict, paths={**choice, "/due": "soon"})
    assert devices[0].count(Part) == 2
    devices[0].resolve(conflict, paths=choice)
    meet(*devices)
    for replica in devices:
        (part,) = replica.find(Part)
        assert (part.title, part.due, part.days["m"]) == (of_older.value["title"], 7, of_younger.value["days"]["m"])
        assert replica.conflicts() == []


def test_keeping_both_is_for_ever(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    two.resolve(asked(two), value=KEEP_BOTH)
    assert two.conflicts() == []
    meet(*devices)
    for replica in devices:
        assert (replica.conflicts(), replica.count(Part, code="x")) == ([], 2)
    younger.code = "y"
    younger.code = "x"  # nobody is asked about these two any more
    older.code = "x"
    meet(*devices)
    assert one.conflicts() == three.conflicts() == []
    with pytest.raises(RecordExistsError):
        three.create(Part, code="x")


def test_a_visible_duplicate_is_refused(devices: list[Replica]) -> None:
    older, younger = pair(devices)
    with pytest.raises(RecordExistsError) as refused:
        devices[0].create(Part, code="x")
    assert refused.value.record_id in (older.id, younger.id)
    other = devices[0].create(Part, code="y")
    with pytest.raises(RecordExistsError):
        other.code = "x"
    devices[0].update(older, code="x", title="same code as before")
    assert asked(devices[0]).value["title"] == "same code as before"


def test_what_no_longer_stands_is_refused(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    conflict, elsewhere = asked(one), asked(three)
    assert conflict == elsewhere
    other = Candidate(value={}, device_id="", timestamp=0, dot=conflict.candidates[0].dot)
    with pytest.raises(NotACandidateError):
        one.resolve(conflict, take=other)
    with pytest.raises(NotACandidateError):
        one.resolve(conflict, paths={"/title": other, "/due": 1, "/days/m": 1})
    for value in ("x", None, {"title": "t"}):
        with pytest.raises(InputError, match="KEEP_BOTH"):
            one.resolve(conflict, value=value)
    one.resolve(conflict, take=conflict.candidates[0])
    for choice in ({"take": conflict.candidates[1]}, {"value": KEEP_BOTH}):
        with pytest.raises(ConflictNotFoundError):
            one.resolve(conflict, **choice)
    three.resolve(elsewhere, value=KEEP_BOTH)
    with pytest.raises(ConflictNotFoundError):
        three.resolve(elsewhere, take=elsewhere.candidates[0])
    meet(*devices)
    for replica in devices:  # merging wins over keeping apart
        assert (replica.conflicts(), replica.count(Part)) == ([], 1)
        assert replica.also_known_as(replica.find(Part)[0]) == (younger.id,)
    assert view(one) == view(two) == view(three)
    assert older.id == one.find(Part)[0].id


def test_a_field_takes_no_answer_for_records(devices: list[Replica]) -> None:
    one, two, _ = devices
    mine = one.create(Part, due=0)
    meet(*devices)
    mine.due = 1
    two.get(Part, mine.id).due = 2
    meet(*devices)
    (conflict,) = one.conflicts()
    with pytest.raises(InputError, match="no conflict of a field"):
        one.resolve(conflict, value=KEEP_BOTH)


def test_what_came_meanwhile_is_not_taken_away(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    conflict = asked(one)
    two.update(two.get(Part, younger.id), due=9, title="late")
    exchange(one, two)
    one.resolve(conflict, take=candidate(conflict, older.id))
    meet(*devices)
    for replica in devices:
        (part,) = replica.find(Part)
        (now,) = replica.conflicts()
        assert (now.field, sorted(item.value for item in now.candidates)) == ("due", sorted([older.due or 0, 9]))
        assert part.title == candidate(conflict, older.id).value["title"]
        assert {item.value for item in replica.candidates(part, "title")} == {part.title, "late"}
    assert view(one) == view(two) == view(three)


def test_different_choices_at_once_clash_as_any_writes(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    one.resolve(asked(one), take=candidate(asked(one), older.id))
    two.resolve(asked(two), take=candidate(asked(two), younger.id))
    meet(*devices)
    for replica in devices:
        assert {item.field for item in replica.conflicts()} == {"due", "days"}
        assert replica.count(Part) == 1
    assert view(one) == view(two) == view(three)


def test_equal_choices_at_once_are_one(devices: list[Replica]) -> None:
    one, two, _ = devices
    older, _ = pair(devices)
    for replica in (one, two):
        replica.resolve(asked(replica), take=candidate(asked(replica), older.id))
    meet(*devices)
    assert [replica.conflicts() for replica in devices] == [[], [], []]


def test_deleting_or_changing_one_ends_it(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    before = asked(one)
    younger.code = "y"
    assert one.conflicts() == []
    younger.code = None
    with pytest.raises(ConflictNotFoundError):
        one.resolve(before, value=KEEP_BOTH)
    with pytest.raises(ConflictNotFoundError):
        one.resolve(before, take=before.candidates[0])
    two.get(Part, younger.id).votes.increment()
    one.delete(older)
    meet(*devices)
    assert [replica.conflicts() for replica in devices] == [[], [], []]
    assert [replica.count(Part) for replica in devices] == [1, 1, 1]
    three.get(Part, younger.id).code = "x"
    three.restore(Part, older.id)
    meet(*devices)
    assert asked(one).id == asked(two).id == before.id


def test_merging_here_and_deleting_there(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    conflict = asked(one)
    one.resolve(conflict, take=candidate(conflict, older.id))
    two.delete(two.get(Part, younger.id))
    meet(*devices)
    for replica in devices:
        (part,) = replica.find(Part)
        assert (part.id, part.title) == (older.id, candidate(conflict, older.id).value["title"])
    assert view(one) == view(two) == view(three)


def test_three_at_once_are_one_question(devices: list[Replica]) -> None:
    one, two, three = devices
    names = [replica.create(Part, code="x", title=str(number)).id for number, replica in enumerate(devices)]
    meet(*devices)
    conflict = asked(two)
    assert {item.value["id"] for item in conflict.candidates} == set(names)
    two.resolve(conflict, take=candidate(conflict, names[2]))
    meet(*devices)
    for replica in devices:
        (part,) = replica.find(Part)
        assert part.title == "2"
        assert {part.id, *replica.also_known_as(part)} == set(names)
    assert view(one) == view(two) == view(three)


def test_chains_seen_in_pieces(devices: list[Replica]) -> None:
    one, two, three = devices
    names = [replica.create(Part, code="x", title=str(number)).id for number, replica in enumerate(devices)]
    exchange(one, two)
    one.resolve(asked(one), take=candidate(asked(one), names[0]))
    exchange(two, three)
    first = asked(three)
    assert len(first.candidates) == 3
    three.resolve(first, value=KEEP_BOTH)
    meet(*devices)
    for replica in devices:
        assert replica.conflicts() == []
        assert sorted(part.title for part in replica.find(Part)) == ["0", "2"]
    assert view(one) == view(two) == view(three)


def test_who_comes_later_is_asked_about_beside_those_kept_apart(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair([one, two])
    one.resolve(asked(one), value=KEEP_BOTH)
    late = three.create(Part, code="x", title="late")
    meet(*devices)
    conflict = asked(two)
    assert len(conflict.candidates) == 3
    two.resolve(conflict, take=candidate(conflict, older.id))
    meet(*devices)
    for replica in devices:
        assert replica.conflicts() == []
        assert {part.id for part in replica.find(Part)} == {older.id, younger.id, late.id} - {
            max_record(replica, older, late)
        }
    assert view(one) == view(two) == view(three)


def max_record(replica: Replica, left: Part, right: Part) -> str:
    """Of two records that were merged, the one that is the other's alias."""
    (alias,) = replica.also_known_as(replica.get(Part, left.id))
    assert alias in (left.id, right.id)
    return alias


def test_a_question_that_grew_is_settled_for_what_was_seen(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair([one, two])
    conflict = asked(one)
    three.create(Part, code="x", title="late")
    exchange(one, three)
    assert asked(one).id != conflict.id
    one.resolve(conflict, take=candidate(conflict, younger.id))
    meet(*devices)
    for replica in devices:
        now = asked(replica)
        assert len(now.candidates) == 2
        assert replica.count(Part) == 2
        assert replica.get(Part, older.id).title == candidate(conflict, younger.id).value["title"]


def test_in_a_transaction_it_is_one_at_once(devices: list[Replica]) -> None:
    one, two, _ = devices
    older, younger = pair(devices)
    with one.transaction():
        conflict = asked(one)
        one.resolve(conflict, take=candidate(conflict, younger.id))
        assert one.conflicts() == []
        (part,) = one.find(Part)
        assert one.get(Part, younger.id) == part == older
        one.get(Part, younger.id).title = "both"
    assert (one.count(Part), one.find(Part)[0].title, one.conflicts()) == (1, "both", [])
    meet(*devices)
    assert view(one) == view(two)


@pytest.mark.parametrize("older", [True, False])
def test_in_a_transaction_a_restored_record_is_in_question_at_once(devices: list[Replica], *, older: bool) -> None:
    one, *_ = devices
    gone, other = one.create(Part, code="x" if older else None), one.create(Part, code=None if older else "x")
    gone, other = (gone, other) if older else (other, gone)
    one.delete(gone)
    other.code = "x"
    with one.transaction():
        one.restore(Part, gone.id)
        conflict = asked(one)
        assert one.conflicts(record=gone) == one.conflicts(record=other) == one.conflicts(model=Part) == [conflict]
        assert one.count(Part) == 2
        other.code = "y"
        assert one.conflicts() == []
        other.code = None
    assert one.conflicts() == []
    one.delete(gone)
    other.code = "x"
    with one.transaction():
        one.restore(Part, gone.id)
        one.resolve(asked(one), take=asked(one).candidates[0])
        assert (one.conflicts(), one.count(Part)) == ([], 1)
    assert (one.conflicts(), one.count(Part)) == ([], 1)
    assert one.check().ok


def test_a_transaction_that_is_rolled_back_leaves_the_question(devices: list[Replica]) -> None:
    one, *_ = devices
    pair(devices)
    before = view(one)

    def stop() -> None:
        with one.transaction():
            one.resolve(asked(one), take=asked(one).candidates[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop()
    assert view(one) == before
    one.resolve(asked(one), value=KEEP_BOTH)
    assert one.conflicts() == []


def _version(*fields: Any, unique: str = "code") -> type[Model]:
    return make_model("Item", keywords={"unique": (unique,), "on_duplicate": "ask"}, fields=dict(fields))


OLD = (("code", (str, ...)), ("name", (str, "")), ("prefs", (Map[str, int], ...)))
RENAMED = (
    ("number", (str, field(renamed_from="code"))),
    ("label", (str, field(default="", renamed_from="name"))),
    ("options", (Map[str, int], field(renamed_from="prefs"))),
)


@pytest.mark.parametrize("by_path", [True, False])
def test_a_conflict_that_was_kept_while_fields_were_renamed_is_settled(tmp_path: Path, *, by_path: bool) -> None:
    old, new = _version(*OLD), _version(*RENAMED, unique="number")
    with on_disk(tmp_path, old, seed=1) as one, memory(2, old) as two:
        one.create(old, code="1", name="x", prefs={"a/b": 1})
        two.create(old, code="1", name="y", prefs={"a/b": 2})
        exchange(one, two)
        kept = pickle.dumps(asked(one))
    with on_disk(tmp_path, new, seed=3) as one:
        conflict: Conflict = pickle.loads(kept)  # noqa: S301  it was made here
        chosen = next(item for item in conflict.candidates if item.value["name"] == "y")
        if by_path:
            one.resolve(conflict, paths={"/name": chosen, "/prefs/a~1b": 7})
        else:
            one.resolve(conflict, take=chosen)
        assert one.conflicts() == []
        (record,) = one.find(new)
        assert record.model_dump() == {"number": "1", "label": "y", "options": {"a/b": 7 if by_path else 2}}


def test_a_conflict_that_was_kept_while_fields_were_added_is_to_be_listed_again(tmp_path: Path) -> None:
    old, new = _version(*OLD), _version(*OLD, ("size", (int, 0)))
    with on_disk(tmp_path, old, seed=1) as one, memory(2, old) as two:
        one.create(old, code="1", name="x")
        two.create(old, code="1", name="y")
        exchange(one, two)
        conflict = asked(one)
    with on_disk(tmp_path, new, seed=3) as one:
        before = view_of(one, new)
        for choice in ({"take": conflict.candidates[0]}, {"paths": {"/name": "z"}}):
            with pytest.raises(ConflictNotFoundError) as raised:
                one.resolve(conflict, **choice)
            assert "replica.conflicts()" in (raised.value.hint or "")
        assert (view_of(one, new), len(one.conflicts())) == (before, 1)
        one.resolve(conflict, value=KEEP_BOTH)
        assert one.conflicts() == []


def view_of(replica: Replica, model: type[Model]) -> list[Any]:
    return [(record.id, record.model_dump()) for record in replica.find(model)]


def _keep(conflict: Conflict) -> Choice:
    return Choice(value=KEEP_BOTH)


def _first(conflict: Conflict) -> Choice:
    return Choice(paths=dict.fromkeys(conflict.paths, conflict.candidates[0]))


def _leave(conflict: Conflict) -> None:
    del conflict


@pytest.mark.parametrize(
    ("rule", "settled", "shown"),
    [("latest", 2, 2), ("earliest", 2, 2), (_keep, 2, 4), (_first, 2, 2), (_leave, 0, 4)],
)
def test_rules(devices: list[Replica], rule: Rule, settled: int, shown: int) -> None:
    one, two, _ = devices
    for code in "xy":
        one.create(Part, code=code, title=f"one {code}")
        two.create(Part, code=code, title=f"two {code}")
    meet(*devices)
    assert one.resolve_all(model=Part, kind="concurrent_edit", take=rule) == 0
    conflicts = one.conflicts()
    assert one.resolve_all(model=Part, kind=KIND, take=rule) == settled
    assert one.count(Part) == shown
    assert len(one.conflicts()) == 2 - settled
    if shown == 2:
        place = -1 if rule == "earliest" else 0
        assert {part.title for part in one.find(Part)} == {item.candidates[place].value["title"] for item in conflicts}
    meet(*devices)
    assert view(one) == view(two)
    with pytest.raises(InputError, match="no kind"):
        one.resolve_all(model=Part, kind="strange", take="latest")


def test_observers_hear_of_it(devices: list[Replica]) -> None:
    one, two, _ = devices
    told: list[Change] = []
    one.observe(told.append)
    one.create(Part, code="x", title="a")
    two.create(Part, code="x", title="b")
    told.clear()
    meet(one, two)
    conflict = asked(one)
    assert [(item.record_id, item.conflicts) for item in told if item.type == "conflict"] == [
        (conflict.record_id, (conflict.id,))
    ]
    told.clear()
    two.resolve(asked(two), take=conflict.candidates[0])
    meet(one, two)
    assert ("settled", conflict.record_id) in {(item.type, item.record_id) for item in told}
    (merged,) = (item for item in told if item.type == "merged")
    assert merged.into == conflict.record_id


def test_a_file_asks_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    with on_disk(tmp_path, Part, seed=1) as one, on_disk(tmp_path, Part, seed=2, name="b.db", state="other") as two:
        one.create(Part, code="x", title="a")
        two.create(Part, code="x", title="b")
        one.create(Part, code="y", title="a")
        two.create(Part, code="y", title="b")
        meet(one, two)
        first, second = one.conflicts(kind=KIND)
        one.resolve(first, value=KEEP_BOTH)
        before = view(one)
    with on_disk(tmp_path, Part, seed=3) as again:
        assert view(again) == before
        again.resolve(asked(again), take=second.candidates[0])
        assert again.conflicts() == []
        assert again.count(Part) == 3


@pytest.mark.parametrize("model", [Sure, Loose])
@pytest.mark.parametrize("deletes", [True, False])
def test_a_merged_record_that_was_deleted_and_edited_asks(
    devices: list[Replica], model: type[Sure | Loose], deletes: bool
) -> None:
    one, two, three = devices
    mine, theirs = one.create(model, code="x", title="a"), two.create(model, code="x", title="a")
    meet(*devices)
    for conflict in one.conflicts():
        one.resolve(conflict, take=conflict.candidates[0])
    meet(*devices)
    one.delete(one.get(model, mine.id))
    two.get(model, theirs.id).title = "kept"
    meet(*devices)
    assert one.conflicts() == two.conflicts() == three.conflicts()
    (conflict,) = three.conflicts()
    assert (conflict.kind.value, conflict.value["title"]) == ("edit_of_deleted", "kept")
    assert DELETED in [item.value for item in conflict.candidates]
    if deletes:
        three.resolve(conflict, value=DELETED)
    else:
        three.resolve(conflict, take=next(item for item in conflict.candidates if item.value is not DELETED))
    meet(*devices)
    for replica in devices:
        assert replica.conflicts() == []
        assert replica.count(model) == (0 if deletes else 1)
        if deletes:
            with pytest.raises(RecordNotFoundError):
                replica.get(model, theirs.id)
        else:
            assert replica.get(model, mine.id).title == replica.get(model, theirs.id).title == "kept"


def test_what_was_decided_can_be_looked_up(devices: list[Replica]) -> None:
    one, two, three = devices
    older, younger = pair(devices)
    conflict = asked(two)
    two.resolve(conflict, take=candidate(conflict, younger.id))
    later = [replica.create(Part, code="z", title=title) for replica, title in ((one, "a"), (three, "b"))]
    meet(*devices)
    other = asked(three)
    three.resolve(other, value=KEEP_BOTH)
    meet(*devices)
    found = decided(one)
    assert [decided(replica) for replica in devices] == [found] * 3
    merged, apart = sorted(found, key=lambda item: item.chosen.timestamp)
    assert (merged.id, merged.kind.value, merged.record_id) == (conflict.id, KIND, older.id)
    assert [item.value["id"] for item in merged.candidates] == [younger.id, older.id]
    assert {item.value["title"] for item in merged.candidates} == {"left", "right"}
    assert [(item.device_id, item.timestamp) for item in merged.candidates] == [
        (item.device_id, item.timestamp) for item in conflict.candidates
    ]
    assert (merged.chosen.value["id"], merged.chosen.device_id) == (younger.id, str(two.device_id))
    assert (apart.id, apart.chosen.value, apart.chosen.device_id) == (other.id, KEEP_BOTH, str(three.device_id))
    for record in later:
        for replica in devices:
            assert decided(replica, replica.get(Part, record.id)) == [apart]
    assert decided(one, one.get(Part, younger.id)) == [merged]


def test_what_was_decided_field_by_field_can_be_looked_up(devices: list[Replica]) -> None:
    one, *_ = devices
    older, _ = pair(devices)
    conflict = asked(one)
    one.resolve(conflict, paths=dict.fromkeys(conflict.paths, conflict.candidates[0]))
    (item,) = decided(one)
    assert (item.id, item.chosen.value["id"]) == (conflict.id, older.id)


@pytest.mark.parametrize("apart", [True, False])
def test_undo_leaves_what_was_decided(devices: list[Replica], *, apart: bool) -> None:
    one, two, _ = devices
    one.create(Part, code="x")
    two.create(Part, code="x")
    meet(*devices)
    conflict = asked(one)
    if apart:
        one.resolve(conflict, value=KEEP_BOTH)
    else:
        one.resolve(conflict, take=conflict.candidates[0])
    shown = view(one)
    report = one.undo()
    assert report is not None
    assert not report.done
    assert {(item.field, item.reason) for item in report.skipped} == {("", STAYS_SETTLED)}
    assert view(one) == shown
