"""Semilattices: the first value ever given, the greatest, the least. Concurrent values need no choice.

Each author's part stands under a key that only this author replaces, and what a creation gave is a part, too. None is
no value: it neither counts as first nor as least.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, get_args
from uuid import UUID

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.content import Content, RegisterValue, write_register
from crdt_sync.core.equality import alike
from crdt_sync.core.kinds.base import Put, Write, WriteContext
from crdt_sync.core.kinds.plain import PlainRegister, copied, members_of
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.errors import InvalidValueError, SchemaError

_NUMBERS = (bool, int, float, Decimal)
_ORDERED = (_NUMBERS, (str,), (bytes,), (datetime,), (date,), (time,), (timedelta,), (UUID,))
"""Types with an order; those in one group compare with each other. A datetime is a date to Python: it comes first."""

_WITHOUT_ORDER: Final = len(_ORDERED)


class Lattice(PlainRegister):
    """A register whose concurrent values always come to one."""

    declared_as: ClassVar[str]
    """The name of the function that declares a field of this kind."""

    def read(self, content: Content) -> Any:
        if self.stored not in content.lattices and len(content.creations) == 1:
            value = content.creations[0].values.get(self.stored)  # the common case: nobody wrote since the creation
            return self.default() if value is None else self.convert(copied(value))
        data = self.stored_data(content)
        return self.default() if data is None else self.decode(data)

    def stored_data(self, content: Content) -> bytes | None:
        shown = self.shown(content)
        return None if shown is None else shown.data

    def candidates(self, content: Content) -> list[RegisterValue]:
        return []

    def parts(self, content: Content) -> list[RegisterValue]:
        """The values of all authors, without None."""
        parts = [*content.lattices.get(self.stored, []), *self.created(content)]
        return [item for item in parts if item.data != _NONE]

    @abstractmethod
    def shown(self, content: Content) -> RegisterValue | None:
        """The part that all of them come to; None where nobody gave a value."""

    def _put(self, data: bytes, *, context: WriteContext) -> list[Write]:
        key = map_key(KeyClass.LATTICE, context.author, field=self.stored)
        return [Put(key, write_register(context.hlc, {}, data))]


class First(Lattice):
    """The value that was given first stays; of several given at once, the earliest by HLC."""

    declared_as = "first"

    def shown(self, content: Content) -> RegisterValue | None:
        return min(self.parts(content), key=lambda item: (item.hlc, item.dot.author, item.data), default=None)

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        data, shown = codec.encode(value), self.shown(content)
        if shown is None:
            return [] if value is None else self._put(data, context=context)
        if shown.data == data or alike(self.decode(shown.data), value):
            return []
        raise InvalidValueError(
            f"field {self.name!r} has a value, and what is first stays",
            field=self.name,
            hint="Leave the value as it is, or declare the field otherwise; nothing was changed.",
        )

    def recreate(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """What was first stays, also in a record that is created again."""
        return [] if self.shown(content) is not None else self.assign(content, value, context=context)


class _Ordered(Lattice):
    """Shows an end of its values' order."""

    def __init__(self, name: str, info: FieldInfo) -> None:
        super().__init__(name, info)
        types = {member for member in members_of(info.annotation) if member not in (None, type(None))}
        if not types or not all(_has_order(member) for member in types):
            raise SchemaError(f"field {name!r}: {self.declared_as}() takes a type with an order: numbers, text, times")

    def validate(self, value: Any) -> Any:
        checked = super().validate(value)
        if isinstance(checked, float | Decimal) and checked != checked:  # noqa: PLR0124  only NaN differs from itself
            raise InvalidValueError(f"field {self.name!r}: NaN is neither more nor less than anything", field=self.name)
        return checked

    def shown(self, content: Content) -> RegisterValue | None:
        return self.end(self.parts(content))

    @abstractmethod
    def end(self, parts: Iterable[RegisterValue]) -> RegisterValue | None:
        """The greatest or the least of the parts; of equal ones, the one that was given first."""

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """A value that is not beyond the one shown is taken and changes nothing."""
        if value is None:
            return []
        data, shown = codec.encode(value), self.shown(content)
        if shown is not None:
            wanted = shown._replace(data=data)
            if _rank(data)[:2] == _rank(shown.data)[:2] or self.end((shown, wanted)) is shown:
                return []
        return self._put(data, context=context)


class Greatest(_Ordered):
    """The greatest value that was ever given."""

    declared_as = "max_"

    def end(self, parts: Iterable[RegisterValue]) -> RegisterValue | None:
        return max(parts, key=lambda item: (_rank(item.data), -item.hlc, -item.dot.author), default=None)


class Least(_Ordered):
    """The least value that was ever given."""

    declared_as = "min_"

    def end(self, parts: Iterable[RegisterValue]) -> RegisterValue | None:
        return min(parts, key=lambda item: (_rank(item.data), item.hlc, item.dot.author), default=None)


_NONE = codec.encode(None)


def _rank(data: bytes) -> tuple[int, Any, bytes]:
    """Where value bytes stand in the one order of all values, the same on every machine.

    Values of types that do not compare stand by type; what has no order at all, by its bytes; so do equal values of
    different bytes, like 1 and 1.0.
    """
    value = codec.decode_as_written(data)
    for group, types in enumerate(_ORDERED):
        if isinstance(value, types):
            if isinstance(value, float | Decimal) and value != value:  # noqa: PLR0124  as above
                break
            if isinstance(value, datetime | time):  # with and without a zone do not compare
                return group, (value.tzinfo is not None, value), data
            return group, value, data
    return _WITHOUT_ORDER, data, data


def _has_order(member: Any) -> bool:
    if get_args(member):
        return False
    return isinstance(member, type) and any(member in types for types in _ORDERED)
