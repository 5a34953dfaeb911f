"""The journal of settled conflicts tells of records that were deleted and edited at once, on every replica alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crdt_sync import DELETED, Candidate, Counter, Model, Replica, Set, Text, field
from crdt_sync.core.conflict import ConflictKind, Settled
from crdt_sync.errors import ConflictNotFoundError, RecordDeletedError, RecordNotFoundError
from crdt_sync.replica.content import rederive
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, meet, memory, on_disk, state_of, store_of


class Page(Model, on_edit_after_delete="ask"):
    title: str = ""
    notes: Text
    votes: Counter
    tags: Set[str]


class Kept(Model):
    title: str = ""


def open_at(seed: int, *, later_ms: int = 0) -> Replica:
    return memory(seed, Page, Kept, dice=Dice(seed, now_ms=START_MS + later_ms))


@pytest.fixture
def three() -> Iterator[list[Replica]]:
    opened = [open_at(seed + 1, later_ms=20 * seed) for seed in range(3)]
    yield opened
    for replica in opened:
        replica.close()


def clash(three: list[Replica]) -> str:
    """A page that the first one deleted and the second one edited, which all of them know."""
    page = three[0].create(Page, title="a", notes="né😀", tags={"x"})
    meet(*three)
    three[0].delete(page)
    three[1].get(Page, page.id).title = "b"
    meet(*three)
    return page.id


def only(replica: Replica) -> Settled:
    (found,) = replica.settled(model=Page)
    return found


Settle = Callable[[Replica, str], object]


def _take(replica: Replica, *, deleted: bool) -> None:
    (conflict,) = replica.conflicts()
    (chosen,) = (item for item in conflict.candidates if (item.value is DELETED) == deleted)
    replica.resolve(conflict, take=chosen)


WAYS: dict[str, tuple[Settle, bool]] = {
    "take the deletion": (lambda replica, _: _take(replica, deleted=True), True),
    "take the edit": (lambda replica, _: _take(replica, deleted=False), False),
    "the sentinel": (lambda replica, _: replica.resolve(replica.conflicts()[0], value=DELETED), True),
    "a rule": (lambda replica, _: replica.resolve_all(model=Page, take="latest"), False),
    "an ordinary delete": (lambda replica, name: replica.delete(replica.get(Page, name)), True),
    "an ordinary restore": (lambda replica, name: replica.restore(Page, name), False),
}


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_who_chose_what_over_which_candidates_on_every_replica(three: list[Replica], way: str, at: int) -> None:
    name = clash(three)
    (conflict,) = three[at].conflicts()
    settle, deletes = WAYS[way]
    settle(three[at], name)
    operation = three[at].last_operation()
    settled = only(three[at])
    assert (settled.id, settled.kind, settled.model) == (conflict.id, ConflictKind.EDIT_OF_DELETED, "Page")
    assert (settled.record_id, settled.field, settled.register, settled.paths) == (name, "", "", ())
    assert settled.candidates == conflict.candidates
    assert settled.chosen.value == (DELETED if deletes else conflict.value)
    assert (settled.chosen.device_id, settled.chosen.timestamp) == (three[at].device_id, operation.timestamp)
    meet(*three)
    assert [only(replica) for replica in three] == [settled] * 3
    with open_at(9) as late:
        exchange(three[0], late)
        assert only(late) == settled


def test_history_tells_that_it_was_opened_and_settled(three: list[Replica]) -> None:
    name = clash(three)
    _take(three[2], deleted=True)
    meet(*three)
    for replica in three:
        told = [
            (change.conflict, change.old, change.new)
            for item in replica.history(Page, name)
            for change in item.changes
            if not change.field
        ]
        assert [item[0] for item in told] == ["opened", "settled"]
        assert told[1] == ("settled", True, False)


def test_what_was_no_question_is_not_settled(three: list[Replica]) -> None:
    page = three[0].create(Page, title="a")
    kept = three[0].create(Kept, title="a")
    three[0].delete(page)
    three[0].restore(Page, page.id)
    three[0].delete(page)
    meet(*three)
    three[0].delete(kept)
    three[1].get(Kept, kept.id).title = "b"
    meet(*three)
    three[1].delete(three[1].get(Kept, kept.id))
    assert [replica.settled() for replica in three] == [[]] * 3


def test_settled_by_two_at_once_in_two_ways(three: list[Replica]) -> None:
    name = clash(three)
    _take(three[0], deleted=True)
    _take(three[1], deleted=False)
    meet(*three)
    found = three[0].settled(model=Page)
    assert sorted(str(item.chosen.device_id) for item in found) == sorted(str(item.device_id) for item in three[:2])
    assert len({item.id for item in found}) == 1
    assert [replica.settled(model=Page) for replica in three] == [found] * 3
    (again,) = three[0].conflicts()  # who kept it did so beside who deleted it
    assert again.id != found[0].id
    assert (again.record_id, [replica.conflicts() for replica in three]) == (name, [[again]] * 3)


def test_what_somebody_had_not_seen_is_not_among_what_he_settled(three: list[Replica]) -> None:
    name = clash(three)
    three[0].get(Page, name).votes.increment(5)
    before = three[2].conflicts()[0]
    _take(three[2], deleted=True)
    meet(*three)
    settled = only(three[0])
    assert (settled.id, settled.candidates) == (before.id, before.candidates)
    assert all(item.value is DELETED or item.value["votes"] == 0 for item in settled.candidates)
    assert [only(replica) for replica in three] == [settled] * 3
    assert three[0].conflicts() != []  # the other edit is a question of its own


def test_it_outlives_compaction_and_a_derivation_anew(three: list[Replica]) -> None:
    name = clash(three)
    _take(three[2], deleted=False)
    meet(*three)
    settled = only(three[0])
    three[0].compact()
    meet(*three)
    three[0].get(Page, name).title = "c"
    assert store_of(three[0]).count(Table.LOG) == 1
    assert only(three[0]) == settled
    keys = [key for key, _ in store_of(three[1]).scan(Table.VERSION)]
    rederive(state_of(three[1]), keys)  # type: ignore[arg-type]  # keys of the table are addresses
    assert only(three[1]) == settled


def test_a_device_that_was_given_the_content_alone_does_not_know(three: list[Replica]) -> None:
    """What was folded into the content that a peer gives is in nobody's log any more."""
    clash(three)
    _take(three[0], deleted=False)
    meet(*three)
    three[0].compact()
    with open_at(9) as late:
        exchange(three[0], late)
        assert late.count(Page) == 1
        assert late.settled() == []


def newer_page() -> type[Model]:
    class Page(Model, on_edit_after_delete="ask"):
        name: str = field(default="", renamed_from="title")

    return Page


def test_a_renamed_field_shows_under_its_new_name(tmp_path: Path) -> None:
    with on_disk(tmp_path, Page, seed=1) as one, memory(2, Page) as two:
        page = one.create(Page, title="a")
        exchange(one, two)
        one.delete(page)
        two.get(Page, page.id).title = "b"
        exchange(one, two)
        _take(one, deleted=False)
    with on_disk(tmp_path, newer_page(), seed=2) as one:
        (settled,) = one.settled()
        assert settled.chosen.value == {"name": "b"}


def test_a_model_that_was_not_open_then(tmp_path: Path, three: list[Replica]) -> None:
    clash(three)
    with on_disk(tmp_path, Kept, seed=7) as other:
        exchange(three[0], other)
        _take(three[0], deleted=True)
        exchange(three[0], other)
        assert other.settled() == []
    with on_disk(tmp_path, Page, seed=8) as other:
        assert other.settled() == three[0].settled()


# ── random histories ─────────────────────────────────────────────────────────────────────────────────────────────────


def act(replica: Replica, dice: Random, name: str) -> Settled | None:
    """Do something to the page; returns what must be told of it, where it settled the open conflict."""
    open_now = replica.conflicts(kind="edit_of_deleted")
    roll = dice.randrange(6)
    try:
        page: Any = replica.get(Page, name)
    except (RecordNotFoundError, RecordDeletedError):
        if roll < 3:
            replica.restore(Page, name)
        return None
    deletes = roll in (0, 1)
    match roll:
        case 0:
            replica.delete(page)
        case 1 if open_now:
            replica.resolve(open_now[0], value=DELETED)
        case 2 if open_now:
            replica.restore(Page, name)
        case 3:
            page.title += "t"
            return None
        case 4:
            page.votes.increment(1)
            return None
        case _:
            return None
    if not open_now:
        return None
    conflict = open_now[0]
    chosen = Candidate(
        value=DELETED if deletes else conflict.value,
        device_id=str(replica.device_id),
        timestamp=replica.last_operation().timestamp,
        dot=conflict.candidates[0].dot,
    )
    return Settled(
        id=conflict.id,
        kind=conflict.kind,
        model="Page",
        record_id=conflict.record_id,
        field="",
        register="",
        paths=(),
        candidates=conflict.candidates,
        chosen=chosen,
    )


def _told(item: Settled) -> tuple[Any, ...]:
    chosen = (item.chosen.value, item.chosen.device_id, item.chosen.timestamp)
    return item.id, item.candidates, chosen


@pytest.mark.parametrize("seed", range(25))
def test_everybody_is_told_the_same_in_any_order(three: list[Replica], seed: int) -> None:
    dice = Random(seed)
    name = three[0].create(Page, title="a").id
    meet(*three)
    expected: list[Settled] = []
    for _ in range(40):
        replica = dice.choice(three)
        if dice.random() < 0.35:
            exchange(replica, dice.choice([other for other in three if other is not replica]))
            continue
        try:
            settled = act(replica, dice, name)
        except ConflictNotFoundError:
            continue
        expected += [] if settled is None else [settled]
    meet(*three)
    found = three[0].settled(model=Page)
    assert sorted(map(repr, map(_told, found))) == sorted(map(repr, map(_told, expected)))
    with open_at(9) as late:
        exchange(three[1], late)
        rows = [list(store_of(replica).scan(Table.SETTLED)) for replica in (*three, late)]
    assert rows == [rows[0]] * 4
