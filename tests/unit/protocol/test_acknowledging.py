"""What an acknowledgement says, and what it is taken for: of what was applied only, in parts where it is long."""

from __future__ import annotations

import copy

import pytest

from crdt_sync.core.entry import decode_run
from crdt_sync.core.ids import Author
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.comparing import Proof
from crdt_sync.protocol.events import Acknowledged, Drained, OwnFork, RunsReceived
from crdt_sync.protocol.flow import Inflow
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import decode_message
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, RunPage, StatusKind, Vector
from crdt_sync.protocol.states import Phase
from tests.unit.protocol.replicas import End, FakeReplica, Pair


def live(left: FakeReplica, right: FakeReplica, *, limits: WireLimits | None = None) -> Pair:
    pair = Pair(left, right, limits=limits)
    pair.settle()
    assert pair.left.session.state is Phase.LIVE
    for end in pair.ends():
        end.seen.clear()
    return pair


def acknowledged(end: End) -> list[Acknowledged]:
    return [event for event in end.seen if isinstance(event, Acknowledged)]


def test_an_entry_that_the_peer_parked_as_another_branch_is_not_acknowledged() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = live(left, right)
    clone = copy.deepcopy(left)
    clone.write("clone=1")
    Pair(clone, right).settle()
    left.write("left=1")
    pair.left.session.wake()
    pair.settle()
    (told,) = acknowledged(pair.left)
    assert [status.code for status in told.statuses] == ["forked"]
    assert told.vector == {}
    assert len(pair.left.of(OwnFork)) == 1


def test_of_a_forked_author_nothing_more_is_sent_however_often_its_position_is_told() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = live(left, right, limits=WireLimits(batch_bytes_max=200))
    clone = copy.deepcopy(left)
    clone.write("clone=1")
    Pair(clone, right).settle()

    def park(data: bytes) -> tuple[EntryStatus, ...]:
        run = decode_run(data)
        return (right._status(run, run.first_sequence, StatusKind.PARKED, "forked"),)

    right.apply = park  # type: ignore[method-assign]  # the test takes a method's place
    for index in range(6):
        left.write(f"left{index}=" + "v" * 80)
    pair.left.session.wake()
    pair.right.hold = True
    pair.settle()
    assert len(pair.right.held) > 1, "several batches are to be told of"
    later = pair.right.held[1:]
    del pair.right.held[1:]
    pair.right.persist()
    pair.settle()
    pair.right.held, pair.right.hold = later, False
    pair.settle()
    received = len(pair.right.runs)
    left.write("later=1")
    pair.left.session.wake()
    pair.settle()
    assert len(pair.right.runs) == received


def test_what_was_not_applied_and_not_said_why_is_not_acknowledged() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = live(left, right)
    right.apply = lambda data: ()  # type: ignore[method-assign]  # the test takes a method's place
    left.write("a=1")
    pair.left.session.wake()
    pair.settle()
    (told,) = acknowledged(pair.left)
    assert told.vector[""][left.author].sequence == 0


def test_an_acknowledgement_corrects_its_own_batches_only() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    right.refuse = {b"bad=1"}
    pair = live(left, right)
    left.write("good=1", "bad=1")
    pair.left.session.wake()
    pair.settle()
    left.write("more=1", partition="elsewhere")
    pair.left.session.wake()
    pair.settle()
    refused, later = acknowledged(pair.left)
    assert list(refused.vector) == [""]
    assert list(later.vector) == ["elsewhere"]


def test_a_long_acknowledgement_is_owed_until_its_last_part_is_out() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    limits = WireLimits(statuses_max=350)
    pair = live(left, right, limits=limits)
    pair.right.hold = True
    left.write("a=1")
    pair.left.session.wake()
    pair.settle()
    (received,) = pair.right.held
    assert isinstance(received, RunsReceived)
    pair.right.held.clear()
    statuses = tuple(
        EntryStatus(
            partition="",
            author=left.author,
            sequence=sequence,
            kind=StatusKind.REFUSED,
            code="screening",
            reason=f"{sequence:200}",
        )
        for sequence in range(1, 1001)
    )
    session = pair.right.session
    session.persisted(received.batch, ApplyOutcome(statuses=statuses))
    parts: list[bool] = []
    while frames := session.data_to_send():
        parts.append(session.owes_acknowledgement)
        for frame in frames:
            pair.left.session.receive(frame)
            pair.left.handle()
    assert parts == [True, True, False]
    assert pair.left.ended is None
    assert [len(told.statuses) for told in acknowledged(pair.left)] == [350, 350, 300]


def test_every_time_that_all_is_acknowledged_is_told() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = live(left, right)
    for index in range(2):
        left.write(f"a={index}")
        pair.left.session.wake()
        pair.settle()
    assert pair.left.of(Drained) == [Drained(), Drained()]


def test_a_request_for_proof_takes_the_place_of_one_that_is_not_out_yet() -> None:
    pair = live(FakeReplica(1), FakeReplica(2))
    tokens = [pair.left.session.request_proof() for _ in range(3)]
    assert [message for message in pair.left.session._queue if isinstance(message, Proof)] == [Proof(token=tokens[-1])]


def test_a_side_that_has_to_receive_more_is_not_caught_up_though_it_has_sent_everything() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    right.write("a=1")
    Pair(left, right).settle()
    right.write("b=1")
    pair = Pair(left, right)
    pair.flight()
    assert pair.left.session.data_to_send() == []
    assert pair.left.session.drained
    assert pair.left.session.state is Phase.STREAMING


def test_a_source_whose_cursor_stands_still_is_a_mistake_of_ours() -> None:
    asked = iter(range(100))

    class Stuck(FakeReplica):
        def runs_after(self, cursor: int, known: Vector, *, bytes_max: int) -> RunPage:
            next(asked)
            return RunPage((), cursor, True)

    pair = Pair(Stuck(1), FakeReplica(2))
    with pytest.raises(LocalProtocolError, match="cursor"):
        pair.settle()


def test_long_lists_pass_through_a_small_window() -> None:
    """Listings and requests cost credit, and whoever has worked them off gives it back."""
    left, right = FakeReplica(1), FakeReplica(2)
    left.write(*[f"k{index}=value" for index in range(3_000)])
    Pair(left, right).settle()
    right.documents = dict.fromkeys(right.documents, b"old")
    pair = Pair(left, right, limits=WireLimits(credit_bytes=64 * 1024, listing_page_keys=100, want_page_keys=50))
    pair.settle(flights_max=2_000)
    assert pair.equal()
    assert pair.left.session.state is Phase.LIVE


def test_part_of_a_run_is_passed_on_as_it_came_and_both_are_proven_equal() -> None:
    """Whoever refused the end of a run passes all of it on, since its signature covers that; so he holds less."""
    left, right, third = FakeReplica(1), FakeReplica(2), FakeReplica(3)
    left.write("a=1", "bad=1")
    for replica in (right, third):
        replica.refuse.add(b"bad=1")
    ((run, partition, author, _),) = left.log
    right.apply(run)
    right.log.append((run, partition, author, 1))
    pair = Pair(right, third)
    pair.settle()
    assert pair.equal()
    assert {end.session.state for end in pair.ends()} == {Phase.LIVE}


def test_content_that_was_refused_leaves_the_acknowledgement_readable() -> None:
    inflow = Inflow(FakeReplica(1), WireLimits(), window_bytes=1 << 20)
    status = EntryStatus(partition="", author=Author(0), sequence=0, kind=StatusKind.REFUSED, code="screening")
    inflow.persist(inflow.receive_batch(10, ()), (status,))
    (ack,) = inflow.acks()
    assert (ack.batch, ack.corrections) == (1, {})
    assert decode_message(ack.TYPE, ack.payload(), WireLimits()) == ack
