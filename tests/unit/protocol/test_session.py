"""Two sessions without a network: what is sent, once, in which order, and when both know that they are equal."""

from __future__ import annotations

import pytest

from crdt_sync.core.entry import decode_run
from crdt_sync.core.ids import Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.events import (
    Acknowledged,
    AllProven,
    Drained,
    Ended,
    PeerReady,
    ProvenEqual,
    RecordsReceived,
    RunsReceived,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import StatusKind
from crdt_sync.protocol.states import Phase
from crdt_sync.protocol.vectors import vector_hash
from tests.unit.protocol.replicas import FakeReplica, Pair, make_end


def two(*, records: int = 1) -> tuple[FakeReplica, FakeReplica]:
    left, right = FakeReplica(1), FakeReplica(2)
    for replica in (left, right):
        replica.records = [bytes((index % 256, index // 256)) * 50 for index in range(records)]
    return left, right


def test_empty_replicas_are_proven_equal() -> None:
    pair = Pair(*two(records=0))
    pair.settle()
    for end in pair.ends():
        assert end.session.state is Phase.LIVE
        assert end.of(AllProven) == [AllProven(token=None)]
        assert end.of(Drained) == [Drained()]


def test_what_each_side_has_reaches_the_other_in_one_round_trip_and_is_proven() -> None:
    left, right = two()
    left.write("a=1", "b=2")
    right.write("b=3", "c=4")
    pair = Pair(left, right)
    pair.settle()
    assert pair.equal()
    assert pair.flights == 3  # hello with vectors; runs; acknowledgements with fingerprints
    for end in pair.ends():
        assert end.session.state is Phase.LIVE
        assert end.of(ProvenEqual) == [
            ProvenEqual(
                partition="", vector_hash=vector_hash(left.vector()[""]), fingerprint=left.fingerprint(""), token=None
            )
        ]
        assert end.ended is None


def test_entries_are_counted_once_though_the_peer_holds_what_comes_before() -> None:
    left, right = two()
    left.write("a=1", "b=2")
    Pair(left, right).settle()
    pair = Pair(left, right)
    pair.settle()
    left.write("a=2")
    pair.left.session.wake()
    pair.settle()
    assert pair.equal()
    assert pair.left.session.entries_out == 1


def test_a_run_that_begins_with_what_is_held_is_in_flight_from_what_is_not() -> None:
    """What a session ends at is told by it."""
    left, right = two()
    left.write("a=1", "b=2", "c=3")
    right._append("", left.author, [b"a=1"])
    pair = Pair(left, right)
    pair.pump(pair.right, pair.to_left)
    pair.pump(pair.left, pair.to_right)
    for frame in pair.to_left:
        pair.left.session.receive(frame)
    pair.pump(pair.left, pair.to_right)
    flight = pair.left.session.sending.flight
    assert flight is not None
    assert (flight.first, flight.last) == (2, 3)


def test_the_hello_tells_who_speaks_and_when() -> None:
    pair = Pair(*two())
    pair.settle()
    (ready,) = pair.left.of(PeerReady)
    assert isinstance(ready, PeerReady)
    assert (ready.hello.replica_id, ready.hello.epoch) == (pair.right.replica.replica_id, bytes(8))
    assert ready.hello.time_ms == 10**12
    assert pair.left.session.hello == ready.hello


def test_repr_is_a_status_line() -> None:
    pair = Pair(*two())
    pair.left.replica.write("a=1")
    pair.settle()
    device = pair.left.session.peer.device_id
    assert repr(pair.left.session) == f"<session to {device} live, sent 1 acked 1, received 0 persisted 0>"


@pytest.mark.parametrize("counts", [(3, 0), (0, 3), (7, 4), (200, 0), (200, 201)])
def test_missing_records_come_before_any_run(counts: tuple[int, int]) -> None:
    left, right = two(records=3)
    left.records += [b"left %d" % index for index in range(counts[0])]
    right.records += [b"right %d" % index for index in range(counts[1])]
    left.write("a=1")
    right.write("b=1")
    pair = Pair(left, right)
    pair.settle()
    assert pair.equal()
    assert sorted(left.records) == sorted(right.records)
    for end, new in ((pair.left, counts[1]), (pair.right, counts[0])):
        received = [event for event in end.seen if isinstance(event, RecordsReceived | RunsReceived)]
        assert isinstance(received[-1], RunsReceived)
        assert sum(len(event.records) for event in received[:-1] if isinstance(event, RecordsReceived)) == new


def test_records_that_come_up_later_travel_once_and_not_back() -> None:
    pair = Pair(*two())
    pair.settle()
    pair.left.replica.records.append(b"new")
    pair.left.session.wake()
    pair.settle()
    pair.right.session.wake()
    pair.settle()
    assert pair.right.of(RecordsReceived) == [RecordsReceived(records=(b"new",))]
    assert pair.left.of(RecordsReceived) == []


def test_many_authors_need_no_list_where_nothing_changed() -> None:
    left, right = two()
    for index in range(300):
        left.write(f"a={index}", author=Author(left.author + index + 1))
    Pair(left, right).settle()
    again = Pair(left, right)
    again.settle()
    assert again.left.session.state is Phase.LIVE
    assert again.left.bytes_sent < 150
    right.write("b=1")
    changed = Pair(left, right)
    changed.settle()
    assert changed.equal()
    assert changed.flights == 4  # one more, for the vectors


@pytest.mark.parametrize("many", ["left", "right"])
def test_one_long_and_one_short_vector_meet(many: str) -> None:
    left, right = two()
    rich = left if many == "left" else right
    for index in range(100):
        rich.write(f"a={index}", author=Author(rich.author + index + 1))
    pair = Pair(left, right)
    pair.settle()
    assert pair.equal()
    assert pair.left.session.state is pair.right.session.state is Phase.LIVE


def test_runs_are_sent_once_and_never_back() -> None:
    left, right = two()
    for index in range(50):
        left.write(f"l{index}=1")
        right.write(f"r{index}=1")
    pair = Pair(left, right)
    pair.settle()
    for round_ in range(5):
        left.write(f"live{round_}=1")
        for end in pair.ends():
            end.session.wake()
        pair.settle()
    assert pair.equal()
    for end, other in ((pair.left, right), (pair.right, left)):
        assert len(end.runs) == len(set(end.runs))
        assert {decode_run(run).author for run in end.runs} == {other.author}


def test_a_third_replicas_runs_are_relayed_but_not_to_where_they_are() -> None:
    left, right = two()
    third = FakeReplica(3)
    third.write("t=1", "u=2")
    Pair(left, third).settle()
    pair = Pair(left, right)
    pair.settle()
    Pair(right, third).settle()
    assert right.vector() == third.vector() == left.vector()
    assert [decode_run(run).author for run in pair.right.runs] == [third.author]


def test_only_what_is_missing_travels_after_a_cut() -> None:
    left, right = two()
    limits = WireLimits(batch_bytes_max=400)
    for index in range(40):
        left.write(f"k{index}=" + "v" * 80)
    first = Pair(left, right, limits=limits)
    for _ in range(2):
        first.flight()
    frames = first.left.session.data_to_send()
    assert frames == []
    cut = len(right.log)
    assert cut == 40
    left.write(*[f"n{index}=1" for index in range(3)])
    second = Pair(left, right, limits=limits)
    second.settle()
    assert len(second.right.runs) == 1
    assert second.equal()


def test_a_cut_in_the_middle_of_a_stream_loses_and_repeats_nothing() -> None:
    left, right = two()
    for index in range(40):
        left.write(f"k{index}=" + "v" * 80)
    limits = WireLimits(batch_bytes_max=400)
    received: list[bytes] = []
    for cut_after in range(1, 30):
        pair = Pair(left, right, limits=limits)
        pair.flight()
        sent = 0
        while sent < cut_after and (frames := pair.left.session.data_to_send()):
            for frame in frames:
                pair.right.session.receive(frame)
                sent += 1
            pair.right.handle()
        received += pair.right.runs
    Pair(left, right).settle()
    assert left.vector() == right.vector()
    assert len(received) == len(set(received)) == 40


def test_nothing_is_acknowledged_before_it_is_persisted() -> None:
    left, right = two()
    left.write("a=1")
    pair = Pair(left, right)
    pair.right.hold = True
    pair.settle()
    assert pair.left.of(Drained) == []
    acked = [event for event in pair.left.of(Acknowledged) if isinstance(event, Acknowledged) and event.vector]
    assert acked == []
    pair.right.hold = False
    pair.settle()
    (told,) = [event for event in pair.left.of(Acknowledged) if isinstance(event, Acknowledged) and event.vector]
    assert told.vector == left.vector()
    assert pair.left.session.drained


def test_batches_are_persisted_in_order() -> None:
    left, right = two()
    left.write("a=1")
    pair = Pair(left, right)
    pair.right.hold = True
    pair.settle()
    with pytest.raises(LocalProtocolError):
        pair.right.session.persisted(2)
    pair.right.session.persisted(1)
    with pytest.raises(LocalProtocolError):
        pair.right.session.persisted(1)


def test_refused_entries_are_told_with_their_reason() -> None:
    left, right = two()
    right.refuse = {b"bad=1"}
    left.write("good=1", "bad=1", "after=1")
    pair = Pair(left, right)
    pair.settle()
    told = [event for event in pair.left.of(Acknowledged) if isinstance(event, Acknowledged) and event.statuses]
    (status,) = told[0].statuses
    assert (status.sequence, status.kind, status.code, status.reason) == (2, StatusKind.REFUSED, "screening", "because")
    assert told[0].vector[""][left.author].sequence == 1
    assert pair.left.of(AllProven) == []  # the vectors are not equal
    assert pair.left.ended is None
    left.write("more=1", partition="elsewhere")
    pair.left.session.wake()
    pair.settle()
    assert "elsewhere" in right.vector()


def test_credit_bounds_what_is_not_persisted() -> None:
    left, right = two()
    limits = WireLimits(credit_bytes=64 * 1024, batch_bytes_max=16 * 1024)
    noise = FakeReplica(9).space.hex()
    for index in range(400):
        left.write(f"k{index}=" + noise * 16)
    pair = Pair(left, right, limits=limits)
    pair.right.hold = True
    pair.settle()
    waiting = sum(len(run) for event in pair.right.held if isinstance(event, RunsReceived) for run in event.runs)
    assert 48 * 1024 < waiting <= (64 + 17) * 1024
    pair.right.hold = False
    pair.settle()
    assert pair.equal()
    assert pair.left.session.state is Phase.LIVE


def test_the_largest_entry_travels_in_fragments_through_a_small_window() -> None:
    left, right = two()
    left.write("big=" + FakeReplica(5).space.hex() * (ENTRY_LIMITS.entry_bytes_max // 64 - 1))
    left.write("small=1")
    pair = Pair(left, right, limits=WireLimits(frame_bytes_max=4096, credit_bytes=64 * 1024))
    pair.settle()
    assert pair.equal()
    assert pair.left.session.state is Phase.LIVE


def test_live_edits_are_not_followed_by_fingerprints() -> None:
    pair = Pair(*two())
    pair.settle()
    computed = pair.left.replica.fingerprints_computed
    for index in range(5):
        pair.left.replica.write(f"a={index}")
        pair.left.session.wake()
        pair.settle()
    assert pair.left.replica.fingerprints_computed == computed
    assert pair.equal()


def test_a_requested_proof_is_at_or_after_the_request() -> None:
    left, right = two()
    pair = Pair(left, right)
    pair.settle()
    left.write("a=1")
    right.write("b=1")
    token = pair.left.session.request_proof()
    for end in pair.ends():
        end.session.wake()
    pair.settle()
    assert pair.left.of(AllProven)[-1] == AllProven(token=token)
    proven = pair.left.of(ProvenEqual)[-1]
    assert isinstance(proven, ProvenEqual)
    assert proven.vector_hash == vector_hash(left.vector()[""]) == vector_hash(right.vector()[""])
    again = pair.left.session.request_proof()
    pair.settle()
    assert pair.left.of(AllProven)[-1] == AllProven(token=again)
    both = (pair.left.session.request_proof(), pair.right.session.request_proof())
    pair.settle()
    assert (pair.left.of(AllProven)[-1], pair.right.of(AllProven)[-1]) == tuple(AllProven(token=t) for t in both)


def test_a_proof_is_not_given_for_what_has_not_arrived() -> None:
    left, right = two()
    pair = Pair(left, right)
    pair.settle()
    pair.right.hold = True
    left.write("a=1")
    pair.left.session.wake()
    pair.left.session.request_proof()
    pair.settle()
    assert pair.left.of(AllProven) == [AllProven(token=None)]
    pair.right.hold = False
    pair.settle()
    assert pair.left.of(AllProven)[-1] == AllProven(token=1)


def test_proof_is_found_while_one_side_keeps_writing() -> None:
    left, right = two()
    pair = Pair(left, right)
    pair.settle()
    token = pair.right.session.request_proof()
    for index in range(50):
        left.write(f"busy{index}=1")
        pair.left.session.wake()
        pair.flight()
        pair.tick(10)
        if AllProven(token=token) in pair.right.seen:
            break
    assert AllProven(token=token) in pair.right.seen
    assert index < 40


def test_partitions_are_proven_one_by_one() -> None:
    left, right = two()
    left.write("a=1", partition="red")
    right.write("b=1", partition="blue")
    pair = Pair(left, right)
    pair.settle()
    proven = {event.partition for event in pair.left.of(ProvenEqual) if isinstance(event, ProvenEqual)}
    assert proven == {"", "red", "blue"}
    assert pair.equal()


def test_restating_makes_the_peer_plan_anew() -> None:
    left, right = two()
    left.write("a=1", "b=2")
    pair = Pair(left, right)
    pair.settle()
    # The right side gives up what it held of the left one's chain, as after a settled fork.
    for store in (right.entries, right.hashes):
        del store["", left.author]
    right.log.clear()
    pair.right.session.restate()
    pair.settle()
    assert left.vector() == right.vector()
    assert len(pair.right.runs) == 2


@pytest.mark.parametrize("code", [ErrorCode.BYE, ErrorCode.OVERLOADED])
def test_closing_is_told_with_its_reason(code: ErrorCode) -> None:
    pair = Pair(*two())
    pair.settle()
    pair.left.session.close(code, "enough", retry_after_s=2.5)
    pair.settle()
    text, retry = ("", None) if code is ErrorCode.BYE else ("enough", 2.5)
    assert pair.left.ended == Ended(code=code, text="enough", retry_after_s=2.5, by_peer=False)
    assert pair.right.ended == Ended(code=code, text=text, retry_after_s=retry, by_peer=True)
    for end in pair.ends():
        assert end.session.state is Phase.ENDED
        assert end.session.data_to_send() == []
        end.session.receive(b"anything")
        end.session.wake()
        end.session.persisted(7)
        end.session.repaired("")
        end.session.tick(10**13)
        assert end.session.events() == []


def test_a_silent_peer_is_given_up() -> None:
    end = make_end(FakeReplica(1), initiator=True, now_ms=1_000)
    assert end.session.tick_due_ms == 11_001
    end.session.tick(11_000)
    assert end.session.events() == []
    end.session.tick(11_001)
    (ended,) = end.session.events()
    assert isinstance(ended, Ended)
    assert ended.code is ErrorCode.TIMEOUT
    assert end.session.tick_due_ms is None


def test_versions_without_overlap_end_with_a_code() -> None:
    pair = Pair(*two())
    pair.left.session._versions = (3, 4)
    pair.settle()
    assert pair.right.ended is not None
    assert pair.right.ended.code is ErrorCode.VERSION


def test_the_peers_whole_vector_is_told_first() -> None:
    left, right = two()
    left.write("a=1")
    right.write("b=1")
    Pair(left, right).settle()
    expected = right.vector()
    left.write("c=1")
    pair = Pair(left, right)
    pair.settle()
    first, second = (event for event in pair.left.seen if isinstance(event, Acknowledged))
    assert first.vector[""][right.author] == expected[""][right.author]
    assert first.vector[""][left.author].sequence == 1
    assert second.vector == {"": {left.author: left.vector()[""][left.author]}}
