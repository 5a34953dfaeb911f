"""Values that JSON cannot hold, as a person reads and writes them: ``{"$date": "2026-01-31"}`` for their value bytes.

This is for people at a terminal. What programs read has the bytes, in which nothing can be taken for anything else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from crdt_sync.cli.values import EXACT
from crdt_sync.core import codec
from crdt_sync.core.equality import is_same
from crdt_sync.errors import CRDTSyncError, InputError

_TAG: Final = "$"


def tagged(data: Any) -> Any:
    """JSON of a value, with what stands there as bytes for people to read."""
    if isinstance(data, list):
        return [tagged(item) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {EXACT}:
        try:
            return _tagged_value(codec.decode(bytes.fromhex(data[EXACT])))
        except (CRDTSyncError, ValueError, TypeError):
            return data
    if _is_tag(data):
        return _exact(data)  # it only looks like one of ours
    return {key: tagged(item) for key, item in data.items()}


def untagged(data: Any) -> Any:
    """JSON that a person wrote, with value bytes where it holds something that was `tagged`.

    Raises:
        InputError: a tag with what is no such value behind it.
    """
    return {EXACT: codec.encode(_value(data)).hex()} if _holds_tag(data) else data


def _tagged_value(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_tagged_value(item) for item in value]
    if kind is dict:
        found = {key: _tagged_value(item) for key, item in value.items()}
        return _exact(value) if _is_tag(value) else found  # it only looks like one of ours
    if kind is tuple:
        return {"$tuple": [_tagged_value(item) for item in value]}
    if value is None or kind in (bool, int, str) or (kind is float and _is_number(value)):
        return value
    for tag, (of, write, read) in _TAGS.items():
        if kind is of:
            text = write(value)
            return {tag: text} if _gives(read, text, value) else _exact(value)
    return _exact(value)


def _gives(read: Callable[[str], Any], text: str, value: Any) -> bool:
    try:
        return is_same(read(text), value)
    except (ValueError, KeyError, OSError):
        return False


def _value(data: Any) -> Any:
    if isinstance(data, list):
        return [_value(item) for item in data]
    if not isinstance(data, dict):
        return data
    if not _is_tag(data):
        return {key: _value(item) for key, item in data.items()}
    ((tag, held),) = data.items()
    try:
        if tag == EXACT:
            return codec.decode(bytes.fromhex(held))
        if tag == "$tuple":
            return tuple(_value(item) for item in _list(held))
        return _TAGS[tag][2](_text(held))
    except (CRDTSyncError, ValueError, TypeError, KeyError, OSError, ArithmeticError):
        raise InputError(f"what stands behind {tag} is no such value", hint="Write it as it was shown.") from None


def _holds_tag(data: Any) -> bool:
    if isinstance(data, list):
        return any(map(_holds_tag, data))
    return isinstance(data, dict) and (_is_tag(data) or any(map(_holds_tag, data.values())))


def _is_tag(data: dict[str, Any]) -> bool:
    return len(data) == 1 and not data.keys().isdisjoint((EXACT, "$tuple", *_TAGS))


def _exact(value: Any) -> dict[str, str]:
    return {EXACT: codec.encode(value).hex()}


def _is_number(value: float) -> bool:
    return abs(value) < float("inf")


def _list(held: Any) -> list[Any]:
    if not isinstance(held, list):
        raise TypeError("no list")
    return held


def _text(held: Any) -> str:
    if not isinstance(held, str):
        raise TypeError("no text")
    return held


def _moment(value: datetime) -> str:
    """ISO text, with the name of a zone in brackets behind it."""
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    return value.isoformat() if zone is None else f"{value.isoformat()}[{zone}]"


def _moment_of(text: str) -> datetime:
    written, bracket, zone = text.removesuffix("]").partition("[")
    moment = datetime.fromisoformat(written)
    if not bracket:
        return moment
    named = moment.replace(tzinfo=ZoneInfo(zone))
    return named if named.utcoffset() == moment.utcoffset() else named.replace(fold=1)


_LENGTHS: TypeAdapter[timedelta] = TypeAdapter(timedelta)

_TAGS: Final[dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]]] = {
    "$datetime": (datetime, _moment, _moment_of),
    "$date": (date, date.isoformat, date.fromisoformat),
    "$time": (time, time.isoformat, time.fromisoformat),
    "$timedelta": (timedelta, lambda value: json.loads(_LENGTHS.dump_json(value)), _LENGTHS.validate_python),
    "$decimal": (Decimal, str, Decimal),
    "$uuid": (UUID, str, UUID),
    "$bytes": (
        bytes,
        lambda value: base64.b64encode(value).decode(),
        lambda text: base64.b64decode(text, validate=True),
    ),
    "$float": (float, str, float),
}
"""Tag → the type, how it is written, and how it is read."""
