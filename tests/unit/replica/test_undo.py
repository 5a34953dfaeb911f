"""Undo and redo: exact where nobody else wrote, and never at the cost of what somebody else wrote."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask, errors, max_, three_way
from crdt_sync.core.inverting import ONLY_GROWS, OTHERS_WROTE, STAYS_SETTLED
from crdt_sync.replica.undo import DELETED_BY_OTHERS
from crdt_sync.replica.undo_stack import UNDO_MAX
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory, on_disk

SEEDS = range(10)


class Note(Model):
    title: str = ""
    due: int | None = ask(default=None)
    body: dict[str, Any] = three_way(default_factory=dict)
    text: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]


class Best(Model, key=("name",)):
    name: str
    best: int | None = max_(default=None)
    size: int = 0


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory(1, Note, Best) as opened:
        yield opened


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    with memory(1, Note, Best) as left, memory(2, Note, Best, dice=Dice(2, now_ms=START_MS + 50)) as right:
        yield left, right


def meet(left: Replica, right: Replica) -> None:
    assert exchange(left, right).proven_equal


def look(replica: Replica) -> dict[str, Any]:
    """All live notes as a user sees them."""
    return {note.id: (note.model_dump(), note.text.runs()) for note in replica.find(Note)}


# ── random histories ─────────────────────────────────────────────────────────────────────────────────────────────────


def _cut(note: Note, dice: random.Random) -> None:
    if len(note.text):
        start = dice.randrange(len(note.text))
        note.text.delete(start, dice.randint(1, len(note.text) - start))


def _mark(note: Note, dice: random.Random) -> None:
    if len(note.text):
        start = dice.randrange(len(note.text))
        note.text.format(start, dice.randint(1, len(note.text) - start), b=dice.choice([True, None, 1]))


def _step(note: Note, dice: random.Random, mark: str) -> None:
    match dice.randrange(4) if len(note.steps) else 0:
        case 0:
            note.steps.insert(dice.randint(0, len(note.steps)), mark)
        case 1:
            note.steps.pop(dice.randrange(len(note.steps)))
        case 2:
            note.steps.move(dice.randrange(len(note.steps)), dice.randrange(len(note.steps)))
        case _:
            note.steps[dice.randrange(len(note.steps))] = mark


def _entry(entries: Any, dice: random.Random, number: int) -> None:
    name = dice.choice("xyz")
    if name in entries and dice.random() < 0.4:
        del entries[name]
    else:
        entries[name] = number


EDITS: list[Callable[[Note, random.Random, int], object]] = [
    lambda note, dice, number: setattr(note, "title", f"t{number}"),
    lambda note, dice, number: setattr(note, "due", number),
    lambda note, dice, number: setattr(note, "body", {**note.body, dice.choice("ab"): number}),
    lambda note, dice, number: note.text.insert(dice.randint(0, len(note.text)), dice.choice(["é😀", "ab", "x"])),
    lambda note, dice, number: note.text.insert(dice.randint(0, len(note.text)), f"<{number}>", {"i": True}),
    lambda note, dice, number: _cut(note, dice),
    lambda note, dice, number: _mark(note, dice),
    lambda note, dice, number: note.text.replace(dice.choice(["", "hello", str(note.text)[::-1]])),
    lambda note, dice, number: note.votes.increment(dice.randint(-3, 3)),
    lambda note, dice, number: note.tags.add(dice.choice("abc")),
    lambda note, dice, number: note.tags.discard(dice.choice("abc")),
    lambda note, dice, number: setattr(note, "tags", set(dice.sample("abc", 2))),
    lambda note, dice, number: _step(note, dice, f"s{number}"),
    lambda note, dice, number: setattr(note, "steps", dice.sample([*note.steps, f"s{number}"], len(note.steps) + 1)),
    lambda note, dice, number: _entry(note.prefs, dice, number),
    lambda note, dice, number: _entry(note.days, dice, number),
]


def act(replica: Replica, dice: random.Random, number: int) -> None:
    """One random transaction."""
    notes = replica.find(Note)
    with replica.transaction():
        roll = dice.random()
        if not notes or roll < 0.08:
            replica.create(Note, title=f"n{number}", text="made", tags={"a"}, steps=["one", "two"])
            return
        note = dice.choice(notes)
        if roll < 0.13:
            dice.choice(EDITS)(note, dice, number)
            replica.delete(note)
            return
        for _ in range(dice.choice([1, 1, 2, 4])):
            dice.choice(EDITS)(note, dice, number)


def restore_any(replica: Replica, dice: random.Random) -> None:
    gone = [item.record_id for item in replica.operations() if item.type.value == "delete"]
    if gone:
        replica.restore(Note, dice.choice(gone))


@pytest.mark.parametrize("seed", SEEDS)
def test_undo_gives_what_was_before_and_redo_what_was_after(replica: Replica, seed: int) -> None:
    dice = random.Random(seed)
    seen = [look(replica)]
    for number in range(25):
        act(replica, dice, number) if dice.random() < 0.9 else restore_any(replica, dice)
        if look(replica) != seen[-1]:  # what came to nothing is passed over
            seen.append(look(replica))
    for _ in range(2):  # there and back, twice
        for before in seen[-2::-1]:
            report = replica.undo()
            assert report is not None
            assert report.skipped == ()
            assert look(replica) == before
        assert replica.undo() is None
        for after in seen[1:]:
            assert replica.redo() is not None
            assert look(replica) == after
        assert replica.redo() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_some_steps_back_and_on_from_there(replica: Replica, seed: int) -> None:
    dice = random.Random(1000 + seed)
    seen = [look(replica)]
    for number in range(40):
        if len(seen) > 1 and dice.random() < 0.4:
            assert replica.undo() is not None
            seen.pop()
            assert look(replica) == seen[-1]
            continue
        act(replica, dice, number)
        if look(replica) != seen[-1]:
            seen.append(look(replica))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_others_wrote_survives(pair: tuple[Replica, Replica], seed: int) -> None:
    """The other device writes values that nobody else writes; each is there after the undo if it was there before."""
    left, right = pair
    dice = random.Random(seed)
    note = left.create(Note, title="n", text="made", tags={"a"}, steps=["one", "two"])
    meet(left, right)
    there = right.get(Note, note.id)
    for number in range(12):
        for _ in range(dice.randrange(3)):
            dice.choice(EDITS)(note, dice, number)
        for _ in range(dice.randrange(3)):
            theirs(there, dice, 1000 + number)
        if dice.random() < 0.6:
            meet(left, right)
    meet(left, right)
    shown = marks(note)
    while True:
        before = marks(note)
        if left.undo() is None:
            break
        assert before <= marks(note)
    meet(left, right)
    assert look(left) == look(right)
    while left.redo() is not None:
        pass
    assert shown <= marks(note)


def theirs(note: Note, dice: random.Random, number: int) -> None:
    match dice.randrange(7):
        case 0:
            note.title = f"T{number}"
        case 1:
            note.due = number
        case 2:
            note.text.insert(dice.randint(0, len(note.text)), chr(0x4E00 + number))
        case 3:
            note.tags.add(f"T{number}")
        case 4:
            note.steps.insert(dice.randint(0, len(note.steps)), f"T{number}")
        case 5:
            note.prefs[dice.choice("xyz")] = number
        case _:
            note.body = {**note.body, f"T{number}": number}


def marks(note: Note) -> set[Any]:
    """What of the other device's is shown."""
    shown: set[Any] = {value for value in (note.title,) if value.startswith("T")}
    shown |= {("due", note.due)} if (note.due or 0) >= 1000 else set()
    shown |= {char for char in str(note.text) if char >= chr(0x4E00) and ord(char) < 0x9FFF}
    shown |= {tag for tag in note.tags if tag.startswith("T")}
    shown |= {("step", step) for step in note.steps if step.startswith("T")}
    shown |= {(name, value) for name, value in note.prefs.items() if value >= 1000}
    return shown | {("body", name) for name in note.body if name.startswith("T")}


# ── one by one ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_report_names_what_was_done_and_what_was_left(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, title="a")
    meet(left, right)
    with left.transaction():
        note.title = "mine"
        note.votes.increment(5)
    time = left.last_operation().timestamp
    meet(left, right)
    right.get(Note, note.id).title = "theirs"
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert report.timestamp == time
    assert [(item.record_id, item.field, item.reason) for item in report.done] == [(note.id, "votes", "")]
    assert [(item.model, item.field, item.reason) for item in report.skipped] == [("Note", "title", OTHERS_WROTE)]
    assert (note.title, int(note.votes)) == ("theirs", 0)


def test_creation_that_others_built_on_stays(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, title="a")
    meet(left, right)
    right.get(Note, note.id).votes.increment()
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [OTHERS_WROTE]
    assert left.get(Note, note.id).votes == 1
    assert (left.undo(), left.redo()) == (None, None)


def test_record_that_others_deleted_stays_deleted(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, title="a")
    note.title = "b"
    meet(left, right)
    right.delete(right.get(Note, note.id))
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [DELETED_BY_OTHERS]
    assert look(left) == {}


def test_delete_by_both_is_not_undone_by_one(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, title="a")
    meet(left, right)
    right.delete(right.get(Note, note.id))
    left.delete(note)
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [OTHERS_WROTE]
    assert look(left) == {}


def test_text_that_others_deleted_too_stays_deleted(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, text="abcdef")
    meet(left, right)
    there = right.get(Note, note.id)
    note.text.delete(0, 4)
    there.text.delete(2, 4)
    there.text.append("!")
    meet(left, right)
    report = left.undo()
    assert report is not None
    assert [(item.field, item.reason) for item in report.skipped] == [("text", OTHERS_WROTE)]
    assert str(note.text) == "ab!"


def test_settled_conflict_stays_settled_and_greatest_values_stay(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, due=0)
    meet(left, right)
    note.due, right.get(Note, note.id).due = 1, 2
    meet(left, right)
    shown = note.due
    (conflict,) = left.conflicts()
    left.resolve(conflict, value=9)
    report = left.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [STAYS_SETTLED]
    assert (note.due, left.conflicts()) == (shown, [])
    best = left.create(Best, name="x", best=1)
    best.best = 5
    report = left.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [ONLY_GROWS]
    assert best.best == 5


def test_record_that_was_created_again_is_as_it_was_before(replica: Replica) -> None:
    first = replica.create(Best, name="x", size=1)
    replica.delete(first)
    again = replica.create(Best, name="x", size=2)
    assert replica.undo() is not None
    assert replica.count(Best) == 0
    assert replica.redo() is not None
    assert again.size == 2
    replica.undo()
    replica.undo()
    assert first.size == 1


def test_undo_is_an_ordinary_transaction(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    note = left.create(Note, title="a")
    note.title = "b"
    pending = left.pending_count()
    told: list[str] = []
    left.observe(lambda change: told.append(change.type))
    left.undo()
    assert (left.pending_count(), told) == (pending + 1, ["update"])
    meet(left, right)
    assert right.get(Note, note.id).title == "a"
    assert [item.changes[-1].new for item in list(left.history(note))[1:]] == ["b", "a"]


def test_new_write_takes_away_what_could_be_redone(replica: Replica) -> None:
    note = replica.create(Note, title="a")
    note.title = "b"
    replica.undo()
    note.votes.increment()
    assert replica.redo() is None
    assert replica.undo() is not None
    assert (note.title, int(note.votes)) == ("a", 0)


def test_last_hundred_can_be_undone(replica: Replica) -> None:
    note = replica.create(Note)
    for _ in range(UNDO_MAX + 5):
        note.votes.increment()
    undone = 0
    while replica.undo() is not None:
        undone += 1
    assert (undone, int(note.votes)) == (UNDO_MAX, 5)
    redone = 0
    while replica.redo() is not None:
        redone += 1
    assert (redone, int(note.votes)) == (UNDO_MAX, UNDO_MAX + 5)


def test_undo_goes_on_after_the_replica_was_opened_again(tmp_path: Path) -> None:
    with on_disk(tmp_path, Note, Best, seed=1) as replica:
        note = replica.create(Note, text="abc")
        note.text.delete(1)
        note.text.append("d")
        replica.undo()
    with on_disk(tmp_path, Note, Best, seed=2) as replica:
        note = replica.get(Note, note.id)
        assert replica.redo() is not None
        assert str(note.text) == "acd"
        replica.undo()
        replica.undo()
        assert str(note.text) == "abc"
        replica.undo()
        assert replica.count(Note) == 0
        assert replica.undo() is None


FORMATTED: dict[str, list[Callable[[Text], object]]] = {
    "plain behind what is made bold": [lambda text: text.format(0, 2, b=True), lambda text: text.insert(2, "xx", {})],
    "plain amid what is made bold": [lambda text: text.format(0, 5, b=True), lambda text: text.insert(2, "xx", {})],
    "bold is what stood there": [lambda text: text.insert(2, "xx"), lambda text: text.format(0, 2, b=True)],
    "other attributes beside": [lambda text: text.insert(1, "xx", {"i": True}), lambda text: text.format(0, 1, b=True)],
    "less of it, and bold": [lambda text: text.delete(1, 2), lambda text: text.format(0, 2, b=True)],
}


@pytest.mark.parametrize("name", FORMATTED)
def test_attributes_do_not_spread_over_what_is_put_back(replica: Replica, name: str) -> None:
    note = replica.create(Note, text="hello")
    before = note.text.runs()
    with replica.transaction():
        for edit in FORMATTED[name]:
            edit(note.text)
    after = note.text.runs()
    for _ in range(2):
        assert replica.undo() is not None
        assert note.text.runs() == before
        assert replica.redo() is not None
        assert note.text.runs() == after


def test_large_text(replica: Replica) -> None:
    note = replica.create(Note, text="0123456789" * 2_000)
    for number in range(4):
        note.text.insert(number * 7, "x")
    note.text.delete(5, 15_000)
    whole = str(note.text)
    for _ in range(5):
        assert replica.undo() is not None
    assert str(note.text) == "0123456789" * 2_000
    for _ in range(5):
        assert replica.redo() is not None
    assert str(note.text) == whole


def test_refused_amid_a_transaction_and_where_nothing_can_be_written(replica: Replica, tmp_path: Path) -> None:
    replica.create(Note)
    with pytest.raises(errors.TransactionError), replica.transaction():
        replica.undo()
    with on_disk(tmp_path, Note) as opened:
        opened.create(Note)
    with Replica.open(tmp_path / "a.db", [Note], read_only=True, state_dir=tmp_path / "state") as reader:
        for call in (reader.undo, reader.redo):
            with pytest.raises(errors.StoreReadOnlyError):
                call()
