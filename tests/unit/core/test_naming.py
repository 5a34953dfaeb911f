"""Names of devices: what may be one, and which of several holds, in any order of arrival."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import msgpack
import pytest

from crdt_sync.core.ids import device_id
from crdt_sync.core.naming import NAME_CHARS_MAX, NUMBER_MAX, NameRecord, checked_name, label_of
from crdt_sync.core.records import OPEN_SPACE, RecordSet, decode_record, encode_record
from crdt_sync.errors import InputError, MalformedEntryError
from crdt_sync.security.identity import DeviceKey

KEY, OTHER = DeviceKey.generate(bytes(32)), DeviceKey.generate(b"\1" * 32)


def named(name: str, *, number: int = 1, key: DeviceKey = KEY) -> NameRecord:
    record = NameRecord(space=OPEN_SPACE, number=number, name=name, public_key=key.public_key)
    return replace(record, signature=key.sign(record.statement()))


def test_a_name_comes_back_equal() -> None:
    record = named("Ærø 📱")
    assert decode_record(encode_record(record)) == record


def test_the_latest_name_of_each_device_holds_in_any_order() -> None:
    records = [named("one"), named("two", number=2), named("also two", number=2), named("phone", key=OTHER)]
    latest = max(records[1:3], key=NameRecord.rank).name
    for order in permutations(records):
        held = RecordSet(order)
        assert held.names() == {device_id(KEY.public_key): latest, device_id(OTHER.public_key): "phone"}
        assert (len(held), held.heads()) == (2, ())


@pytest.mark.parametrize("at", range(1, 6))
def test_each_part_of_another_shape_is_refused(at: int) -> None:
    parts: list[Any] = list(msgpack.unpackb(encode_record(named("phone"))))
    parts[at] = 0
    with pytest.raises(MalformedEntryError):
        decode_record(msgpack.packb(parts))


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J", "\x9b", "x" * 257])
def test_a_name_that_no_device_can_have_is_refused(name: str) -> None:
    with pytest.raises(MalformedEntryError):
        decode_record(encode_record(named(name)))
    with pytest.raises(MalformedEntryError):
        decode_record(encode_record(named("phone", number=NUMBER_MAX + 1)))


@pytest.mark.parametrize("name", ["", "   ", "x" * (NAME_CHARS_MAX + 1), "a\nb", "\u202eevil", "\ud800", None, 7])
def test_a_device_takes_no_such_name(name: Any) -> None:
    with pytest.raises(InputError) as refusal:
        checked_name(name)
    assert "64 printable" in refusal.value.hint


def test_a_name_is_composed_and_trimmed() -> None:
    assert checked_name(" Ame\u0301lie ") == "Amélie"
    assert checked_name("😀" * NAME_CHARS_MAX)


def test_a_device_is_told_of_by_name_and_part_of_its_id() -> None:
    assert label_of("k7qd-aaaa-bbbb-cccc", "phone") == "phone (k7qd…)"
    assert label_of("k7qd-aaaa-bbbb-cccc", None) == "k7qd-aaaa-bbbb-cccc"
