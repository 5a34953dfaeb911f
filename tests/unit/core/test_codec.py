"""Value bytes: what goes in comes out equal and of the same type, in one encoding, and nothing else decodes."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crdt_sync.core import codec
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import LimitError, MalformedEntryError, UnrepresentableValueError
from tests.unit.core.values import alike, texts, values


class Shade(Enum):
    DARK = "dark"


class Rank(IntEnum):
    ONE = 1


@given(values)
@example(0.0)
@example(-0.0)
@example(math.inf)
@example(2**63)
@example(-(2**63) - 1)
@example(2**64)
@example(Decimal("1.50"))
@example(Decimal("-0"))
@example(Decimal("Infinity"))
@example(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0))
@example(time(1, 2, 3, 4, fold=1))
@example(timedelta.min)
@example("é😀\0")
@example(())
@example({"b": [(1,)], "a": {}})
def test_values_come_back_as_they_were(value: Any) -> None:
    data = codec.encode(value)
    assert alike(codec.decode(data), value)
    assert codec.encode(codec.decode(data)) == data


def test_a_zone_comes_back_as_the_zone() -> None:
    moment = datetime(2025, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    back = codec.decode(codec.encode(moment))
    assert back.tzinfo == ZoneInfo("Europe/Berlin")
    assert (back + timedelta(days=200)).utcoffset() == timedelta(hours=1)


def test_a_machine_without_the_zone_still_has_the_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2025, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    data = codec.encode(moment)

    def unknown(name: str) -> ZoneInfo:
        raise OSError(name)

    monkeypatch.setattr(codec, "ZoneInfo", unknown)
    assert codec.decode(data) == moment


def test_not_a_number_comes_back_as_none_too() -> None:
    assert math.isnan(codec.decode(codec.encode(math.nan)))
    assert codec.decode(codec.encode(Decimal("NaN"))).is_nan()


@given(st.dictionaries(texts, st.integers(), max_size=8), st.randoms())
def test_equal_dicts_have_equal_bytes(value: dict[str, int], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert codec.encode(dict(shuffled)) == codec.encode(value)


def test_enum_members_are_stored_as_their_values() -> None:
    assert codec.encode(Shade.DARK) == codec.encode("dark")
    assert codec.encode([Rank.ONE]) == codec.encode([1])


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: 2},
        {None: 1},
        {1, 2},
        frozenset(),
        1j,
        bytearray(b"x"),
        Name("x"),
        OrderedDict(a=1),
        range(3),
        Decimal("sNaN"),
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
        time(1, tzinfo=ZoneInfo("Europe/Berlin")),
        Exception("x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(UnrepresentableValueError):
        codec.encode(value)
    with pytest.raises(UnrepresentableValueError):
        codec.encode({"k": [value]})


def test_bounds() -> None:
    deep: Any = date(2025, 1, 1)
    for _ in range(ENTRY_LIMITS.value_depth_max):
        deep = [deep]
    assert codec.decode(codec.encode(deep)) == deep
    assert codec.decode_map(codec.encode_map({"f": deep})) == {"f": deep}
    with pytest.raises(MalformedEntryError):
        codec.decode(codec.encode_map({"f": deep}))
    with pytest.raises(UnrepresentableValueError):
        codec.encode([deep])
    with pytest.raises(UnrepresentableValueError):
        codec.encode(_nested_forever())
    most = "x" * (ENTRY_LIMITS.value_bytes_max - 5)
    assert codec.decode(codec.encode(most)) == most
    with pytest.raises(LimitError):
        codec.encode(most + "x")


@pytest.mark.parametrize("strange", [{b"k": 1}, [{b"x": {}}], {"a": {b"x": 1}}])
def test_a_dict_with_other_keys_than_text_is_no_value(strange: Any) -> None:
    with pytest.raises(MalformedEntryError):
        codec.decode(msgpack.packb(strange))
    with pytest.raises(MalformedEntryError):
        codec.decode_map(msgpack.packb({"f": strange}))


def test_integers_have_no_more_digits_than_python_writes() -> None:
    most = 2**13_999 - 1
    assert codec.decode(codec.encode(most)) == most
    assert str(1000 * most)
    for value in (2**13_999, -(2**14_000)):
        with pytest.raises(LimitError):
            codec.encode(value)


def test_timestamps_of_msgpack_are_moments() -> None:
    assert codec.decode(b"\xd6\xff\0\0\0\0") == datetime(1970, 1, 1, tzinfo=UTC)


def test_tuples_nested_by_a_stranger_are_refused() -> None:
    data = codec.encode(())
    for _ in range(3_000):
        data = msgpack.packb(msgpack.ExtType(8, b"\x91" + data))
    with pytest.raises(MalformedEntryError):
        codec.decode(data)


def _nested_forever() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("count", [ENTRY_LIMITS.value_items_max, ENTRY_LIMITS.value_items_max + 1])
def test_whatever_is_encoded_can_be_decoded(count: int) -> None:
    for value in ([0] * count, tuple([0] * count), {str(number): 0 for number in range(count)}):
        try:
            data = codec.encode(value)
        except LimitError:
            assert count > ENTRY_LIMITS.value_items_max
            continue
        assert codec.decode(data) == value


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedEntryError):  # anything else is an error here
        codec.decode(data)


@given(values, st.data())
def test_damaged_bytes_decode_or_are_refused(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    for decode in (codec.decode, codec.decode_map):
        with contextlib.suppress(MalformedEntryError):  # anything else is an error here
            decode(bytes(encoded))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\x91",
        msgpack.packb({1: 2}),
        msgpack.packb(msgpack.ExtType(1, b"x")),
        msgpack.packb(msgpack.ExtType(2, b"2025-13-01")),
        msgpack.packb(msgpack.ExtType(3, b"one")),
        msgpack.packb(msgpack.ExtType(4, b"short")),
        msgpack.packb(msgpack.ExtType(7, b"\x90")),
        msgpack.packb(msgpack.ExtType(8, b"\x01")),
        msgpack.packb(msgpack.ExtType(99, b"")),
        b"\xd7\xff" + b"\xff" * 8,
        b"\x91" * 66 + b"\x01",
        msgpack.packb(msgpack.ExtType(3, b"sNaN")),
        msgpack.packb(msgpack.ExtType(5, b"\x7f" * 1751)),
        b"\x91" * 3000 + b"\x01",
        b"\xa1\xff",
    ],
    ids=lambda data: data[:6].hex() or "empty",
)
def test_known_bad_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        codec.decode(data)


def test_maps_of_fields() -> None:
    fields = {"b": 1, "a": [date(2025, 1, 1), UUID(int=1)]}
    assert codec.decode_map(codec.encode_map(fields)) == fields
    with pytest.raises(MalformedEntryError):
        codec.decode_map(codec.encode([1]))
