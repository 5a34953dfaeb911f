"""Plain registers: every concurrent write is kept, the latest by HLC is shown."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NewType, get_args, get_origin
from uuid import UUID

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.content import CREATION_COUNTER, Content, Dot, RegisterValue, write_register
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.app_type import SELF_DESCRIBING, AppType
from crdt_sync.core.kinds.base import ColumnKind, Drop, FieldKind, Put, Write, WriteContext
from crdt_sync.core.kinds.contexts import beside_causal, join, saw, saw_plain, uncovered
from crdt_sync.core.kinds.defaults import constant_default
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InvalidValueError, UnrepresentableValueError

_JSON_ORIGINS = (list, dict, tuple)
_NUMBERS = (int, float, Decimal)
_NUMERIC = frozenset((*_NUMBERS, bool, type(None), None))


class PlainRegister(FieldKind):
    """A multi-value register; the value shown is the concurrent write with the latest HLC timestamp."""

    in_creation = True

    def __init__(self, name: str, info: FieldInfo) -> None:
        super().__init__(name)
        self.info = info
        self._members = members = members_of(info.annotation)
        self._comparing: AppType | None = None
        self._reading: AppType | None = None
        self._checking: AppType | None = None
        if not members_of(info.annotation, annotated=True) <= SELF_DESCRIBING:
            self._reading = AppType(info.annotation, field=name)
        self._column = _column_kind(members)
        holds_containers = any(_is_container(member) for member in members) or Any in members
        self._constant = constant_default(info, holds_containers=holds_containers)

    def default(self) -> Any:
        """What a field that nobody wrote shows: the same at each read and everywhere.

        So of factories only those count that make one thing; ``uuid4`` and the like fill in what is created only.
        """
        if self._constant is not None:
            return codec.decode(self._constant)
        return self.info.get_default() if self.has_default else None

    @property
    def has_default(self) -> bool:
        """Whether a field that nobody wrote has a value; without one it shows None."""
        return self._constant is not None or not (self.info.is_required() or self.info.default_factory)

    def is_default(self, value: Any) -> bool:
        """Whether a value is the default, which pydantic takes whatever it is, also if it is not of the type."""
        return self.has_default and _same(value, self.default())

    def validate(self, value: Any) -> Any:
        if type(value) in SELF_DESCRIBING:
            back = self.convert(value)
        else:
            back = self.convert(codec.decode(codec.encode(value)))
        if back is not value and not _same(back, value):
            raise UnrepresentableValueError(
                f"field {self.name!r}: a value of type {type(value).__name__} would not come back as it is",
                field=self.name,
            )
        return value

    def check(self, value: Any) -> Any:
        """Validate a value that pydantic has not seen; returns what is stored.

        Raises:
            InvalidValueError: of the wrong type, or it would not come back as it is.
        """
        return self.validate(self.checking.check(value, what=": a value is refused"))

    def complaint(self, value: Any) -> str:
        return "" if self.is_default(value) else self.checking.complaint(value)

    @property
    def checking(self) -> AppType:
        """What validates the field's values with all that its declaration asks of them; made when it is needed."""
        if self._checking is None:
            annotation: Any = self.info.annotation
            declared: Any = Annotated[annotation, self.info]
            if self.info.default_factory_takes_validated_data:  # pydantic warns of such a one outside of a model
                declared = Annotated[annotation, self.name, *self.info.metadata]
            self._checking = AppType(declared, field=self.name)
        return self._checking

    def convert(self, value: Any) -> Any:
        """A decoded value as the declared type; a value that does not fit it is given as it was stored."""
        return value if self._reading is None else self._reading.read(value)

    def comparable(self, value: Any) -> Any:
        members = self._members
        if type(value) in members or (isinstance(value, _NUMBERS) and not members.isdisjoint(_NUMBERS)):
            return value
        if self._comparing is None:
            self._comparing = AppType(self.info.annotation, field=self.name)
        return self._comparing.check(value, what=" is compared with a wrong value")

    def sought(self, value: Any) -> Any:
        found, members = self.comparable(value), self._members
        if type(found) is Decimal and members.isdisjoint((Decimal, Any)) and not members.isdisjoint(_NUMBERS):
            return found  # a number among numbers, where a Decimal of the field's own would stand as text
        return self.to_column(found)

    def decode(self, data: bytes) -> Any:
        return self.convert(codec.decode(data))

    def read(self, content: Content) -> Any:
        if self.stored not in content.plain and self.stored not in content.causal and len(content.creations) == 1:
            values = content.creations[0].values  # the common case: nobody wrote since the creation
            return self.convert(copied(values[self.stored])) if self.stored in values else self.default()
        data = self.stored_data(content)
        return self.default() if data is None else self.decode(data)

    def stored_data(self, content: Content) -> bytes | None:
        """Value bytes of what is shown; None where nobody wrote."""
        found = self.candidates(content)
        return found[0].data if found else None

    def stored_value(self, content: Content) -> Any:
        found = self.candidates(content)
        return codec.decode(found[0].data) if found else None

    def candidates(self, content: Content) -> list[RegisterValue]:
        written, causal = content.plain.get(self.stored, []), content.causal.get(self.stored, [])
        if causal or len(written) > 1:
            seen: Mapping[Author, int] = join((*written, *causal))
        else:
            seen = written[0].context if written else {}
        found = [*written, *uncovered(causal, seen), *self.created(content, but=seen)]
        return offered(found) if len(found) > 1 else found

    def created(self, content: Content, *, but: Container[Author] = ()) -> list[RegisterValue]:
        """The field's values in the record's creations, those of some authors left out."""
        return [
            RegisterValue(
                Dot(item.author, CREATION_COUNTER),
                item.hlc,
                codec.encode(item.values[self.stored]),
                {},
                "",
                given=self.stored not in item.defaults,
            )
            for item in content.creations
            if item.author not in but and self.stored in item.values
        ]

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return []

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        data = codec.encode(value)
        found = self.candidates(content)
        if len(found) == 1 and found[0].data == data:
            return []  # the engine would make an update even of an equal value
        return self.put(content, data, context=context)

    def put(self, content: Content, data: bytes, *, context: WriteContext) -> list[Write]:
        """The writes that put value bytes in the place of all values in a content, also of an equal one."""
        plain, causal = content.plain.get(self.stored, []), content.causal.get(self.stored, [])
        written = [*plain, *causal]
        seen = saw([*map(beside_causal, plain), *causal]) if causal else saw_plain(plain)
        for item in content.creations:
            seen.setdefault(item.author, CREATION_COUNTER)
        own = map_key(KeyClass.PLAIN, context.author, field=self.stored)
        drops: list[Write] = [Drop(item.key) for item in written if item.key != own]
        return [*drops, Put(own, write_register(context.hlc, seen, data))]

    def column_kind(self) -> ColumnKind:
        return self._column

    def to_column(self, value: Any) -> Any:
        match self._column:
            case ColumnKind.JSON:
                return json_value(value)
            case ColumnKind.DECIMAL:  # anything else was written by another version of the model: it has no number
                return value if isinstance(value, _NUMBERS) else None
            case ColumnKind.VALUE:
                return column_value(value)


def copied(value: Any) -> Any:
    """A value that its reader may change: lists and dicts of its own, however deep they are."""
    kind = type(value)
    if kind not in _JSON_ORIGINS:
        return value
    if kind is dict:
        return {key: copied(item) if type(item) in _JSON_ORIGINS else item for key, item in value.items()}
    return kind([copied(item) if type(item) in _JSON_ORIGINS else item for item in value])


def latest_first(value: RegisterValue) -> tuple[int, int, int]:
    """Sort key: latest HLC timestamp first, ties broken by author, then by counter."""
    return (-value.hlc, -value.dot.author, -value.dot.counter)


def offered(values: list[RegisterValue]) -> list[RegisterValue]:
    """Of concurrent values those that somebody gave, latest first; where there is none, the latest default."""
    found = sorted(values, key=latest_first)
    return [item for item in found if item.given] or found[:1]


def column_value(value: Any) -> int | float | str | bytes | None:
    """A value as SQLite keeps it: dates as ISO text, aware datetimes in UTC so that text order is time order."""
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value  # type: ignore[no-any-return]  # the most frequent ones, narrowed by `kind`
    if kind is bool:
        return int(value)
    if kind is date:
        return value.isoformat()  # type: ignore[no-any-return]  # narrowed by `kind`
    if isinstance(value, Enum):
        return column_value(value.value)
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, datetime):
        return _in_utc(value).isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID | Ref):
        return str(value)
    if not isinstance(value, dict | list | tuple | set | frozenset):
        raise InvalidValueError(f"no field holds a value of type {type(value).__name__}")
    return json.dumps(json_value(value), ensure_ascii=False, sort_keys=True)


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return value  # within a day of the first or last moment there is: it keeps its own offset


def json_value(value: Any) -> Any:
    """A value as JSON can hold it: bytes as hex digits, what JSON does not know as `column_value` writes it."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return json_value(value.value) if isinstance(value, Enum) else column_value(value)


def members_of(annotation: Any, *, annotated: bool = False) -> frozenset[Any]:
    """The types that a union annotation may hold; other annotations stand for themselves.

    Args:
        annotation: a field's type.
        annotated: leave ``Annotated`` inside of it as it is: its metadata may make other values of those of the type.
    """
    annotation = _unnamed(annotation)
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return frozenset((annotation,)) if annotated else members_of(arguments[0])
    if origin is None or not arguments or origin in _JSON_ORIGINS:
        return frozenset((annotation,))
    if any(_names_type(argument) for argument in arguments):
        return frozenset().union(*(members_of(argument, annotated=annotated) for argument in arguments))
    return frozenset((annotation,))


def _names_type(argument: Any) -> bool:
    return isinstance(argument, type | NewType) or get_origin(argument) is not None or _is_alias(argument)


def _is_alias(annotation: Any) -> bool:
    """Whether it is a type alias: Python 3.12's own and the backport are different classes of one name."""
    return type(annotation).__name__ == "TypeAliasType"


def _unnamed(annotation: Any) -> Any:
    """What a NewType or a type alias stands for; the arguments of a generic alias are of no matter for a column."""
    while True:
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
            continue
        alias: Any = annotation if _is_alias(annotation) else get_origin(annotation)
        if not _is_alias(alias):
            return annotation
        annotation = alias.__value__


def _column_kind(members: frozenset[Any]) -> ColumnKind:
    if Decimal in members and members <= _NUMERIC:
        return ColumnKind.DECIMAL
    return ColumnKind.JSON if any(map(_is_container, members)) else ColumnKind.VALUE


def _is_container(member: Any) -> bool:
    return (get_origin(member) or member) in _JSON_ORIGINS


def _same(left: Any, right: Any) -> bool:
    """Equal and of the same type, also inside of lists, tuples and dicts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124  only NaN differs from itself
