"""Targets of the wire: frames, the messages in them, and a whole session that a peer sends anything to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from blake3 import blake3

from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.durable import DurableVector, Holdings, decode_durable
from crdt_sync.protocol.limits import FRAME_BYTES_FLOOR, WireLimits
from crdt_sync.protocol.messages import Message, decode_message, encode_message
from crdt_sync.protocol.states import Phase
from crdt_sync.protocol.wire import CHECKSUM_BYTES, FrameDecoder, encode_frames, join_message, split_packet
from tests.fuzz.refusing import Refused, attempt
from tests.unit.protocol.test_hostile import live

LIMITS: Final = WireLimits()
TURNS_MAX: Final = 100
"""How often a session may want to send in answer to one packet."""


def joined(*bodies: bytes) -> bytes:
    """An input of `frames`: what stands in each frame in front of its checksum."""
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def frames(data: bytes) -> None:
    """Frames of a peer, with right checksums, after one that is any bytes: no packet, or one that travels again."""
    attempt(lambda: FrameDecoder(LIMITS).feed(data))
    decoder = FrameDecoder(LIMITS)
    for body in _bodies(data):
        frame = body + blake3(body).digest(CHECKSUM_BYTES)
        packet = attempt(partial(decoder.feed, frame))
        if isinstance(packet, Refused):
            return
        if packet:
            again = FrameDecoder(LIMITS)
            given = [again.feed(frame) for frame in encode_frames(packet, frame_bytes_max=FRAME_BYTES_FLOOR)]
            assert given == [None] * (len(given) - 1) + [packet], "a packet that does not travel again"
            messages(packet)


def messages(data: bytes) -> None:
    """A packet: refused, or messages that say the same when they are sent on."""
    parts = attempt(lambda: list(split_packet(data, LIMITS)))
    if isinstance(parts, Refused):
        return
    assert b"".join(join_message(kind, payload) for kind, payload in parts) == data
    for kind, payload in parts:
        message = attempt(partial(decode_message, kind, payload, LIMITS))
        if message is None or isinstance(message, Refused):
            continue
        ((again, sent),) = split_packet(encode_message(message), LIMITS)
        assert decode_message(again, sent, LIMITS) == message, "a message that reads otherwise when it is sent on"
        _held(message)


def session(data: bytes) -> None:
    """A packet in the middle of a session: answered, or the end of it with a code; what the replica had, it has."""
    end = live()
    before = {chain: tuple(entries) for chain, entries in end.replica.entries.items()}
    if data:
        for frame in encode_frames(data, frame_bytes_max=2**20):
            end.session.receive(frame)
    for _ in range(TURNS_MAX):
        end.handle()
        if not end.session.data_to_send():
            break
    else:
        raise AssertionError("a session that never falls silent")
    assert (end.session.state is Phase.ENDED) == (end.ended is not None)
    assert end.ended is None or isinstance(end.ended.code, ErrorCode)
    for chain, entries in before.items():
        assert tuple(end.replica.entries[chain])[: len(entries)] == entries, "a peer took entries away"


def _bodies(data: bytes) -> Iterator[bytes]:
    while data:
        length = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def _held(message: Message) -> None:
    """Signed vectors stand within a message as bytes, and are read later."""
    if not isinstance(message, Holdings):
        return
    for item in message.vectors:
        vector = attempt(partial(decode_durable, item, LIMITS))
        if isinstance(vector, DurableVector):
            assert decode_durable(vector.encode(), LIMITS) == vector
