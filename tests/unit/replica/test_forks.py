"""A past that was rewound or doubled: restored backups and cloned machines, noticed by a peer, and nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync import Replica, SyncOperation
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, DeviceId, RecordId, document_key
from crdt_sync.core.ids import author_of as author_of_key
from crdt_sync.core.model import bind
from crdt_sync.errors import RecordDeletedError
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.replica.accept import accept_records
from crdt_sync.replica.fork import CLAIMS_MAX
from crdt_sync.testing.exchange import ExchangeReport, exchange
from tests.unit.replica.devices import ACTS, Act, Person, Task, memory, on_disk, picture, state_of


class Machine:
    """A device whose disk, state directory included, can be taken back to an earlier moment."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._now, self._then = place / "now", place / "then"
        self._opened = 0
        self._now.mkdir()

    @contextmanager
    def on(self) -> Iterator[Replica]:
        self._opened += 1
        with on_disk(self._now, seed=self._opened) as replica:
            yield replica

    @contextmanager
    def crashing(self) -> Iterator[Replica]:
        """As `on`, but for an unclean end, so that the next open draws another author."""
        with self.on() as replica:
            state_of(replica).lease.release = lambda identity: None  # type: ignore[method-assign]  # the crash
            yield replica

    def start(self, peer: Replica, **values: object) -> str:
        """The id of a task that the peer has too."""
        with self.on() as replica:
            task = replica.create(Task, **values)
            exchange(replica, peer)
            return task.id

    def lose(self, peer: Replica, *writes: Callable[[Replica], object]) -> Author:
        """Write, tell the peer, and take the machine back to before; returns the author that wrote."""
        self.remember()
        with self.on() as replica:
            for write in writes:
                write(replica)
            exchange(replica, peer)
            author = author_of(replica)
        self.rewind()
        return author

    def remember(self) -> None:
        shutil.rmtree(self._then, ignore_errors=True)
        shutil.copytree(self._now, self._then)

    def rewind(self) -> None:
        shutil.rmtree(self._now)
        shutil.copytree(self._then, self._now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def peer() -> Iterator[Replica]:
    with memory(99) as opened:
        yield opened


@pytest.fixture
def third() -> Iterator[Replica]:
    with memory(50) as opened:
        yield opened


def appending(name: str, text: str) -> Callable[[Replica], None]:
    return lambda replica: replica.get(Task, name).notes.append(text)


def unfinished(replica: Replica) -> list[SyncOperation]:
    return [*replica.operations(status="pending"), *replica.operations(status="failed")]


def seen_of(replica: Replica, name: str) -> tuple[object, ...]:
    """All that a user sees of a task."""
    if replica.count(Task, id=name) == 0:
        return ()
    task = replica.get(Task, name)
    candidates = [[item.value for item in replica.candidates(task, field)] for field in ("title", "due")]
    return task.model_dump(), candidates, replica.conflicts()


def device_of(replica: Replica) -> DeviceId:
    assert replica.device_id is not None
    return DeviceId(replica.device_id)


def author_of(replica: Replica) -> Author:
    identity = state_of(replica).identity
    assert identity is not None
    return identity.author


def settled(replica: Replica, peer: Replica) -> ExchangeReport:
    """Exchange until proven equal: a fork takes a second session at the most."""
    report = exchange(replica, peer)
    if not report.proven_equal:
        report = exchange(replica, peer)
    assert report.proven_equal
    assert picture(replica)["rows"] == picture(peer)["rows"]
    assert [conflict.id for conflict in replica.conflicts()] == [conflict.id for conflict in peer.conflicts()]
    return report


def test_a_machine_taken_back_writes_under_a_new_author_before_its_next_write(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, title="old")
    before = machine.lose(peer, lambda replica: setattr(replica.get(Task, name), "title", "lost"))
    with machine.on() as replica:
        epoch = replica.port.epoch
        assert author_of(replica) == before, "nothing here can tell that the disk was taken back"
        settled(replica, peer)
        assert author_of(replica) != before
        assert replica.port.epoch != epoch
        assert replica.get(Task, name).title == "lost"
        replica.get(Task, name).title = "goes on"
        settled(replica, peer)
        assert peer.get(Task, name).title == "goes on"


def test_both_branches_survive_in_every_kind_of_field(machine: Machine, peer: Replica) -> None:
    with machine.on() as replica:
        task = replica.create(Task, title="t", notes="middle", tags=["both", "x"], votes=1)
        gone, kept = replica.create(Task, title="gone"), replica.create(Task, title="kept")
        exchange(replica, peer)
        names = (task.id, gone.id, kept.id)

    def lost(replica: Replica) -> None:
        task, _, kept = (replica.get(Task, name) for name in names)
        task.notes.insert(0, "first ")
        task.votes.increment(10)
        task.tags.add("one")
        task.due = date(2025, 1, 1)
        replica.create(Person, email="a@b", visits=1)
        replica.delete(kept)

    before = machine.lose(peer, lost)
    with machine.on() as replica:
        task, gone, kept = (replica.get(Task, name) for name in names)
        task.notes.append(" last")
        task.notes.insert(6, " and end")
        task.votes.increment(100)
        task.votes.increment(1000)
        task.tags.add("two")
        task.tags.discard("x")
        task.due = date(2025, 2, 1)
        task.due = date(2025, 2, 2)
        task.title = "second branch"
        replica.create(Person, email="a@b", visits=2)
        replica.create(Task, title="new")
        kept.title = "edited while deleted"
        replica.delete(gone)
        pending = [operation.id for operation in replica.operations(status="pending")]
        settled(replica, peer)
        assert author_of(replica) != before
        for device in (replica, peer):
            task = device.get(Task, names[0])
            assert str(task.notes) == "first middle and end last"
            assert int(task.votes) == 1111
            assert set(task.tags) == {"both", "one", "two"}
            assert task.title == "second branch"
            (conflict,) = device.conflicts()
            assert {candidate.value for candidate in conflict.candidates} == {date(2025, 1, 1), date(2025, 2, 2)}
            assert conflict.base is None
            assert device.count(Task, title="new") == 1
            assert device.count(Task, title="gone") == 0
            assert device.get(Task, names[2]).title == "edited while deleted"
            (person,) = device.find(Person)
            assert int(person.visits) == 3
        done = {operation.id for operation in replica.operations(status="completed")}
        assert done >= set(pending)
    with machine.on() as replica:
        settled(replica, peer)


def test_the_branches_part_in_the_middle_of_what_the_peer_lacks(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, notes="0")
    with machine.on() as replica:
        for number in range(1, 4):
            replica.get(Task, name).notes.append(str(number))
    machine.lose(peer, appending(name, "a"))
    with machine.on() as replica:
        task = replica.get(Task, name)
        task.notes.insert(2, "b")
        task.notes.insert(0, "c")
        settled(replica, peer)
        assert str(task.notes) == str(peer.get(Task, name).notes) == "c01b23a"


def test_a_third_device_gets_both_branches(machine: Machine, peer: Replica, third: Replica) -> None:
    name = machine.start(peer, notes="0")
    exchange(peer, third)
    machine.lose(peer, appending(name, "a"))
    with machine.on() as replica:
        replica.get(Task, name).notes.append("b")
        settled(replica, peer)
        settled(third, peer)
        settled(third, replica)
        assert sorted(str(third.get(Task, name).notes)) == ["0", "a", "b"]


def test_branches_that_were_both_sent_are_reported_and_end_no_session(
    machine: Machine, peer: Replica, third: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    name = machine.start(peer, notes="0")
    exchange(peer, third)
    machine.lose(peer, appending(name, "a"))
    with machine.on() as replica:
        task = replica.get(Task, name)
        task.notes.append("b")
        exchange(replica, third)
        report = exchange(replica, peer)
        assert not report.proven_equal
        assert report.left_end is not None
        assert report.left_end.code == "bye"
        assert str(task.notes) == "0b"
        task.notes.append("c")
        assert exchange(replica, third).proven_equal
        assert str(third.get(Task, name).notes) == "0bc"
        assert exchange(replica, peer).left_end == report.left_end
    assert "somebody else wrote under our author" in caplog.text


NAMED_ACTS = st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=5)


@settings(max_examples=40)
@given(
    shared=st.lists(st.sampled_from(sorted(ACTS)), max_size=4),
    sent=st.integers(0, 4),
    lost=NAMED_ACTS,
    own=st.lists(NAMED_ACTS, min_size=1, max_size=3),
    together=st.booleans(),
)
def test_any_two_branches_come_together(
    *, shared: list[str], sent: int, lost: list[str], own: list[list[str]], together: bool
) -> None:
    """Two branches of random acts, ours by one author or several.

    Args:
        shared: before the branches part.
        sent: after so many of the shared acts the peer was told.
        lost: the branch that only the peer holds.
        own: our own branch, by author: each but the last ended uncleanly.
        together: the last author's acts are one transaction.
    """
    with tempfile.TemporaryDirectory() as place, memory(99) as peer, memory(50) as third:
        machine = Machine(Path(place))
        with machine.on() as replica:
            name = replica.create(Task, title="t", notes="n😀n", tags=["x"], votes=1).id
            for at, act in enumerate(shared):
                if at == sent:
                    exchange(replica, peer)
                _do(replica, name, act)
        machine.lose(peer, lambda replica: _do(replica, name, *lost))
        for acts in own[:-1]:
            with machine.crashing() as replica:
                _do(replica, name, *acts)
        with machine.on() as replica:
            with replica.transaction() if together else contextlib.nullcontext():
                _do(replica, name, *own[-1])
            settled(replica, peer)
            settled(third, replica)
            done = [*shared, *lost, *(act for acts in own for act in acts)]
            assert replica._state.totals.refused == peer._state.totals.refused == 0
            assert unfinished(replica) == []
            if "delete" not in done:
                assert int(peer.get(Task, name).votes) == 1 + 2 * done.count("count")


def _do(replica: Replica, name: str, *acts: Act | str) -> None:
    for act in acts:
        with contextlib.suppress(RecordDeletedError):  # the next act may restore it
            (ACTS[act] if isinstance(act, str) else act)(replica, _record(replica, name))


def _record(replica: Replica, name: str) -> Task:
    """The record, also where it is deleted."""
    return bind(Task, replica._records, document_key(DEFAULT_PARTITION, "Task", RecordId(name)))


def test_what_was_written_after_an_unclean_end_is_written_again_with_the_branch(
    machine: Machine, peer: Replica
) -> None:
    name = machine.start(peer, title="t", notes="middle")
    machine.lose(peer, appending(name, " lost"))
    with machine.crashing() as replica:
        replica.get(Task, name).notes.insert(0, "kept ")
    with machine.on() as replica:
        replica.create(Task, title="under the next author")
        settled(replica, peer)
        assert str(peer.get(Task, name).notes) == "kept middle lost"
        assert peer.count(Task, title="under the next author") == 1
        assert unfinished(replica) == []
        replica.create(Task, title="later")
        settled(replica, peer)


EDITS: dict[str, list[list[Act]]] = {
    "plain": [
        [lambda _, task: setattr(task, "title", "a")],
        [lambda _, task: setattr(task, "title", "b")],
        [lambda _, task: setattr(task, "title", "c")],
    ],
    "ask": [
        [lambda _, task: setattr(task, "due", date(2025, 1, 1))],
        [lambda _, task: setattr(task, "due", date(2025, 1, 2))],
        [lambda _, task: setattr(task, "due", date(2025, 1, 3))],
    ],
    "counter": [
        [lambda _, task: task.votes.increment(10)],
        [lambda _, task: task.votes.increment(100)],
        [lambda _, task: task.votes.decrement(1000)],
    ],
    "set": [
        [lambda _, task: task.tags.add("a"), ACTS["discard"], lambda _, task: task.tags.add("both")],
        [lambda _, task: task.tags.add("a"), ACTS["add"], lambda _, task: task.tags.discard("both")],
        [lambda _, task: task.tags.discard("a"), ACTS["add"], lambda _, task: task.tags.add("c")],
    ],
    "text": [
        [lambda _, task: task.notes.insert(4, "😀ab"), ACTS["cut"]],
        [lambda _, task: task.notes.insert(4, "cd"), lambda _, task: task.notes.delete(2, 1), ACTS["append"]],
        [lambda _, task: task.notes.delete(3, 2), ACTS["insert"]],
    ],
    "deletion": [
        [ACTS["delete"]],
        [ACTS["restore"], ACTS["delete"]],
        [ACTS["restore"], ACTS["title a"]],
    ],
}
"""What three generations of one's own authors do to one record after a fork, by the kind of field."""


@pytest.mark.parametrize("authors", [2, 3])
@pytest.mark.parametrize("kind", sorted(EDITS))
def test_a_record_that_several_authors_of_ours_wrote_after_the_fork(
    machine: Machine, peer: Replica, third: Replica, kind: str, authors: int
) -> None:
    """The branch that the peer holds leaves this record alone, so what is seen must not change at all."""
    name = machine.start(peer, title="t", notes="middle", tags=["x"], votes=1, due=date(2024, 12, 31))
    machine.lose(peer, lambda replica: replica.create(Task, title="lost"))
    for acts in EDITS[kind][: authors - 1]:
        with machine.crashing() as replica:
            _do(replica, name, *acts)
    with machine.on() as replica:
        _do(replica, name, *EDITS[kind][authors - 1])
        before = seen_of(replica, name)
        settled(replica, peer)
        settled(third, peer)
        assert replica.count(Task, title="lost") == 1
        assert seen_of(replica, name) == seen_of(peer, name) == seen_of(third, name) == before
        assert unfinished(replica) == []
        _do(replica, name, "restore", "count")
        settled(replica, peer)
        assert state_of(peer).totals.refused == state_of(replica).totals.refused == 0


def test_a_record_that_several_authors_of_ours_and_the_lost_branch_wrote(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, title="t", notes="middle", tags=["x"], votes=1)
    machine.lose(
        peer,
        appending(name, " lost"),
        lambda replica: replica.get(Task, name).votes.increment(5),
        lambda replica: setattr(replica.get(Task, name), "due", date(2025, 5, 5)),
    )
    for step in (10, 100):
        with machine.crashing() as replica:
            task = replica.get(Task, name)
            task.notes.insert(0, f"{step} ")
            task.votes.increment(step)
            task.votes.increment(step)
            task.due = date(2025, 1, step % 9)
    with machine.on() as replica:
        replica.get(Task, name).title = "edited"
        settled(replica, peer)
        for device in (replica, peer):
            task = device.get(Task, name)
            assert (str(task.notes), int(task.votes), task.title) == ("100 10 middle lost", 226, "edited")
            (conflict,) = device.conflicts()
            assert [item.value for item in conflict.candidates] == [task.due, date(2025, 5, 5)]
            assert conflict.base is None
            assert conflict.candidates[0].device_id == conflict.candidates[1].device_id


def test_a_record_that_was_created_after_the_fork_and_edited_under_the_next_author(
    machine: Machine, peer: Replica
) -> None:
    machine.start(peer, title="shared")
    machine.lose(peer, lambda replica: replica.create(Person, email="a@b", name="lost", visits=1))
    with machine.crashing() as replica:
        name = replica.create(Task, title="new", notes="n", tags=["x"], votes=1, due=date(2025, 1, 1)).id
        person = replica.create(Person, email="a@b", name="kept", visits=2)
    with machine.crashing() as replica:
        task, person = replica.get(Task, name), replica.find(Person)[0]
        task.title, task.due = "edited", date(2025, 1, 2)
        task.notes.append("ew")
        task.tags.discard("x")
        person.name = "edited"
    with machine.on() as replica:
        replica.get(Task, name).votes.increment(10)
        replica.find(Person)[0].visits.increment(20)
        before = seen_of(replica, name)
        settled(replica, peer)
        assert seen_of(replica, name) == seen_of(peer, name) == before
        for device in (replica, peer):
            (person,) = device.find(Person)
            assert (int(person.visits), person.name) == (23, "edited")
            assert {item.value for item in device.candidates(person, "name")} == {"edited", "lost"}
            assert device.conflicts() == []
        assert unfinished(replica) == []


def test_a_crash_between_the_discovery_of_a_fork_and_its_settlement(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, notes="middle")
    machine.lose(peer, appending(name, " lost"))
    with machine.crashing() as replica:
        replica.get(Task, name).notes.insert(0, "a ")
        replica.port.own_fork(DEFAULT_PARTITION, author_of(replica), device=device_of(peer))
        replica.get(Task, name).notes.insert(0, "b ")
    with machine.on() as replica:
        replica.get(Task, name).notes.insert(0, "c ")
        settled(replica, peer)
        assert str(replica.get(Task, name).notes) == "c b a middle lost"
        assert unfinished(replica) == []


def test_what_is_written_between_the_discovery_of_a_fork_and_its_settlement(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, notes="middle")
    machine.lose(peer, appending(name, " lost"))
    with machine.on() as replica:
        replica.get(Task, name).notes.insert(0, "a ")
        replica.port.own_fork(DEFAULT_PARTITION, author_of(replica), device=device_of(peer))
        replica.get(Task, name).notes.insert(0, "b ")
        settled(replica, peer)
        assert str(peer.get(Task, name).notes) == "b a middle lost"
        assert unfinished(replica) == []


def test_text_beside_what_others_wrote_at_the_same_place_stays_where_it_was(
    machine: Machine, peer: Replica, third: Replica
) -> None:
    """Among rivals at one place the author decides; a new author must not change what the user sees."""
    name = machine.start(peer, notes="[]")
    exchange(peer, third)
    third.get(Task, name).notes.insert(1, "third")
    machine.lose(peer, lambda replica: replica.create(Task, title="lost"))
    with machine.crashing() as replica:
        replica.get(Task, name).notes.insert(1, "own")
        replica.port.accept_records(third.port.space_records(0)[0])
        overheard = third.port.runs_after(0, replica.port.vector(), bytes_max=10_000).runs
        assert replica.port.accept_runs([run for run, *_ in overheard]).entries == 1
    with machine.on() as replica:
        notes = replica.get(Task, name).notes
        at = str(notes).index("own")
        notes.insert(at + 3, "!")
        notes.insert(at, "?")
        before = str(notes)
        settled(replica, peer)
        settled(third, peer)
        assert str(replica.get(Task, name).notes) == str(third.get(Task, name).notes) == before


def test_claims_that_nobody_proves_draw_only_so_many_authors(machine: Machine, peer: Replica) -> None:
    drawn: list[Author] = []
    for _ in range(3):
        with machine.on() as replica:
            for claim in (replica.port.own_ahead, partial(replica.port.own_fork, device=device_of(peer))) * 3:
                claim(DEFAULT_PARTITION, author_of(replica))
                replica.port.end_doubt(device_of(peer))
                drawn.append(author_of(replica))
            replica.create(Task, title="mine")
    assert len(set(drawn[:6])) == 6
    assert len(set(drawn[6:12])) == 6, "the machine's clock is a day later at each open"
    with machine.on() as replica:
        for _ in range(CLAIMS_MAX + 3):
            replica.port.own_ahead(DEFAULT_PARTITION, author_of(replica))
            drawn.append(author_of(replica))
        assert len(set(drawn[18:])) == CLAIMS_MAX
        settled(replica, peer)
        assert peer.count(Task, title="mine") == 3


def test_a_proof_is_believed_also_after_too_many_claims(machine: Machine, peer: Replica) -> None:
    name = machine.start(peer, notes="middle")
    machine.lose(peer, appending(name, " lost"))
    with machine.on() as replica:
        author = author_of(replica)
        replica.port.own_ahead = lambda partition, author: None  # type: ignore[method-assign]  # not believed
        exchange(replica, peer)
        assert str(replica.get(Task, name).notes) == "middle lost"
        assert author_of(replica) != author
    machine.rewind()
    with machine.on() as replica:
        for _ in range(CLAIMS_MAX):
            replica.port.own_ahead(DEFAULT_PARTITION, author_of(replica))
        kept = author_of(replica)
        replica.port.own_ahead(DEFAULT_PARTITION, kept)
        replica.get(Task, name).notes.insert(0, "kept ")
        assert author_of(replica) == kept
        settled(replica, peer)
        assert str(peer.get(Task, name).notes) == "kept middle lost"
        replica.port.own_ahead(DEFAULT_PARTITION, author_of(replica))
        assert author_of(replica) != kept


@pytest.fixture
def one_author(monkeypatch: pytest.MonkeyPatch) -> Author:
    """The first author that every device draws from now on, as if they had met a collision."""
    shared, salts = Author(777), dict[bytes, bytes]()

    def checked(public_key: bytes, salt: bytes) -> Author:
        return shared if salts.get(public_key) == salt else author_of_key(public_key, salt)

    def drawn(public_key: bytes, salt: bytes) -> Author:
        salts.setdefault(public_key, salt)
        return checked(public_key, salt)

    monkeypatch.setattr("crdt_sync.core.records.author_of", checked)
    monkeypatch.setattr("crdt_sync.replica.lease.author_of", drawn)
    return shared


@pytest.fixture
def twins(peer: Replica, one_author: Author, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two devices under one author that both wrote; the binding of the first one holds."""
    both = [on_disk(tmp_path, name=f"{name}.db", state=name, seed=seed) for seed, name in enumerate("ab", 1)]
    with both[0], both[1]:
        for name, replica in zip("ab", both, strict=True):
            assert author_of(replica) == one_author
            task = replica.create(Task, title=name, notes=name, votes=1)
            task.title = f"{name} edited"
        both.sort(key=lambda replica: state_of(replica).records.binding(one_author) or b"")
        yield both[0], both[1]


def test_the_loser_of_an_author_writes_again_what_nobody_has(
    twins: tuple[Replica, Replica], peer: Replica, one_author: Author
) -> None:
    winner, loser = twins
    settled(winner, peer)
    settled(loser, peer)
    settled(winner, peer)
    assert author_of(winner) == one_author
    assert author_of(loser) != one_author
    assert sorted(task.title for task in winner.find(Task)) == ["a edited", "b edited"]
    assert unfinished(winner) == unfinished(loser) == []
    winner.create(Task, title="later")
    loser.create(Task, title="later")
    settled(winner, peer)
    settled(loser, peer)
    assert loser.count(Task, title="later") == 2


def test_the_loser_of_an_author_goes_on_after_a_crash(
    twins: tuple[Replica, Replica], peer: Replica, one_author: Author
) -> None:
    winner, loser = twins
    settled(winner, peer)
    accept_records(state_of(loser), peer.port.space_records(0)[0], gone=print, back=print)  # and no further
    assert author_of(loser) == one_author
    loser.create(Task, title="refused")
    author = author_of(loser)
    refused = EntryStatus(
        partition="", author=author, sequence=3, kind=StatusKind.REFUSED, code="signature", reason="bound elsewhere"
    )
    loser.port.acknowledged(state_of(peer).device() or DeviceId(""), {}, [refused])
    assert len(list(loser.operations(status="failed"))) == 1
    settled(loser, peer)
    assert peer.count(Task) == 3
    assert unfinished(loser) == []


def test_what_the_loser_of_an_author_had_sent_stays_where_it_is(
    twins: tuple[Replica, Replica], peer: Replica, one_author: Author
) -> None:
    winner, loser = twins
    settled(loser, peer)
    loser.create(Task, title="unsent")
    peer.port.accept_records(winner.port.space_records(0)[0])
    settled(loser, peer)
    assert author_of(loser) != one_author
    assert peer.count(Task) == 2
    assert unfinished(loser) == []


def test_a_claim_that_nothing_follows_holds_our_entries_back_for_its_session_only() -> None:
    with memory(1) as replica, memory(2) as peer:
        replica.create(Task, title="mine")
        replica.port.own_fork(DEFAULT_PARTITION, author_of(replica), device=device_of(peer))
        assert replica.port.runs_after(0, {}, bytes_max=10_000).runs == ()
        replica.port.end_doubt(device_of(peer))
        exchange(replica, peer)
        assert peer.count(Task, title="mine") == 1
