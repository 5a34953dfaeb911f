"""Space records: what binds an author to a device, and to no other."""

from __future__ import annotations

import msgpack
import pytest

from crdt_sync.core.ids import Author, author_of
from crdt_sync.core.records import OPEN_SPACE, RecordKind, RecordSet, SpaceRecord, decode_record, encode_record
from crdt_sync.errors import MalformedEntryError
from crdt_sync.security.identity import DeviceKey

KEY, THIEF = DeviceKey.generate(bytes(32)), DeviceKey.generate(b"\1" * 32)


def binding(key: DeviceKey, *, salt: bytes, author: Author | None = None) -> SpaceRecord:
    bound = author_of(key.public_key, salt) if author is None else author
    return SpaceRecord(
        kind=RecordKind.BIND_AUTHOR,
        space=OPEN_SPACE,
        parents=(),
        author=bound,
        salt=salt,
        public_key=key.public_key,
        signature=bytes(64),
    )


def test_a_record_comes_back_equal() -> None:
    record = binding(KEY, salt=bytes(8))
    assert decode_record(encode_record(record)) == record


def test_nobody_binds_the_author_of_another_device() -> None:
    mine = binding(KEY, salt=bytes(8))
    for salt in (bytes(8), b"\1" * 8, b"\2" * 8):
        with pytest.raises(MalformedEntryError, match="does not follow"):
            decode_record(encode_record(binding(THIEF, salt=salt, author=mine.author)))


def test_of_two_bindings_the_smaller_hash_holds_in_any_order() -> None:
    one, other = (binding(key, salt=bytes(8), author=Author(7)) for key in (KEY, THIEF))
    holds = min((one, other), key=SpaceRecord.hash).public_key
    assert RecordSet((one, other)).bound_key(Author(7)) == holds
    assert RecordSet((other, one)).bound_key(Author(7)) == holds


def test_heads_are_what_no_other_record_names() -> None:
    first = binding(KEY, salt=bytes(8))
    records = RecordSet((first,))
    assert records.heads() == (first.hash(),)
    assert not records.add(first)
    assert records.bound_key(Author(1)) is None


@pytest.mark.parametrize("at", range(7))
def test_each_part_of_another_shape_is_refused(at: int) -> None:
    parts = list(msgpack.unpackb(encode_record(binding(KEY, salt=bytes(8)))))
    parts[at] = "wrong"
    with pytest.raises(MalformedEntryError):
        decode_record(msgpack.packb(parts))
