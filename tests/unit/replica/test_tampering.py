"""Somebody between two devices who can change what they say: the line ends, and nothing else comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Ack
from crdt_sync.protocol.opening import VectorMessage
from crdt_sync.protocol.wire import encode_frames, join_message
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.ending import PERMANENT_CODES, End
from crdt_sync.replica.set_aside import Fault, doubts
from crdt_sync.security.channel import SEAL_BYTES, Ephemeral, SealedChannel
from crdt_sync.security.handshake import HANDSHAKE_MESSAGES_MAX, HandshakeCode, transcript
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.base import CHANNEL_LIMITS
from tests.unit.replica.devices import Task, memory, store_of

Tamper = Callable[["Between", Conversation, int, bytes], list[bytes]]
"""Given the sender, how many messages it sent before, and the next one: what arrives in its place."""
FORGED = join_message(Ack.TYPE, Ack(batch=1, corrections={}, statuses=()).payload())


def as_it_is(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
    del between, sender, count
    return [data]


class Between:
    """Two conversations, and somebody who passes on what each says."""

    def __init__(self, left: Replica, right: Replica, tamper: Tamper = as_it_is) -> None:
        self.left, self.right = Conversation(left.port, initiator=True), Conversation(right.port, initiator=False)
        self.tamper = tamper
        self.said: dict[Conversation, list[bytes]] = {self.left: [], self.right: []}

    def other(self, end: Conversation) -> Conversation:
        return self.right if end is self.left else self.left

    def carry(self) -> None:
        """Until neither has more to say."""
        while self._turn(self.left) | self._turn(self.right):
            pass

    def _turn(self, sender: Conversation) -> bool:
        moved = False
        while messages := sender.data_to_send():
            moved = True
            for data in messages:
                arriving = self.tamper(self, sender, len(self.said[sender]), data)
                self.said[sender].append(data)
                for item in arriving:
                    self.other(sender).receive(item)
        return moved

    def hang_up(self) -> None:
        for end in (self.left, self.right):
            end.lost("cut")
            end.publish()


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory(1) as made:
        yield made


@pytest.fixture
def hub() -> Iterator[Replica]:
    with memory(2) as made:
        yield made


def statuses(replica: Replica) -> list[str]:
    return [operation.status.value for operation in replica.operations()]


def code_of(end: Conversation) -> tuple[str, bool]:
    assert end.end is not None
    return end.end.code, end.end.by_peer


def framed(packet: bytes) -> bytes:
    (frame,) = encode_frames(packet, frame_bytes_max=4096)
    return frame


def refused(between: Between, replica: Replica, hub: Replica) -> None:
    """The line ended, and it is as if nothing had arrived on it."""
    between.hang_up()
    assert "pending" in statuses(replica)
    assert code_of(between.left) == (ErrorCode.ALTERED.value, False)
    assert not replica.safe_to_wipe()
    assert not list(doubts(store_of(replica)))
    assert not list(doubts(store_of(hub)))
    assert exchange(replica, hub).proven_equal
    assert set(statuses(replica)) == {"completed"}


# ── acknowledgements that the peer did not give ──────────────────────────────────────────────────────────────────────


def withholding(*instead: bytes) -> Tamper:
    """Once the left side has sent data, that does not arrive, and this comes back."""

    def tamper(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        del count
        session = between.left.session
        if session is None or not session._outflow.sent:
            return [data]
        if sender is between.left:
            for item in instead:
                between.left.receive(item)
        return []

    return tamper


def test_a_forged_acknowledgement_ends_the_line(replica: Replica, hub: Replica) -> None:
    replica.create(Task, title="a")
    between = Between(replica, hub, withholding(framed(FORGED)))
    between.carry()
    refused(between, replica, hub)


def test_a_forged_acknowledgement_under_keys_of_somebody_else_ends_the_line(replica: Replica, hub: Replica) -> None:
    """Whoever has seen all of the handshake lacks the one thing that it hid."""
    replica.create(Task, title="a")
    between = Between(replica, hub)

    def tamper(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        session = between.left.session
        if sender is between.right or session is None or not session._outflow.sent:
            return [data]
        seen = transcript(between.said[between.left][:2], between.said[between.right][:2])
        shared = Ephemeral(b"m" * 32).agree(between.said[between.left][1][2:34])
        assert shared is not None
        sealed = SealedChannel.of(shared, transcript=seen, initiator=False)
        for _ in between.said[between.right][HANDSHAKE_MESSAGES_MAX:]:
            sealed.seal(b"")
        between.left.receive(sealed.seal(framed(FORGED)))
        return []

    between.tamper = tamper
    between.carry()
    refused(between, replica, hub)


def test_an_acknowledgement_of_the_same_session_counts_once(replica: Replica, hub: Replica) -> None:
    replica.create(Task, title="a")
    between = Between(replica, hub)
    between.carry()
    assert statuses(replica) == ["completed"]
    replica.create(Task, title="b")
    between.tamper = withholding(*between.said[between.right][HANDSHAKE_MESSAGES_MAX:])
    between.left.wake()
    between.carry()
    refused(between, replica, hub)


def test_an_acknowledgement_of_another_session_counts_for_nothing(replica: Replica, hub: Replica) -> None:
    """Each message of the earlier one is tried at the very place where it stood."""
    replica.create(Task, title="a")
    earlier = Between(replica, hub)
    earlier.carry()
    earlier.hang_up()
    said = earlier.said[earlier.right]
    for at in range(HANDSHAKE_MESSAGES_MAX, len(said)):
        replica.create(Task, title=f"{at}")

        def replayed(between: Between, sender: Conversation, count: int, data: bytes, at: int = at) -> list[bytes]:
            return [said[at]] if sender is between.right and count == at else [data]

        between = Between(replica, hub, replayed)
        between.carry()
        between.hang_up()
        assert ErrorCode.ALTERED.value in {code_of(between.left)[0], "lost"}
    between = Between(replica, hub, withholding(*said))
    replica.create(Task, title="last")
    between.carry()
    refused(between, replica, hub)


def test_what_a_device_says_itself_does_not_come_back(replica: Replica, hub: Replica) -> None:
    """The hub wrote too, so the replica acknowledges: that is no acknowledgement of its own."""
    replica.create(Task, title="a")
    hub.create(Task, title="b")

    def reflecting(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        if sender is between.right and count >= HANDSHAKE_MESSAGES_MAX:
            return [between.said[between.left][-1]]
        return [data]

    between = Between(replica, hub, reflecting)
    between.carry()
    refused(between, replica, hub)


def test_a_vector_put_into_the_opening_ends_the_line(replica: Replica, hub: Replica) -> None:
    """That the peer holds everything already is what would complete an operation without a word of it."""
    replica.create(Task, title="a")
    message = VectorMessage(vector={name: dict(held) for name, held in replica.port.vector().items()})
    forged = framed(join_message(message.TYPE, message.payload()))

    def claiming(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        if sender is between.left:
            return [data] if count <= HANDSHAKE_MESSAGES_MAX else []  # the data does not arrive
        return [data, forged] if count == HANDSHAKE_MESSAGES_MAX else [data]

    between = Between(replica, hub, claiming)
    between.carry()
    refused(between, replica, hub)


# ── what else can be done to a line ──────────────────────────────────────────────────────────────────────────────────


def test_whoever_puts_keys_of_their_own_between_two_devices_is_nobody_to_either(replica: Replica, hub: Replica) -> None:
    replica.create(Task, title="a")

    def swapping(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        del between, sender
        return [data[:2] + Ephemeral(b"m" * 32).public_key + data[34:]] if count == 1 else [data]

    between = Between(replica, hub, swapping)
    between.carry()
    for end in (between.left, between.right):
        assert (code_of(end)[0], end.peer) == (HandshakeCode.WRONG_SIGNATURE.value, None)
    assert statuses(replica) == ["pending"]


CHANGES: dict[str, Callable[[bytes], list[bytes]]] = {
    "left out": lambda data: [],
    "twice": lambda data: [data, data],
    "cut short": lambda data: [data[:-1]],
    "shorter than a seal": lambda data: [data[: SEAL_BYTES - 1]],
    "nothing": lambda data: [b""],
    "longer": lambda data: [data + b"\0"],
    "a failure of the handshake": lambda data: [bytes((3, 7))],
    "another proof": lambda data: [b"\2" + bytes(64)],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("by_left", [True, False])
def test_what_is_not_the_next_message_changes_nothing(
    replica: Replica, hub: Replica, change: str, behind: int, by_left: bool
) -> None:
    for replica_ in (replica, hub):
        replica_.create(Task, title="a")

    def changing(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        concerned = (sender is between.left) is by_left and count == HANDSHAKE_MESSAGES_MAX + behind
        return CHANGES[change](data) if concerned else [data]

    between = Between(replica, hub, changing)
    between.carry()
    for end in (between.left, between.right):
        end.request_proof()  # something stands behind what was left out
    between.carry()
    receiver, sender = (between.right, between.left) if by_left else (between.left, between.right)
    assert code_of(receiver) == (ErrorCode.ALTERED.value, False)
    assert code_of(sender) == (ErrorCode.ALTERED.value, True)
    assert sender.end is not None
    assert not sender.end.permanent
    assert exchange(replica, hub).proven_equal


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(index=st.integers(0, 8), bit=st.integers(0, 4095), by_left=st.booleans())
def test_a_bit_changed_anywhere_completes_nothing_that_the_peer_lacks(index: int, bit: int, by_left: bool) -> None:
    def flipping(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        if (sender is between.left) is not by_left or count != index:
            return [data]
        changed = bytearray(data)
        changed[bit // 8 % len(data)] ^= 1 << bit % 8
        return [bytes(changed)]

    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        between = Between(replica, hub, flipping)
        between.carry()
        between.hang_up()
        assert statuses(replica) == ["pending"] or hub.count(Task) == 1
        assert exchange(replica, hub).proven_equal
        assert statuses(replica) == ["completed"]


def test_a_line_that_changes_everything_fails_no_operation(replica: Replica, hub: Replica) -> None:
    """However often: nobody is blamed, no try is spent, and the first good line carries it."""
    replica.create(Task, title="a")
    for _ in range(12):
        between = Between(replica, hub, withholding(b"junk"))
        between.carry()
        between.hang_up()
        assert code_of(between.left) == (ErrorCode.ALTERED.value, False)
        assert statuses(replica) == ["pending"]
    assert replica.metrics().failed == 0
    assert exchange(replica, hub).proven_equal
    assert statuses(replica) == ["completed"]


def test_who_is_told_that_its_messages_were_changed_takes_it_as_a_bad_line() -> None:
    end = End(code=ErrorCode.ALTERED.value, text="", by_peer=True)
    assert end.fault is End(code=ErrorCode.CHECKSUM.value, text="", by_peer=True).fault is Fault.LOSS
    assert End(code=ErrorCode.ALTERED.value, text="", by_peer=False).fault is None
    assert ErrorCode.ALTERED not in PERMANENT_CODES


# ── what must still get through ──────────────────────────────────────────────────────────────────────────────────────


def test_why_a_peer_refuses_is_told_though_it_refuses_before_the_other_end_is_done(
    replica: Replica, hub: Replica
) -> None:
    """The hub has the replica's proof first, and closes at once: its proof and its error are on their way together."""
    left = Conversation(replica.port, initiator=True)
    right = Conversation(hub.port, initiator=False, admit=lambda peer: "not here")
    for _ in range(2):  # preambles, hellos
        from_left, from_right = left.data_to_send(), right.data_to_send()
        for data in from_left:
            right.receive(data)
        for data in from_right:
            left.receive(data)
    for data in left.data_to_send():
        right.receive(data)
    assert right.session is not None
    assert left.session is None
    on_its_way = [data for _ in range(4) for data in right.data_to_send()]
    assert len(on_its_way) == 2, "the proof, and why it ends"
    for data in on_its_way:
        left.receive(data)
    assert code_of(left) == (ErrorCode.REFUSED.value, True)


def test_nothing_of_a_session_is_readable_on_the_way(replica: Replica, hub: Replica) -> None:
    replica.create(Task, title="a secret of some length")
    between = Between(replica, hub)
    opened: list[bytes] = []

    def looking(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        del count
        if between.other(sender).session is not None:
            opened.append(data)
        return [data]

    between.tamper = looking
    between.carry()
    assert hub.count(Task) == 1
    assert opened
    assert not any(b"secret" in data for data in opened)


@pytest.mark.parametrize("over", [0, 1])
def test_what_a_peer_seals_is_bounded_as_its_frames_are(replica: Replica, hub: Replica, over: int) -> None:
    between = Between(replica, hub)
    between.carry()
    frame = encode_frames(os.urandom(2**21), frame_bytes_max=WireLimits().frame_bytes_max + over)[0]
    between.left.receive(between.right._handshake.channel.seal(frame))
    end = between.left.end
    assert (end and end.code) == (ErrorCode.TOO_LARGE.value if over else None)


def test_a_sealed_message_is_a_frame_and_sixteen_bytes(replica: Replica, hub: Replica) -> None:
    for number in range(200):
        replica.create(Task, title=f"{number:099}")
    between = Between(replica, hub)
    plain: list[int] = []

    def measuring(between: Between, sender: Conversation, count: int, data: bytes) -> list[bytes]:
        del between
        if count >= HANDSHAKE_MESSAGES_MAX and sender.session is not None:
            plain.append(len(data) - SEAL_BYTES)
        return [data]

    between.tamper = measuring
    between.carry()
    assert max(plain) <= WireLimits().frame_bytes_max
    assert WireLimits().frame_bytes_max + SEAL_BYTES <= CHANNEL_LIMITS.message_bytes_max
    bytes_out = sum(map(len, between.said[between.left]))
    assert between.left.traffic.bytes_out == bytes_out, "what is counted is what travels"
