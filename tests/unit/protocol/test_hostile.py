"""Whatever a peer sends: an event with a documented code, never an exception, never unbounded memory."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync.core.entry import Run, encode_run, pack_entries
from crdt_sync.core.ids import Author
from crdt_sync.protocol.codes import ErrorCode, MessageType
from crdt_sync.protocol.events import Ended
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import OPTIONAL
from crdt_sync.protocol.states import Phase
from crdt_sync.protocol.vectors import Position, pack_positions
from crdt_sync.protocol.wire import encode_frames, join_message, pack
from tests.unit.protocol.replicas import End, FakeReplica, Pair, make_end

LIVE_SEED = 7


def live(*, limits: WireLimits | None = None) -> End:
    left, right = FakeReplica(1), FakeReplica(2)
    left.records = [b"record"]
    left.write("a=1", "b=2")
    right.write("c=1")
    pair = Pair(left, right, limits=limits)
    pair.settle()
    pair.left.seen.clear()
    return pair.left


def code_after(end: End, *messages: tuple[int, bytes]) -> ErrorCode | None:
    packet = b"".join(join_message(kind, payload) for kind, payload in messages)
    for frame in encode_frames(packet, frame_bytes_max=2**20):
        end.session.receive(frame)
    end.handle()
    for _ in range(100):
        if not end.session.data_to_send():
            break
    end.handle()
    return end.ended.code if end.ended else None


def a_run(*, author: int = 5, first: int = 1, entries: tuple[bytes, ...] = (b"x=1",), signature: int = 64) -> bytes:
    run = Run(
        partition="",
        author=Author(author),
        first_sequence=first,
        body=pack_entries(entries),
        signature=bytes(signature),
    )
    return encode_run(run)


T = MessageType
POSITIONS = pack_positions({Author(5): Position(1, b"h" * 32)})  # type: ignore[arg-type]  # plain bytes stand for a hash
HOSTILE = {
    "unknown required type": ((99, b""), ErrorCode.UNKNOWN_MESSAGE),
    "second hello": ((T.HELLO, bytes(34)), ErrorCode.UNEXPECTED_MESSAGE),
    "hello cut short": ((T.HELLO, bytes(33)), ErrorCode.MALFORMED),
    "half a record id": ((T.HELD, bytes(17)), ErrorCode.MALFORMED),
    "a record that is no bytes": ((T.RECORDS, pack(["text"])), ErrorCode.MALFORMED),
    "an empty record": ((T.RECORDS, pack([b""])), ErrorCode.MALFORMED),
    "a huge record": ((T.RECORDS, pack([bytes(65_537)])), ErrorCode.TOO_LARGE),
    "a vector of odd length": ((T.VECTOR, pack(["", POSITIONS, "b"])), ErrorCode.MALFORMED),
    "partitions out of order": ((T.VECTOR, pack(["b", POSITIONS, "a", POSITIONS])), ErrorCode.MALFORMED),
    "a partition twice": ((T.VECTOR, pack(["b", POSITIONS, "b", POSITIONS])), ErrorCode.MALFORMED),
    "an author twice": ((T.VECTOR, pack(["", POSITIONS + POSITIONS[1:]])), ErrorCode.MALFORMED),
    "author zero": ((T.VECTOR, pack(["", b"\x01" + bytes(22)])), ErrorCode.MALFORMED),
    "positions cut short": ((T.VECTOR, pack(["", POSITIONS[:-1]])), ErrorCode.MALFORMED),
    "positions of width zero": ((T.VECTOR, pack(["", b"\x00" + bytes(21)])), ErrorCode.MALFORMED),
    "positions of width eight": ((T.VECTOR, pack(["", b"\x08" + bytes(29)])), ErrorCode.MALFORMED),
    "a long partition": ((T.VECTOR, pack(["p" * 65, POSITIONS])), ErrorCode.MALFORMED),
    "a batch of nothing": ((T.RUNS, pack([])), ErrorCode.MALFORMED),
    "a run that is a number": ((T.RUNS, pack([5])), ErrorCode.MALFORMED),
    "a run that is no run": ((T.RUNS, pack([b"run"])), ErrorCode.MALFORMED),
    "a run with a short signature": ((T.RUNS, pack([a_run(signature=63)])), ErrorCode.MALFORMED),
    "a run of author zero": ((T.RUNS, pack([a_run(author=0)])), ErrorCode.MALFORMED),
    "a run whose lengths lie": ((T.RUNS, pack([a_run().replace(b"\x03x=1", b"\x04x=1")])), ErrorCode.MALFORMED),
    "an ack of the future": ((T.ACK, pack([9])), ErrorCode.BAD_ACK),
    "an ack of the past": ((T.ACK, pack([0])), ErrorCode.BAD_ACK),
    "a negative ack": ((T.ACK, pack([-1])), ErrorCode.MALFORMED),
    "an ack with a status of nothing": ((T.ACK, pack([1, [], [[]]])), ErrorCode.MALFORMED),
    "an ack with many statuses": (
        (T.ACK, pack([1, [], [["", 1, 1, True, "c", "r", True]] * 1_025])),
        ErrorCode.TOO_LARGE,
    ),
    "an ack with a long reason": (
        (T.ACK, pack([1, [], [["", 1, 1, True, "c", "r" * 201, True]]])),
        ErrorCode.MALFORMED,
    ),
    "credit beyond the window": ((T.CREDIT, pack([1 << 30])), ErrorCode.CREDIT_OVERFLOW),
    "no credit": ((T.CREDIT, pack([0])), ErrorCode.MALFORMED),
    "a fork at no entry": ((T.FORK, pack(["", 5, 0, bytes(16)])), ErrorCode.MALFORMED),
    "a short fingerprint": ((T.FINGERPRINT, pack(["", bytes(23)])), ErrorCode.MALFORMED),
    "proof of a request not made": ((T.FINGERPRINT, pack(["", bytes(24), 0, 3])), ErrorCode.UNEXPECTED_MESSAGE),
    "a proof request of no number": ((T.PROOF, pack([True])), ErrorCode.MALFORMED),
    "a listing of a later round": ((T.LISTING, pack(["", 2, True, [], b""])), ErrorCode.UNEXPECTED_MESSAGE),
    "a listing out of order": (
        (T.LISTING, pack(["", 1, True, [b"b" * 30, b"a" * 30], bytes(32)])),
        ErrorCode.MALFORMED,
    ),
    "a listing elsewhere": (
        (T.LISTING, pack(["p", 1, True, [bytes(1) + b"\x01T" + bytes(16)], bytes(16)])),
        ErrorCode.MALFORMED,
    ),
    "a listing without versions": ((T.LISTING, pack(["", 1, True, [b"b" * 30], b""])), ErrorCode.MALFORMED),
    "an empty page": ((T.LISTING, pack(["", 1, False, [], b""])), ErrorCode.MALFORMED),
    "a request for nothing": ((T.WANT, pack([""])), ErrorCode.MALFORMED),
    "a request without its partition": ((T.WANT, pack([])), ErrorCode.MALFORMED),
    "a request for no address": ((T.WANT, pack(["", b"k" * 30, b""])), ErrorCode.MALFORMED),
    "a request with half a pair": ((T.WANT, pack(["", b"k" * 30])), ErrorCode.MALFORMED),
    "documents not asked for": ((T.DOCUMENTS, pack(["", True])), ErrorCode.UNEXPECTED_MESSAGE),
    "documents without an end": ((T.DOCUMENTS, pack([""])), ErrorCode.MALFORMED),
    "a snapshot without a signature": ((T.SNAPSHOT, pack(["", True, b""])), ErrorCode.MALFORMED),
    "a snapshot with half a pair": ((T.SNAPSHOT, pack(["", True, b"", b"", b"k" * 30])), ErrorCode.MALFORMED),
    "a snapshot out of order": (
        (T.SNAPSHOT, pack(["", True, b"", b"", b"b" * 30, b"", b"a" * 30, b""])),
        ErrorCode.MALFORMED,
    ),
    "a snapshot of no partition": ((T.SNAPSHOT, pack([b"", True, b"", b""])), ErrorCode.MALFORMED),
    "a snapshot with a short signature": ((T.SNAPSHOT, pack(["", True, b"", bytes(63)])), ErrorCode.MALFORMED),
    "a snapshot with half a floor": ((T.SNAPSHOT, pack(["", True, bytes(43), bytes(64)])), ErrorCode.MALFORMED),
    "a snapshot with a floor of nobody": ((T.SNAPSHOT, pack(["", True, bytes(44), bytes(64)])), ErrorCode.MALFORMED),
    "a snapshot with an author twice": (
        (T.SNAPSHOT, pack(["", True, 2 * (b"\0\0\0\0\1" + b"\0\0\0\0\0\0\1" + bytes(32)), bytes(64)])),
        ErrorCode.MALFORMED,
    ),
    "a signed vector that is no bytes": ((T.HOLDINGS, pack([1])), ErrorCode.MALFORMED),
    "a signed vector of any bytes": ((T.HOLDINGS, pack([b"any"])), ErrorCode.MALFORMED),
    "a signed vector too large": ((T.HOLDINGS, pack([bytes(64 * 1024 + 1)])), ErrorCode.TOO_LARGE),
    "a signed vector of a short key": (
        (T.HOLDINGS, pack([pack([bytes(31), 1, [], [], bytes(64)])])),
        ErrorCode.MALFORMED,
    ),
    "a signed vector of long ago": (
        (T.HOLDINGS, pack([pack([bytes(32), -1, [], [], bytes(64)])])),
        ErrorCode.MALFORMED,
    ),
    "a signed vector of half a partition": (
        (T.HOLDINGS, pack([pack([bytes(32), 1, [""], [], bytes(64)])])),
        ErrorCode.MALFORMED,
    ),
    "a signed vector with many horizons": (
        (T.HOLDINGS, pack([pack([bytes(32), 1, [], [bytes(16)] * 17, bytes(64)])])),
        ErrorCode.MALFORMED,
    ),
    "a signed vector with a short signature": (
        (T.HOLDINGS, pack([pack([bytes(32), 1, [], [], bytes(63)])])),
        ErrorCode.MALFORMED,
    ),
    "an error that is none": ((T.ERROR, pack([1, 2, 3])), ErrorCode.MALFORMED),
    "a talkative bye": ((T.BYE, b"good"), ErrorCode.MALFORMED),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_messages_have_their_code(name: str) -> None:
    message, code = HOSTILE[name]
    end = live()
    assert code_after(end, message) is code
    assert end.session.state is Phase.ENDED
    assert end.session.data_to_send() == []


def test_unknown_optional_messages_are_skipped() -> None:
    end = live()
    assert code_after(end, (OPTIONAL | 5, b"anything at all"), (OPTIONAL, b"")) is None
    assert end.session.state is Phase.LIVE


def test_an_error_of_a_newer_version_is_other_and_its_text_is_made_printable() -> None:
    end = live()
    assert code_after(end, (T.ERROR, pack([900, "bell\x07", 1_500]))) is ErrorCode.OTHER
    assert end.ended == Ended(code=ErrorCode.OTHER, text="bell?", retry_after_s=1.5, by_peer=True)


def test_data_without_credit_ends_the_session() -> None:
    end = live(limits=WireLimits(credit_bytes=64 * 1024))
    end.hold = True
    codes = [code_after(end, (T.RUNS, pack([a_run(author=n, entries=(bytes(30_000),))]))) for n in range(10, 15)]
    assert codes == [None, None, None, ErrorCode.CREDIT_EXCEEDED, ErrorCode.CREDIT_EXCEEDED]


def test_proof_requests_do_not_repeat() -> None:
    end = live()
    assert code_after(end, (T.PROOF, pack([4]))) is None
    assert code_after(end, (T.PROOF, pack([4]))) is ErrorCode.UNEXPECTED_MESSAGE


def test_a_second_request_has_to_wait_for_the_answer_to_the_first() -> None:
    end = live()
    key = bytes(1) + b"\x01T" + bytes(16)
    want = (T.WANT, pack(["", key, b""]))
    assert code_after(end, want) is None
    assert code_after(end, want, want) is ErrorCode.UNEXPECTED_MESSAGE


def test_a_flood_of_events_ends_the_session() -> None:
    end = live(limits=WireLimits(events_max=50))
    packet = b"".join(join_message(T.RECORDS, pack([b"r%d" % index])) for index in range(60))
    for frame in encode_frames(packet, frame_bytes_max=2**20):
        end.session.receive(frame)
    end.handle()
    assert end.ended is not None
    assert end.ended.code is ErrorCode.OVERLOADED


def test_a_peer_that_lies_about_forks_achieves_nothing() -> None:
    end = live()
    own = end.replica.author
    digest = end.replica.hash_at("", own, 1)
    assert digest is not None
    messages = [(T.FORK, pack(["", 77, 1, bytes(16)])), (T.FORK, pack(["", own, 1, digest[:16]]))]
    assert code_after(end, *messages) is None
    assert end.seen == []


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_are_survived(frames: list[bytes]) -> None:
    end = make_end(FakeReplica(1), initiator=True)
    for frame in frames:
        end.session.receive(frame)
    end.handle()
    assert end.ended is None or isinstance(end.ended.code, ErrorCode)
    assert (end.ended is not None) == bool(frames)


@settings(max_examples=300)
@given(st.sampled_from(list(MessageType)), st.binary(max_size=200), st.booleans())
def test_any_payload_of_any_message_is_survived(kind: MessageType, payload: bytes, opened: bool) -> None:
    end = live() if opened else make_end(FakeReplica(1), initiator=False)
    code_after(end, (kind, payload))
    assert (end.session.state is Phase.ENDED) == (end.ended is not None)


ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.binary(max_size=40)
    | st.sampled_from(["", POSITIONS, bytes(16), bytes(24), a_run(), bytes(1) + b"\x01T" + bytes(16), 1, 0, True]),
    lambda children: st.lists(children, max_size=4),
    max_leaves=10,
)


@settings(max_examples=500)
@given(st.sampled_from(list(MessageType)), st.lists(ITEMS, max_size=7))
def test_any_array_in_any_message_is_survived(kind: MessageType, items: list[object]) -> None:
    end = live()
    code_after(end, (kind, pack(items)))
    assert (end.session.state is Phase.ENDED) == (end.ended is not None)


def test_changed_conversations_are_survived() -> None:
    chance = random.Random(LIVE_SEED)
    outcomes = set()
    for seed in range(150):
        left, right = FakeReplica(1), FakeReplica(2)
        left.write(*[f"k{index}=1" for index in range(10)])
        right.write("c=1")
        right.documents = {}
        pair = Pair(left, right, seed=seed)
        for _ in range(12):
            for end, wire in ((pair.left, pair.to_right), (pair.right, pair.to_left)):
                end.handle()
                # The checksum guards against accidents only: change what is under it.
                while packets := end.session.data_to_send():
                    wire.extend(_changed(frame, chance) for frame in packets)
                for frame in wire:
                    (pair.right if end is pair.left else pair.left).session.receive(frame)
                wire.clear()
        for end in pair.ends():
            end.handle()
            if end.ended is not None:
                outcomes.add(end.ended.code)
    assert ErrorCode.MALFORMED in outcomes
    assert ErrorCode.CHECKSUM not in outcomes


def _changed(frame: bytes, chance: random.Random) -> bytes:
    from blake3 import blake3

    body = bytearray(frame[:-8])
    if chance.random() < 0.3:
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return bytes(body) + blake3(bytes(body)).digest(8)
