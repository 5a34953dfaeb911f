from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.content import read_context
from crdt_sync.core.entry import split_entries
from crdt_sync.core.update import parse_update
from crdt_sync.core.varint import read_varint, varint, write_varint
from crdt_sync.core.version import parse_state_vector
from crdt_sync.errors import MalformedEntryError
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.wire import split_packet


@given(st.integers(0, 2**35 - 1))
def test_numbers_come_back(value: int) -> None:
    out = bytearray(b"x")
    write_varint(out, value)
    assert bytes(out[1:]) == varint(value)
    assert read_varint(bytes(out) + b"\xff", 1) == (value, len(out))


@given(st.binary(max_size=10))
def test_a_number_has_one_encoding(data: bytes) -> None:
    try:
        value, behind = read_varint(data, 0)
    except MalformedEntryError:
        return
    assert varint(value) == data[:behind]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too early"),
        (b"\x80", "too early"),
        (b"\x80\x00", "shortest"),
        (b"\x85\x80\x00", "shortest"),
        (varint(2**35), "35 bits"),
        (b"\xff" * 12, "35 bits"),
    ],
)
def test_what_is_no_number_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedEntryError, match=reason):
        read_varint(data, 0)


@pytest.mark.parametrize("number", [b"\x80\x00", b"\x81\x00", b"\x80", b"\xff" * 9], ids=bytes.hex)
def test_every_format_refuses_what_is_no_number(number: bytes) -> None:
    for read in (parse_update, parse_state_vector, split_entries, lambda data: read_context(data, 0)):
        with pytest.raises(MalformedEntryError):
            read(number)
    with pytest.raises(PeerError) as caught:
        list(split_packet(b"\x08" + number, WireLimits()))
    assert caught.value.error_code is ErrorCode.MALFORMED
