"""Edits by devices that were not waited for, of records that horizons removed: none is lost, whoever passes it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pydantic import create_model

from crdt_sync import Change, Counter, List, Map, Model, Replica, Set, Text, ask, max_
from crdt_sync.errors import RecordNotFoundError
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import memory, store_of, sync

OLD: Any = create_model("Note", __base__=Model, title=(str, ""))


class Note(Model):
    title: str = ""
    other: str = ""
    due: str | None = ask(default=None)
    body: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    best: int = max_(default=0)


class Asking(Model, on_edit_after_delete="ask"):
    title: str = ""
    body: Text


class Final(Model, on_edit_after_delete="delete_wins"):
    title: str = ""
    body: Text


MODELS = (Note, Asking, Final)
Devices = tuple[Replica, Replica, Replica, Replica]


@pytest.fixture
def four() -> Iterator[Devices]:
    """A hub, a desk that syncs with it all the time, and two phones."""
    with ExitStack() as stack:
        hub, desk, one, two = (stack.enter_context(memory(seed, *MODELS)) for seed in range(1, 5))
        yield hub, desk, one, two


def compact_to_the_end(*replicas: Replica) -> None:
    for _ in range(4):
        replicas[0].compact()
        sync(*replicas)
    assert store_of(replicas[0]).count(Table.LOG) == 0


@contextmanager
def away(hub: Replica, desk: Replica, *phones: Replica) -> Iterator[None]:
    """All have the same, and the phones are not waited for: what is deleted in the block is folded without them."""
    sync(hub, desk, *phones)
    for phone in phones:
        hub.forget_device(str(phone.device_id))
    yield
    sync(hub, desk)
    compact_to_the_end(hub, desk)


def check_alike(*replicas: Replica) -> None:
    sync(*replicas)
    assert len({replica.port.fingerprint("") for replica in replicas}) == 1
    for replica in replicas:
        assert check_store(store_of(replica)).listed == []


def shown(replica: Replica, model: type[Model] = Note) -> list[dict[str, Any]]:
    return [dict(record) for record in replica.find(model)]


def full(replica: Replica) -> Note:
    """A record with something of every kind, deleted values among it."""
    note = replica.create(
        Note,
        title="t",
        other="old",
        due="d",
        body="long text",
        votes=4,
        tags=["a"],
        steps=["s"],
        prefs={"k": 1},
        best=9,
    )
    note.body.format(0, 4, bold=True)
    replica.update(note, other="x", due="e")
    return note


ALL = {"other": "x", "due": "e", "body": "long text", "votes": 4, "tags": {"a"}, "steps": ["s"], "prefs": {"k": 1}}


@pytest.mark.parametrize("app", [OLD, Note], ids=["old app", "new app"])
def test_record_comes_back_whole_from_an_app_that_knows_little_of_it(four: Devices, app: Any) -> None:
    hub, desk, *_ = four
    with memory(9, app) as phone:
        note = full(hub)
        with away(hub, desk, phone):
            phone.update(phone.get(app, note.id), title="by phone")
            hub.delete(note)
        assert store_of(hub).count(Table.VERSION) == 0
        sync(hub, phone, desk)
        for replica in (hub, desk):
            assert shown(replica) == [{**ALL, "title": "by phone", "best": 9}]
            assert replica.get(Note, note.id).body.runs() == [("long", {"bold": True}), (" text", {})]
        assert phone.get(app, note.id).title == "by phone"
        assert phone.pending_count() == 0
        check_alike(hub, desk, phone)


def test_open_conflict_comes_back_with_its_candidates(four: Devices) -> None:
    hub, desk, phone, _ = four
    note = full(hub)
    sync(hub, desk, phone)
    hub.update(note, due="by hub")
    desk.update(desk.get(Note, note.id), due="by desk")
    with away(hub, desk, phone):
        (conflict,) = phone.conflicts()
        phone.get(Note, note.id).votes.increment(1)
        hub.delete(hub.get(Note, note.id))
    sync(hub, phone, desk)
    for replica in (hub, desk, phone):
        assert [item.id for item in replica.conflicts()] == [conflict.id]
    check_alike(hub, desk, phone)


def test_two_late_devices_double_nothing(four: Devices) -> None:
    hub, desk, one, two = four
    note = full(hub)
    with away(hub, desk, one, two):
        one.update(one.get(Note, note.id), title="by one")
        two.update(two.get(Note, note.id), other="by two")
        two.get(Note, note.id).tags.discard("a")
        hub.delete(note)
    sync(hub, two, desk)
    sync(hub, one, two, desk)
    expected = {**ALL, "title": "by one", "other": "by two", "tags": set(), "best": 9}
    for replica in four:
        assert shown(replica) == [expected]
    check_alike(*four)


def test_late_devices_that_hold_different_parts_of_a_record(four: Devices) -> None:
    """What one of them had got before the deletion, and the other had not, is there in the end."""
    hub, desk, one, two = four
    note = full(hub)
    sync(*four)
    hub.forget_device(str(two.device_id))
    note.body.append(", longer")
    hub.update(note, due="only one has this")
    with away(hub, desk, one):
        one.get(Note, note.id).body.append(" by one")
        one.get(Note, note.id).due = "by one"
        two.get(Note, note.id).title = "by two"
        hub.delete(note)
    sync(hub, two, desk)
    sync(hub, one, desk, two)
    for replica in four:
        (seen,) = shown(replica)
        assert (seen["title"], seen["body"], seen["due"]) == ("by two", "long text, longer by one", "by one")
    check_alike(*four)


def test_late_edits_of_many_records_at_once(four: Devices) -> None:
    hub, desk, phone, _ = four
    notes = [hub.create(Note, title=f"{number}") for number in range(40)]
    with away(hub, desk, phone):
        for note in notes[:30]:
            phone.get(Note, note.id).body.append("late")
        fresh = phone.create(Note, title="new")
        phone.get(Note, fresh.id).votes.increment(2)
        for note in notes:
            hub.delete(note)
    sync(hub, phone, desk)
    for replica in (hub, desk, phone):
        assert {(str(note.body), int(note.votes)) for note in replica.find(Note)} == {("late", 0), ("", 2)}
        assert replica.count(Note) == 31
    check_alike(hub, desk, phone)


@pytest.mark.parametrize("model", [Asking, Final, Note])
def test_what_a_model_says_about_deletions_holds_for_late_edits(four: Devices, model: Any) -> None:
    hub, desk, phone, _ = four
    edited, written, untouched = (hub.create(model, title=name) for name in "xyz")
    with away(hub, desk, phone):
        phone.get(model, edited.id).title = "x by phone"
        phone.get(model, written.id).body.append("by phone")
        for record in (edited, written, untouched):
            hub.delete(record)
    assert store_of(hub).count(Table.VERSION) == 0
    sync(hub, phone, desk)
    for replica in (hub, desk, phone):
        found = {(record.title, str(record.body)) for record in replica.find(model)}
        assert found == (set() if model is Final else {("x by phone", ""), ("y", "by phone")})
        asked = {conflict.record_id for conflict in replica.conflicts()}
        assert asked == ({edited.id, written.id} if model is Asking else set())
        with pytest.raises(RecordNotFoundError):
            replica.get(model, untouched.id)
    assert phone.pending_count() == 0
    check_alike(hub, desk, phone)


def test_record_that_was_deleted_for_good_can_be_restored_where_somebody_had_edited_it(four: Devices) -> None:
    hub, desk, phone, _ = four
    record = hub.create(Final, title="x")
    with away(hub, desk, phone):
        phone.get(Final, record.id).title = "late"
        hub.delete(record)
    sync(hub, phone, desk)
    desk.restore(Final, record.id)
    sync(hub, desk, phone)
    assert [replica.get(Final, record.id).title for replica in (hub, desk, phone)] == ["late"] * 3
    check_alike(hub, desk, phone)


def between_the_horizons(hub: Replica, desk: Replica, one: Replica, two: Replica) -> Note:
    """`one` is forgotten; the others have made the earlier horizon, for a record that `one` then edits."""
    note = full(hub)
    sync(hub, desk, one, two)
    hub.forget_device(str(one.device_id))
    hub.delete(note)
    sync(hub, desk, two)
    assert hub.compact().horizon_made
    sync(hub, desk, two)
    one.get(Note, note.id).title = "by one"
    return note


def test_edit_that_another_device_had_taken_in_stays_when_its_writer_is_lost(four: Devices) -> None:
    hub, desk, one, two = four
    note = between_the_horizons(*four)
    assert exchange(one, two).proven_equal
    assert one.safe_to_wipe()
    told: list[Change] = []
    two.observe(told.append)
    for _ in range(3):
        hub.compact()
        sync(hub, desk, two)
    for replica in (hub, desk, two):
        assert replica.get(Note, note.id).title == "by one"
    assert [change.type for change in told if change.type in ("delete", "create")] == []
    check_alike(hub, desk, two)


@pytest.mark.parametrize("folds", [False, True], ids=["", "folded meanwhile"])
@pytest.mark.parametrize("flights", range(1, 16))
def test_writer_that_is_lost_amid_a_session_was_told_the_truth(four: Devices, flights: int, folds: bool) -> None:
    """Nobody says that he holds an edit before he has the record that it belongs to."""
    hub, desk, phone, _ = four
    note, kept = full(hub), hub.create(Asking, title="kept")
    with away(hub, desk, phone):
        phone.get(Asking, kept.id).body.append("by phone")
        phone.get(Note, note.id).title = "by phone"
        hub.delete(note)
    pair = Exchange(phone, hub)
    for _ in range(flights):
        pair.left.turn(pair.line)
        pair.right.turn(pair.line)
    pair.left.close()
    pair.right.close()
    sync(hub, desk)  # whatever came of it
    if phone.pending_count() == 0:
        for replica in (hub, desk):
            assert shown(replica) == [{**ALL, "title": "by phone", "best": 9}]
        check_alike(hub, desk)
    if folds:
        for _ in range(2):
            sync(hub, desk)
            hub.create(Note, title="later")
            hub.compact(retention_s=0)
            desk.compact(retention_s=0)
        for note in hub.find(Note, title="later"):
            hub.delete(note)
    sync(hub, desk, phone)
    for replica in (hub, desk, phone):
        assert shown(replica) == [{**ALL, "title": "by phone", "best": 9}]
    check_alike(hub, desk, phone)


@pytest.mark.parametrize("content", [None, b"nonsense", b"\0\0"], ids=["nothing", "nonsense", "an empty update"])
def test_peer_that_does_not_give_the_record_gets_nowhere_and_holds_up_nobody(
    four: Devices, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    hub, desk, phone, _ = four
    note = full(hub)
    with away(hub, desk, phone):
        phone.get(Note, note.id).title = "by phone"
        hub.delete(note)
    with monkeypatch.context() as patch:
        patch.setattr(phone.port, "content", lambda *_: content)
        for _ in range(2):
            report = exchange(phone, hub)
            assert not report.proven_equal
            assert report.flights < 50
    assert phone.pending_count() > 0
    assert not phone.safe_to_wipe()
    hub.create(Note, title="meanwhile")
    sync(hub, desk)
    sync(hub, phone, desk)
    for replica in (hub, desk, phone):
        assert {item.title for item in replica.find(Note)} == {"by phone", "meanwhile"}
    check_alike(hub, desk, phone)


def test_record_that_came_back_goes_for_good_when_it_is_deleted_again(four: Devices) -> None:
    hub, desk, one, two = four
    note = full(hub)
    with away(hub, desk, one, two):
        one.get(Note, note.id).title = "late"
        hub.delete(note)
    sync(hub, one, desk)
    desk.delete(desk.get(Note, note.id))
    sync(hub, desk, one)
    compact_to_the_end(hub, desk, one)
    assert [store_of(replica).count(Table.VERSION) for replica in (hub, desk, one)] == [0, 0, 0]
    sync(hub, two, desk, one)  # it has all of that still to come
    assert [shown(replica) for replica in four] == [[], [], [], []]
    check_alike(*four)


def test_new_device_gets_what_came_back(four: Devices) -> None:
    hub, desk, phone, _ = four
    note = full(hub)
    with away(hub, desk, phone):
        phone.get(Note, note.id).title = "late"
        hub.delete(note)
    sync(hub, phone, desk)
    with memory(8, *MODELS) as early, memory(9, *MODELS) as late:
        sync(hub, early)
        compact_to_the_end(hub, desk, phone, early)
        sync(early, late)
        sync(hub, late)
        assert shown(early) == shown(late) == [{**ALL, "title": "late", "best": 9}]
        check_alike(hub, early, late, desk, phone)
