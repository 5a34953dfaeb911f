"""Frames, packets and the strict reading of payloads."""

from __future__ import annotations

import lz4.block
import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.varint import varint
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.wire import (
    FLAG_LZ4,
    FLAG_MORE,
    FrameDecoder,
    encode_frames,
    join_message,
    pack,
    split_packet,
    unpack,
)

LIMITS = WireLimits(frame_bytes_max=4096)


def frame(body: bytes) -> bytes:
    return body + blake3(body).digest(8)


def refused(data: bytes, limits: WireLimits = LIMITS) -> ErrorCode:
    with pytest.raises(PeerError) as caught:
        FrameDecoder(limits).feed(data)
    return caught.value.error_code


@given(st.binary(min_size=1, max_size=30_000), st.integers(min_value=16, max_value=4096))
def test_any_packet_comes_back_through_frames_of_any_size(packet: bytes, frame_bytes_max: int) -> None:
    frames = encode_frames(packet, frame_bytes_max=frame_bytes_max)
    assert all(len(one) <= frame_bytes_max for one in frames)
    decoder = FrameDecoder(LIMITS)
    assert [decoder.feed(one) for one in frames] == [*[None] * (len(frames) - 1), packet]


def test_frames_are_compressed_where_that_is_smaller() -> None:
    (small,) = encode_frames(b"abcd" * 1000, frame_bytes_max=4096)
    assert len(small) < 60
    random = blake3(b"seed").digest(1000)
    (plain,) = encode_frames(random, frame_bytes_max=4096)
    assert plain[1:-8] == random


def test_pieces_of_two_packets_follow_one_another() -> None:
    packets = [blake3(seed).digest(10_000) for seed in (b"a", b"b")]
    decoder = FrameDecoder(LIMITS)
    frames = [one for packet in packets for one in encode_frames(packet, frame_bytes_max=4096)]
    assert [out for one in frames if (out := decoder.feed(one)) is not None] == packets


def test_a_changed_byte_anywhere_is_noticed() -> None:
    (sent,) = encode_frames(b"hello, here is a packet", frame_bytes_max=4096)
    for index in range(len(sent)):
        changed = sent[:index] + bytes((sent[index] ^ 1,)) + sent[index + 1 :]
        assert refused(changed) is ErrorCode.CHECKSUM


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.MALFORMED),
        (b"123456789", ErrorCode.MALFORMED),
        (b"x" * 4097, ErrorCode.TOO_LARGE),
        (frame(b"\x04content"), ErrorCode.MALFORMED),
        (frame(bytes((FLAG_LZ4,)) + varint(2**34) + b"x"), ErrorCode.TOO_LARGE),
        (frame(bytes((FLAG_LZ4,)) + varint(10_000) + b"x"), ErrorCode.MALFORMED),
        (frame(bytes((FLAG_LZ4,)) + varint(100) + b"no block at all"), ErrorCode.MALFORMED),
        (frame(bytes((FLAG_LZ4,)) + b"\xff" * 5), ErrorCode.MALFORMED),
    ],
)
def test_hostile_frames_have_their_code(data: bytes, code: ErrorCode) -> None:
    assert refused(data) is code


def test_a_compression_bomb_is_refused_by_its_stated_size() -> None:
    bomb = lz4.block.compress(bytes(20 * 2**20), store_size=False)
    limits = WireLimits()
    assert len(bomb) < limits.frame_bytes_max
    assert refused(frame(bytes((FLAG_LZ4,)) + varint(20 * 2**20) + bomb), limits) is ErrorCode.TOO_LARGE
    assert refused(frame(bytes((FLAG_LZ4,)) + varint(2**20) + bomb), limits) is ErrorCode.MALFORMED


def test_a_block_smaller_than_it_states_is_refused() -> None:
    block = lz4.block.compress(b"a" * 500, store_size=False)
    assert refused(frame(bytes((FLAG_LZ4,)) + varint(501) + block)) is ErrorCode.MALFORMED


def test_endless_pieces_end_at_the_limit() -> None:
    limits = WireLimits()
    decoder = FrameDecoder(limits)
    piece = frame(bytes((FLAG_MORE,)) + bytes(2**20 - 9))
    for _ in range(limits.packet_bytes_max // 2**20):
        assert decoder.feed(piece) is None
    with pytest.raises(PeerError) as caught:
        decoder.feed(piece)
    assert caught.value.error_code is ErrorCode.TOO_LARGE


def test_pieces_with_different_flags_are_refused() -> None:
    decoder = FrameDecoder(LIMITS)
    decoder.feed(frame(bytes((FLAG_MORE,)) + b"a"))
    with pytest.raises(PeerError):
        decoder.feed(frame(bytes((FLAG_LZ4,)) + b"b"))


def test_a_packet_is_split_into_its_messages() -> None:
    packet = join_message(1, b"one") + join_message(200, b"") + join_message(3, b"x" * 300)
    assert list(split_packet(packet, LIMITS)) == [(1, b"one"), (200, b""), (3, b"x" * 300)]


@pytest.mark.parametrize("packet", [b"\x01", b"\x01\x05abcd", b"\x01\xff\xff\xff\xff\xff\xff"])
def test_packets_whose_lengths_do_not_add_up_are_refused(packet: bytes) -> None:
    with pytest.raises(PeerError):
        list(split_packet(packet, LIMITS))


def test_a_packet_of_too_many_messages_is_refused() -> None:
    with pytest.raises(PeerError) as caught:
        list(split_packet(b"\x01\x00" * 1025, LIMITS))
    assert caught.value.error_code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\xc1",
        b"\x91\x80",  # a map
        b"\x91\x81\x01\x02",
        b"\x91\xc7\x00\x05",  # an extension type without data
        b"\x91\xd4\x05\x00",
        b"\x91\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x91\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x90\x90",  # trailing bytes
        b"\xdd\xff\xff\xff\xff",  # 2**32 items
        b"\xdc\x00\x11" + b"\x01" * 17,  # one more than allowed
        b"\x91\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
        b"\x91\xdb\xff\xff\xff\xff",
        b"\x91\xa1\xff",  # no UTF-8
        b"\x91" * 100_000,  # nested
        msgpack.packb({"a": 1}),
    ],
)
def test_hostile_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        unpack(payload, items_max=16)
    assert caught.value.error_code is ErrorCode.MALFORMED


def test_payloads_come_back() -> None:
    items = (None, True, -3, 2**63, 1.5, "text", b"bytes", (1, (2,)))
    assert unpack(pack(items), items_max=8) == items
