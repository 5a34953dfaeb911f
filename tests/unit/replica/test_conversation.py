"""One conversation, without a channel: what is published when, what ends it, what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crdt_sync import Change, Replica
from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.messages import Bye
from crdt_sync.protocol.opening import Records
from crdt_sync.protocol.wire import encode_frames, join_message
from crdt_sync.replica.conversation import Conversation
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import Task, memory


@pytest.fixture
def one() -> Iterator[Replica]:
    with memory(1) as replica:
        yield replica


@pytest.fixture
def two() -> Iterator[Replica]:
    with memory(2) as replica:
        yield replica


def talking(one: Replica, two: Replica) -> tuple[Conversation, Conversation]:
    """Two conversations that have proven their replicas equal."""
    pair = Conversation(one.port, initiator=True), Conversation(two.port, initiator=False)
    while carry(*pair) | carry(*reversed(pair)):
        pass
    assert all(item.session is not None and item.end is None for item in pair)
    return pair


def carry(source: Conversation, target: Conversation) -> bool:
    """Everything that one side has to say; whether that was anything."""
    moved = False
    while frames := source.data_to_send():
        moved = True
        for frame in frames:
            target.receive(frame)
    return moved


def test_what_is_durable_is_told_though_the_channel_ended_before_the_acknowledgement(
    one: Replica, two: Replica
) -> None:
    left, right = talking(one, two)
    seen: list[Change] = []
    two.observe(seen.append)
    one.create(Task, title="news")
    left.wake()
    carry(left, right)
    right.publish()
    assert seen == [], "it is not acknowledged yet"
    right.lost("the cable was pulled")
    right.publish()
    assert [change.origin for change in seen] == ["remote"]


def test_nothing_is_told_while_a_part_of_the_acknowledgement_is_owed(one: Replica, two: Replica) -> None:
    left, right = talking(one, two)
    seen: list[Change] = []
    two.observe(seen.append)
    one.create(Task, title="news")
    left.wake()
    carry(left, right)
    assert right.session is not None
    session, right.session = right.session, Owing()  # type: ignore[assignment]  # the test's own session
    right.data_to_send()
    right.publish()
    assert seen == []
    right.session = session
    right.data_to_send()
    right.publish()
    assert len(seen) == 1


class Owing:
    """A session whose acknowledgement did not fit into the packet."""

    owes_acknowledgement = True
    entries_out = 0

    def data_to_send(self) -> list[bytes]:
        return [b"another part"]

    def events(self) -> list[Any]:
        return []


def test_a_goodbye_behind_something_that_cannot_be_taken_in_still_ends_it(one: Replica, two: Replica) -> None:
    left, right = talking(one, two)
    messages = (Records(records=(b"garbage",)), Bye())
    packet = b"".join(join_message(message.TYPE, message.payload()) for message in messages)
    for frame in encode_frames(packet, frame_bytes_max=4096):
        left.receive(right._handshake.channel.seal(frame))
    assert left.end is not None
    assert (left.end.code, left.end.by_peer) == (ErrorCode.BYE.value, True)


def test_what_comes_after_the_end_is_not_counted(one: Replica, two: Replica) -> None:
    left, _ = talking(one, two)
    left.close()
    before = (left.traffic.bytes_in, left.traffic.messages_in)
    left.receive(b"more")
    assert (left.traffic.bytes_in, left.traffic.messages_in) == before


def test_the_handshake_is_counted_both_ways(one: Replica, two: Replica) -> None:
    left, right = Conversation(one.port, initiator=True), Conversation(two.port, initiator=False)
    carried = {left: 0, right: 0}
    while left.session is None or right.session is None:
        for source, target in ((left, right), (right, left)):
            frames, source._out = source._out, []
            source.traffic.bytes_out += sum(map(len, frames))
            carried[source] += sum(map(len, frames))
            for frame in frames:
                target.receive(frame)
    total = carried[left] + carried[right] + sum(map(len, [*left._out, *right._out]))
    assert left.traffic.handshake_bytes == right.traffic.handshake_bytes == total


def test_entries_of_a_model_that_nobody_declared_here_wake_who_passes_them_on(one: Replica) -> None:
    one.create(Task, title="for somebody else")
    with Replica.open(":memory:", []) as relay:
        pair = Exchange(one, relay)
        pair.settle()
        woken: list[None] = []
        with relay.port.on_commit(lambda: woken.append(None)):
            one.create(Task, title="and this")
            pair.settle()
        pair.close()
        assert woken
        with memory(3) as end:
            exchange(relay, end)
            assert end.count(Task) == 2


def test_doubts_about_our_own_past_end_with_the_conversation_that_raised_them(one: Replica, two: Replica) -> None:
    left, _ = talking(one, two)
    left._doubts = one.port.own_fork("", Author(1), device=DeviceId(str(two.device_id)))
    assert one._state.doubted
    woken: list[None] = []
    with one.port.on_commit(lambda: woken.append(None)):
        left.lost("the cable was pulled")
    assert not one._state.doubted
    assert woken, "what waited for the settlement may go on"
