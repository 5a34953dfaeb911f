"""Counters: the sum of each author's increments."""

from __future__ import annotations

from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.kinds.base import FieldHost, FieldKind, Put, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.errors import InvalidValueError


class Counter:
    """A live counter. Every increment counts, also those made at once on devices that are apart."""

    __slots__ = ("_host", "_kind")

    def __init__(self, kind: CounterKind, host: FieldHost) -> None:
        self._kind = kind
        self._host = host

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A counter is validated as an int; without a value it is 0."""
        return core_schema.with_default_schema(core_schema.int_schema(strict=True), default=0)

    def increment(self, n: int = 1) -> None:
        """Add ``n`` (an int, may be negative)."""
        _check_step(n, self._kind.name)
        self._host.edit(lambda content, context: self._kind.add(content, n, context=context))

    def decrement(self, n: int = 1) -> None:
        """Subtract ``n``."""
        _check_step(n, self._kind.name)
        self._host.edit(lambda content, context: self._kind.add(content, -n, context=context))

    def __int__(self) -> int:
        return self._kind.read(self._host.content())

    def __index__(self) -> int:
        return int(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Counter | int):
            return int(self) == int(other)
        return NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __lt__(self, other: object) -> bool:
        return int(self) < int(other) if isinstance(other, Counter | int) else NotImplemented

    def __le__(self, other: object) -> bool:
        return int(self) <= int(other) if isinstance(other, Counter | int) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return int(self) > int(other) if isinstance(other, Counter | int) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return int(self) >= int(other) if isinstance(other, Counter | int) else NotImplemented

    def __repr__(self) -> str:
        return f"Counter({int(self)})"


class CounterKind(FieldKind):
    """One author's total stands under that author's key."""

    def read(self, content: Content) -> int:
        return sum(content.counters.get(self.stored, {}).values())

    def live(self, host: FieldHost) -> Counter:
        return Counter(self, host)

    def empty(self) -> int:
        return 0

    def plain(self, value: Any) -> Any:
        return int(value) if isinstance(value, Counter) else value

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return [self._put(value, context=context)] if value else []

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        if value == self.read(content):
            return []
        raise InvalidValueError(
            f"field {self.name!r} is a counter and cannot be set",
            field=self.name,
            hint="Use .increment(n) or .decrement(n), so that counting on several devices adds up.",
        )

    def recreate(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        return self.add(content, value - self.read(content), context=context)

    def comparable(self, value: Any) -> Any:
        if not isinstance(value, int | float):
            raise InvalidValueError(f"field {self.name!r} is compared with a number", field=self.name)
        return value

    def add(self, content: Content, step: int, *, context: WriteContext) -> list[Write]:
        """The writes of one increment."""
        if step == 0:
            return []
        return [self._put(content.counters.get(self.stored, {}).get(context.author, 0) + step, context=context)]

    def _put(self, total: int, *, context: WriteContext) -> Put:
        return Put(map_key(KeyClass.COUNTER, context.author, field=self.stored), codec.encode(total))


def _check_step(step: object, field: str) -> None:
    if type(step) is not int:
        raise InvalidValueError(f"field {field!r}: a counter moves by whole numbers", field=field)
