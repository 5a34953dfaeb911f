"""Value bytes: the one encoding of field values.

msgpack with extension types, map keys sorted, so that equal values have equal bytes on every machine and each comes
back equal *and of the same type*. Engine values are never used for this (ints come back as floats, dicts encode in hash
order; engine-facts). An Enum member is stored as its value, a reference as its record's id; the field's declared type
brings them back.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum, IntEnum
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

from crdt_sync.core.limits import ENTRY_LIMITS, TOO_LARGE_HINT
from crdt_sync.core.reference import Ref
from crdt_sync.errors import LimitError, MalformedEntryError, UnrepresentableValueError


class _Ext(IntEnum):
    DATETIME = 1
    DATE = 2
    DECIMAL = 3
    UUID = 4
    BIG_INT = 5
    TIME = 6
    TIMEDELTA = 7
    TUPLE = 8


_CONTAINERS = frozenset((list, tuple, dict))
_SCALARS = frozenset((str, bool, float, bytes, type(None)))
_STR = frozenset((str,))
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_INT_BYTES_MAX = (ENTRY_LIMITS.integer_bits_max + 1) // 8


def encode(value: Any) -> bytes:
    """Encode a value.

    Raises:
        UnrepresentableValueError: the value would not come back equal and of the same type.
        LimitError: larger than the space allows.
    """
    return _encode(value, depth=ENTRY_LIMITS.value_depth_max)


def _encode(value: Any, *, depth: int) -> bytes:
    try:
        data: bytes = msgpack.packb(_prepare(value, depth))
    except (UnicodeEncodeError, RecursionError, OverflowError):
        raise UnrepresentableValueError("text that is not valid Unicode, or a value nested too deeply") from None
    if len(data) > ENTRY_LIMITS.value_bytes_max:
        raise LimitError(
            f"a value has at most {ENTRY_LIMITS.value_bytes_max} bytes, this one {len(data)}", hint=TOO_LARGE_HINT
        )
    return data


def encode_map(values: dict[str, Any]) -> bytes:
    """Encode the values of several fields as one, in sorted order of the fields' names.

    Raises:
        UnrepresentableValueError: see `encode`.
        LimitError: one is too large, or they are together.
    """
    return _encode(values, depth=ENTRY_LIMITS.value_depth_max + 1)


def is_value(data: bytes) -> bool:
    """Whether a field can hold some bytes, and give them back."""
    try:
        decode(data, named_zones=False)
    except MalformedEntryError:
        return False
    return len(data) <= ENTRY_LIMITS.value_bytes_max


def decode(data: bytes, *, named_zones: bool = True) -> Any:
    """Decode value bytes.

    Args:
        data: the bytes.
        named_zones: give datetimes the zones that they name, by the rules that this machine knows. Without, they have
            the offsets that their writers knew: instants that are the same on every machine.

    Raises:
        MalformedEntryError: bytes that `encode` would not make.
    """
    return _decode(data, tuples=0, named_zones=named_zones, depth=ENTRY_LIMITS.value_depth_max)


def _decode(data: bytes, *, tuples: int, named_zones: bool, depth: int) -> Any:
    """Decode, inside of so many tuples: each is decoded by a call of its own, and a stranger may nest them at will."""
    try:
        value = msgpack.unpackb(
            data,
            ext_hook=_HOOKS[named_zones][tuples],
            strict_map_key=True,
            timestamp=3,  # msgpack's own timestamps, which `encode` never makes, are datetimes like any other
            max_str_len=ENTRY_LIMITS.value_bytes_max,
            max_bin_len=ENTRY_LIMITS.value_bytes_max,
            max_array_len=ENTRY_LIMITS.value_items_max,
            max_map_len=ENTRY_LIMITS.value_items_max,
            max_ext_len=ENTRY_LIMITS.value_bytes_max,
        )
    except (ValueError, TypeError, RecursionError, OverflowError, InvalidOperation, msgpack.exceptions.UnpackException):
        raise MalformedEntryError("bytes that are no value") from None
    if type(value) in _CONTAINERS and not _may_hold(value, depth):
        raise MalformedEntryError("a value nested deeper than the space allows, or a dict with other keys than text")
    return value


def decode_as_written(data: bytes) -> Any:
    """Decode value bytes; a datetime with a zone has the offset that it was written with.

    What the zone says of it depends on the machine's own list of zones, this does not.

    Raises:
        MalformedEntryError: bytes that `encode` would not make.
    """
    value = decode(data)
    if type(value) is datetime and value.tzinfo is not None:
        packed = msgpack.unpackb(data, timestamp=0)
        if type(packed) is msgpack.ExtType:
            return datetime.fromisoformat(msgpack.unpackb(packed.data)[0])
    return value


def decode_map(data: bytes) -> dict[str, Any]:
    """Decode the values of several fields.

    Raises:
        MalformedEntryError: bytes that `encode_map` would not make.
    """
    value = _decode(data, tuples=0, named_zones=True, depth=ENTRY_LIMITS.value_depth_max + 1)
    if type(value) is not dict:
        raise MalformedEntryError("bytes that are no fields")
    return value


def _prepare(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else _big_int(value)
    if kind in _CONTAINERS:
        _check_container(value, depth)
    if kind is list:
        return [_prepare(item, depth - 1) for item in value]
    if kind is dict:
        return {_map_key(key): _prepare(value[key], depth - 1) for key in sorted(value, key=_map_key)}
    if kind is tuple:
        packed = msgpack.packb([_prepare(item, depth - 1) for item in value])
        return msgpack.ExtType(_Ext.TUPLE, packed)
    if isinstance(value, Enum):
        return _prepare(value.value, depth)
    if isinstance(value, Ref):
        return str(value.id)
    return _prepare_ext(value, kind)


def _check_container(value: Any, depth: int) -> None:
    if depth <= 0:
        raise UnrepresentableValueError(f"a value nested deeper than {ENTRY_LIMITS.value_depth_max} levels")
    if len(value) > ENTRY_LIMITS.value_items_max:
        raise LimitError(
            f"a list, tuple or dict in a field has at most {ENTRY_LIMITS.value_items_max} items", hint=TOO_LARGE_HINT
        )


def _map_key(key: Any) -> str:
    if type(key) is not str:
        raise UnrepresentableValueError("a dict in a field has str keys only")
    return key


def _may_hold(value: Any, depth: int) -> bool:
    """Whether a container that was decoded is one that `encode` takes: nested ``depth`` deep at most, keys are text."""
    if depth <= 0 or (type(value) is dict and not _STR.issuperset(map(type, value))):
        return False
    items = value.values() if type(value) is dict else value
    return all(_may_hold(item, depth - 1) for item in items if type(item) in _CONTAINERS)


def _big_int(value: int) -> msgpack.ExtType:
    if value.bit_length() > ENTRY_LIMITS.integer_bits_max:
        raise LimitError(
            f"an integer has at most {ENTRY_LIMITS.integer_bits_max} bits",
            hint="Keep its digits as text, or its bytes; docs/spec/storage.md lists the limits.",
        )
    return msgpack.ExtType(_Ext.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _prepare_ext(value: Any, kind: type) -> msgpack.ExtType:
    if kind is datetime and (value.tzinfo is None or value.utcoffset() is not None):
        return msgpack.ExtType(_Ext.DATETIME, _datetime_bytes(value))
    if kind is date:
        return msgpack.ExtType(_Ext.DATE, value.isoformat().encode())
    if kind is Decimal and not value.is_snan():
        return msgpack.ExtType(_Ext.DECIMAL, str(value).encode())
    if isinstance(value, UUID):
        return msgpack.ExtType(_Ext.UUID, value.bytes)
    if kind is time and (value.tzinfo is None or value.utcoffset() is not None):
        return msgpack.ExtType(_Ext.TIME, value.isoformat().encode() + b"\x01" * value.fold)
    if kind is timedelta:
        return msgpack.ExtType(_Ext.TIMEDELTA, msgpack.packb((value.days, value.seconds, value.microseconds)))
    raise UnrepresentableValueError(f"a value of type {kind.__name__} would not come back as it is")


def _datetime_bytes(value: datetime) -> bytes:
    """ISO text with offset, then fold, then the zone's key: a machine without that zone still has the instant."""
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    packed: bytes = msgpack.packb((value.isoformat(), value.fold, zone))
    return packed


def _decode_datetime(data: bytes, *, named_zones: bool) -> datetime:
    text, fold, zone = msgpack.unpackb(data)
    value = datetime.fromisoformat(text)
    if zone is not None and named_zones:
        try:
            value = value.replace(tzinfo=ZoneInfo(zone))
        except (ZoneInfoNotFoundError, OSError):
            return value
    return value.replace(fold=1) if fold else value


def _decode_ext(code: int, data: bytes, *, tuples: int, named_zones: bool) -> Any:
    match code:
        case _Ext.DATETIME:
            return _decode_datetime(data, named_zones=named_zones)
        case _Ext.DATE:
            return date.fromisoformat(data.decode())
        case _Ext.DECIMAL:
            number = Decimal(data.decode())
            if number.is_snan():
                raise MalformedEntryError("a signalling NaN, with which nothing can be compared")
            return number
        case _Ext.UUID:
            return UUID(bytes=data)
        case _Ext.BIG_INT:
            if len(data) > _INT_BYTES_MAX:
                raise MalformedEntryError("an integer larger than a value may be")
            return int.from_bytes(data, "big", signed=True)
        case _Ext.TIME:
            value = time.fromisoformat(data.rstrip(b"\x01").decode())
            return value.replace(fold=1) if data.endswith(b"\x01") else value
        case _Ext.TIMEDELTA:
            days, seconds, microseconds = msgpack.unpackb(data)
            return timedelta(days=days, seconds=seconds, microseconds=microseconds)
        case _Ext.TUPLE:
            if tuples == ENTRY_LIMITS.value_depth_max:
                raise MalformedEntryError("tuples nested deeper than the space allows")
            inner = _decode(data, tuples=tuples + 1, named_zones=named_zones, depth=ENTRY_LIMITS.value_depth_max + 1)
            return tuple(inner)
        case _:
            raise MalformedEntryError("an extension type that no value has")


_HOOKS = tuple(
    tuple(
        partial(_decode_ext, tuples=tuples, named_zones=named_zones)
        for tuples in range(ENTRY_LIMITS.value_depth_max + 1)
    )
    for named_zones in (False, True)
)
"""By whether zones are named, then by how many tuples are around."""
