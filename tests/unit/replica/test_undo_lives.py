"""Undo of what brings records to life and ends them: several times in one transaction, and beside merged ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import pytest

from crdt_sync import Counter, List, Model, Replica, Set, Text, errors
from crdt_sync.core.inverting import OTHERS_WROTE
from crdt_sync.replica.undo import STAYS_MERGED
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory

Policy = Literal["edit_wins", "delete_wins", "ask"]
POLICIES: tuple[Policy, ...] = ("edit_wins", "delete_wins", "ask")


class Named(Model, key=("name",)):
    name: str
    size: int = 0


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    title: str = ""
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]


def card_of(policy: Policy) -> type[Model]:
    class Card(Model, on_edit_after_delete=policy):
        title: str
        notes: Text
        votes: Counter
        tags: Set[str]

    return Card


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    with memory(1, Named, Part) as left, memory(2, Named, Part, dice=Dice(2, now_ms=START_MS + 50)) as right:
        yield left, right


def meet(left: Replica, right: Replica) -> None:
    for _ in range(2):
        assert exchange(left, right).proven_equal


def look(replica: Replica, *models: type[Model]) -> list[Any]:
    return [
        (record.id, dict(record), replica.also_known_as(record)) for model in models for record in replica.find(model)
    ]


# ── created, restored and deleted in one transaction ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", POLICIES)
def test_a_record_that_was_created_and_deleted_at_once_is_passed_over(policy: Policy) -> None:
    model = card_of(policy)
    with memory(1, model) as replica:
        kept = replica.create(model, title="kept")
        with replica.transaction():
            replica.delete(replica.create(model, title="draft", notes="n", votes=1, tags={"a"}))
        report = replica.undo()
        assert report is not None
        assert [item.record_id for item in report.done] == [kept.id]
        assert replica.count(model) == 0
        assert replica.undo() is None
        assert replica.redo() is not None
        assert [record.id for record in replica.find(model)] == [kept.id]


def test_a_natural_key_that_was_used_and_given_up_at_once_stays_free(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    with left.transaction():
        left.delete(left.create(Named, name="a", size=1))
    pending = left.pending_count()
    assert left.undo() is None
    assert left.pending_count() == pending
    assert left.create(Named, name="a", size=2).size == 2
    meet(left, right)
    assert [record.model_dump() for record in right.find(Named)] == [{"name": "a", "size": 2}]


def test_what_else_such_a_transaction_did_is_taken_back(pair: tuple[Replica, Replica]) -> None:
    replica, _ = pair
    named = replica.create(Named, name="a", size=1)
    with replica.transaction():
        replica.delete(replica.create(Named, name="b"))
        named.size = 2
    for size, call in ((1, replica.undo), (2, replica.redo), (1, replica.undo)):
        assert call() is not None
        assert [record.model_dump() for record in replica.find(Named)] == [{"name": "a", "size": size}]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_deleted_record_that_lived_for_one_transaction_is_as_it_was(policy: Policy) -> None:
    model = card_of(policy)
    with memory(1, model) as replica:
        card = replica.create(model, title="a", notes="one", tags={"a"})
        before = look(replica, model)
        replica.delete(card)
        with replica.transaction():
            again = replica.restore(model, card.id)
            replica.update(again, title="b", tags={"b"})
            replica.delete(again)
        for _ in range(2):
            assert replica.undo() is not None
            assert look(replica, model) == before
            assert replica.redo() is not None
            assert look(replica, model) == []
        replica.restore(model, card.id)
        assert replica.get(model, card.id).model_dump()["title"] == "b"


def test_nothing_is_written_where_nothing_else_is_left(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    named = right.create(Named, name="a", size=1)
    right.delete(named)
    meet(left, right)
    with left.transaction():
        again = left.restore(Named, named.id)
        again.size = 2
        left.delete(again)
    pending = left.pending_count()
    assert left.undo() is None
    assert (left.undo(), left.redo(), left.pending_count()) == (None, None, pending)


# ── restored beside one that has the same values by now ──────────────────────────────────────────────────────────────


def test_a_restored_record_that_merges_is_deleted_again_alone(pair: tuple[Replica, Replica]) -> None:
    replica, _ = pair
    old = replica.create(Part, code="2", title="old", notes="old", votes=1, tags={"a"})
    replica.delete(old)
    new = replica.create(Part, code="2", title="new", notes="new", votes=2)
    before = look(replica, Part)
    replica.restore(Part, old.id)
    restored = replica.last_operation()
    assert restored is not None
    after = look(replica, Part)
    assert after[0][0] == old.id
    for _ in range(2):
        report = replica.undo()
        assert report is not None
        assert report.timestamp >= restored.timestamp
        assert [(item.record_id, item.field) for item in report.done] == [(old.id, "")]
        assert look(replica, Part) == before
        assert replica.redo() is not None
        assert look(replica, Part) == after
    replica.undo()
    report = replica.undo()
    assert report is not None
    assert [item.record_id for item in report.done] == [new.id]
    assert replica.count(Part) == 0
    assert replica.undo() is not None
    assert [record.id for record in replica.find(Part)] == [old.id]


def test_somebody_elses_record_outlives_the_undo_of_a_restore(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    old = left.create(Part, code="2", title="old")
    left.delete(old)
    meet(left, right)
    theirs = right.create(Part, code="2", title="theirs", notes="long")
    meet(left, right)
    before = look(left, Part)
    left.restore(Part, old.id)
    assert left.undo() is not None
    assert look(left, Part) == before
    meet(left, right)
    assert right.get(Part, theirs.id).model_dump() == before[0][1] | {"notes": "long", "tags": set(), "steps": []}


def test_a_restore_with_edits_beside_an_equal_record_is_undone_as_a_whole(pair: tuple[Replica, Replica]) -> None:
    replica, _ = pair
    old = replica.create(Part, code="2", title="old", votes=1)
    replica.delete(old)
    new = replica.create(Part, code="2", title="new", votes=2)
    before = look(replica, Part)
    with replica.transaction():
        new.title = "newer"
        replica.restore(Part, old.id)
    after = look(replica, Part)
    for _ in range(2):
        assert replica.undo() is not None
        assert look(replica, Part) == before
        assert replica.redo() is not None
        assert look(replica, Part) == after


def test_records_that_were_edited_as_one_stay_one(pair: tuple[Replica, Replica]) -> None:
    """Whoever edits a merged record links its halves for ever: then the restore of one is not taken back."""
    replica, _ = pair
    old = replica.create(Part, code="2", title="old")
    replica.delete(old)
    replica.create(Part, code="2", title="new")
    replica.restore(Part, old.id)
    shown = look(replica, Part)
    replica.get(Part, old.id).title = "both"
    assert replica.undo() is not None
    assert look(replica, Part) == shown
    report = replica.undo()
    assert report is not None
    assert (report.done, [item.reason for item in report.skipped]) == ((), [STAYS_MERGED])
    assert look(replica, Part) == shown


def test_a_restored_record_that_was_edited_as_one_at_once_stays_one(pair: tuple[Replica, Replica]) -> None:
    replica, _ = pair
    old = replica.create(Part, code="2", title="old", votes=1)
    replica.delete(old)
    replica.create(Part, code="2", title="new", votes=2)
    with replica.transaction():
        merged = replica.restore(Part, old.id)
        shown = look(replica, Part)
        merged.title = "both"
        merged.votes.increment(10)
    report = replica.undo()
    assert report is not None
    assert {item.field for item in report.done} == {"title", "votes"}
    assert ("", STAYS_MERGED) in {(item.field, item.reason) for item in report.skipped}
    assert look(replica, Part) == shown


def test_a_restored_record_that_others_edited_stays(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    old = left.create(Part, code="2", title="old")
    left.delete(old)
    right.create(Part, code="2", title="theirs")
    meet(left, right)
    left.restore(Part, old.id)
    meet(left, right)
    (there,) = right.find(Part)
    there.title = "both"
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert not report.done
    assert {item.reason for item in report.skipped} <= {OTHERS_WROTE, STAYS_MERGED}
    assert [record.title for record in left.find(Part)] == ["both"]


# ── values that belong to somebody else by now ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("on_duplicate", ["merge", "ask"])
def test_a_unique_value_that_another_record_has_now_is_not_taken_back(on_duplicate: Literal["merge", "ask"]) -> None:
    class Item(Model, unique=("code",), on_duplicate=on_duplicate):
        code: str
        size: int = 0

    with memory(1, Item) as left, memory(2, Item, dice=Dice(2, now_ms=START_MS + 50)) as right:
        item = left.create(Item, code="1")
        with left.transaction():
            item.code, item.size = "2", 7
        meet(left, right)
        theirs = right.create(Item, code="1", size=9)
        meet(left, right)
        before, pending = look(left, Item), left.pending_count()
        for _ in range(2):
            with pytest.raises(errors.RecordExistsError) as raised:
                left.undo()
            assert raised.value.record_id == theirs.id
            assert (look(left, Item), left.pending_count()) == (before, pending)
            assert not left.conflicts()
        right.delete(theirs)
        meet(left, right)
        assert left.undo() is not None
        assert [record.model_dump() for record in left.find(Item)] == [{"code": "1", "size": 0}]
        meet(left, right)
        right.create(Item, code="2")
        meet(left, right)
        with pytest.raises(errors.RecordExistsError):
            left.redo()
        assert left.get(Item, item.id).code == "1"


@pytest.mark.parametrize("on_duplicate", ["merge", "ask"])
def test_values_that_changed_hands_in_one_transaction_are_given_back(on_duplicate: Literal["merge", "ask"]) -> None:
    class Item(Model, unique=("code",), on_duplicate=on_duplicate):
        code: str | None

    with memory(1, Item) as replica:
        one, two, three = (replica.create(Item, code=code) for code in "123")
        before = look(replica, Item)
        with replica.transaction():
            one.code = None
            two.code, three.code = "1", "2"
            one.code = "3"
        after = look(replica, Item)
        for _ in range(2):
            assert replica.undo() is not None
            assert look(replica, Item) == before
            assert replica.redo() is not None
            assert look(replica, Item) == after
        assert not replica.conflicts()


# ── random histories ─────────────────────────────────────────────────────────────────────────────────────────────────

DUPLICATES: tuple[Literal["merge", "keep_both", "ask"], ...] = ("merge", "keep_both", "ask")


def _models(policy: Policy, on_duplicate: Literal["merge", "keep_both", "ask"]) -> tuple[type[Model], type[Model]]:
    class Coded(Model, unique=("code",), on_duplicate=on_duplicate, on_edit_after_delete=policy):
        code: str | None = None
        notes: Text
        votes: Counter
        tags: Set[str]
        steps: List[str]

    class Keyed(Model, key=("code",), on_edit_after_delete=policy):
        code: str
        size: int = 0
        notes: Text
        votes: Counter
        tags: Set[str]
        steps: List[str]

    return Coded, Keyed


def _edit(replica: Replica, record: Any, dice: random.Random, number: int) -> None:
    """One edit. Merged records have no register but the code: it would show the latest write, which an undo is, too."""
    match dice.randrange(6):
        case 0:
            record.notes.insert(dice.randint(0, len(record.notes)), f"<{number}>")
        case 1:
            record.votes.increment(number)
        case 2:
            record.tags = {dice.choice("abc"), dice.choice("abc")}
        case 3:
            record.steps.append(f"s{number}")
        case _ if type(record).__name__ == "Keyed":
            record.size = number
        case _:
            replica.update(record, code=dice.choice(["1", "2", "3", None]))


def _step(
    replica: Replica, models: tuple[type[Model], type[Model]], gone: set[Any], dice: random.Random, number: int
) -> None:
    """One step within a transaction; records that show as one are left alone: whoever writes to them links them."""
    model = dice.choice(models)
    records: list[Any] = [record for record in replica.find(model) if not replica.also_known_as(record)]
    deleted = sorted(name for kind, name in gone if kind is model)
    match dice.randrange(8):
        case 0 | 1:
            replica.create(model, code=dice.choice("1234"), notes="new", votes=number, tags={"a"}, steps=["one"])
        case 2 | 3 if records:
            record = dice.choice(records)
            replica.delete(record)
            gone.add((model, record.id))
        case 4 | 5 if deleted:
            replica.restore(model, dice.choice(deleted))
        case _:
            if records:
                _edit(replica, dice.choice(records), dice, number)


def _everything(replica: Replica, models: tuple[type[Model], ...]) -> list[Any]:
    return [*look(replica, *models), [conflict.id for conflict in replica.conflicts()]]


@pytest.mark.parametrize("on_duplicate", DUPLICATES)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(2))
def test_undo_to_the_start_and_redo_to_the_end(
    policy: Policy, on_duplicate: Literal["merge", "keep_both", "ask"], seed: int
) -> None:
    dice = random.Random(f"{policy} {on_duplicate} {seed}")
    models = _models(policy, on_duplicate)
    with memory(1, *models) as replica:
        seen = [_everything(replica, models)]
        gone: set[Any] = set()
        for number in range(1, 25):
            with replica.transaction():
                for step in range(dice.choice([1, 1, 2, 4])):
                    with suppress(errors.RecordExistsError):
                        _step(replica, models, gone, dice, 10 * number + step)
            if _everything(replica, models) != seen[-1]:  # what came to nothing is passed over
                seen.append(_everything(replica, models))
        for _ in range(2):
            for before in seen[-2::-1]:
                report = replica.undo()
                assert report is not None
                assert report.skipped == ()
                assert _everything(replica, models) == before
            assert replica.undo() is None
            for after in seen[1:]:
                assert replica.redo() is not None
                assert _everything(replica, models) == after
            assert replica.redo() is None
