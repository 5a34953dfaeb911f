"""What a field kind is: pure functions from a document's content to a value, and from a wanted change to writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, ClassVar, NamedTuple, Protocol

from crdt_sync.core.content import Content, RegisterValue
from crdt_sync.core.ids import Author
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InvalidValueError


class Put(NamedTuple):
    """Set a key of the map root."""

    key: str
    data: bytes


class Drop(NamedTuple):
    """Remove a key of the map root."""

    key: str


Attribute = None | bool | int | float | str
"""The value of a text attribute; None is none."""

TextRun = tuple[str, dict[str, Attribute]]
"""A piece of a text, and the attributes that all of it has."""


class Insert(NamedTuple):
    """Insert into a text before the code point ``at``; without attributes it takes on those of where it stands."""

    field: str
    at: int
    text: str
    attributes: Mapping[str, Attribute] | None = None


class Cut(NamedTuple):
    """Delete ``length`` code points of a text from ``at`` on."""

    field: str
    at: int
    length: int


class Mark(NamedTuple):
    """Give ``length`` code points of a text from ``at`` on attributes; None takes one away."""

    field: str
    at: int
    length: int
    attributes: Mapping[str, Attribute]


Write = Put | Drop | Insert | Cut | Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteContext:
    """Who writes, and when (packed HLC timestamp)."""

    author: Author
    hlc: int


@unique
class ColumnKind(Enum):
    """How the values of a field are kept, compared and ordered in the materialised table that queries run over."""

    VALUE = "value"
    """None, bool, int (of any size), float, str or bytes; ordered None, numbers, text, bytes. NaN is kept as text."""
    DECIMAL = "decimal"
    """None or a number (Decimal, int, float, or str of a number), kept as decimal text, compared as a number."""
    JSON = "json"
    """None or what JSON can hold, kept as JSON text with sorted keys; equal where the text is, and without an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Concurrent values of one register that need a person's choice.

    Args:
        register: its name: the field, or ``field/entry`` for an entry of a map.
        candidates: the values, latest first.
        paths: where they overlap, as JSON Pointers inside of the register's value; ``""`` is all of it.
        base: their common ancestor; the default where nobody wrote before; `UNKNOWN` where it is not kept.
        value: what is shown until it is settled: what merges is merged, and the latest stands where they overlap.
    """

    register: str
    candidates: list[RegisterValue]
    paths: tuple[str, ...]
    base: Any
    value: Any


class FieldHost(Protocol):
    """What a live field object (Text, Counter, Set, List, Map) needs of the record that it belongs to."""

    def content(self) -> Content:
        """The record's document, as it is now."""

    def runs(self) -> list[TextRun]:
        """The field's text with its attributes, as it is now."""

    def edit(self, make: Callable[[Content, WriteContext], list[Write]]) -> None:
        """Make a local change: at once, or as part of the open transaction."""

    def same(self, reference: Ref[Any]) -> list[Ref[Any]]:
        """All references to the record that one names, if it was merged with others: first by the id that it shows."""


class FieldKind(ABC):
    """One declared field of one model.

    Invariants:
        1. `read` depends on the content alone.
        2. `create` and `assign` only describe writes; they change nothing.
        3. A write's keys are the writer's own, apart from the keys that it drops.
    """

    in_creation: ClassVar[bool] = False
    """Whether the field's first value is part of the creation's single value (registers)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stored = name
        """What its cells in documents are named by: the field's first name, whatever it is called now."""

    @abstractmethod
    def read(self, content: Content) -> Any:
        """The field's value: a plain Python value, also for live kinds (str, int, set)."""

    def stored_value(self, content: Content) -> Any:
        """What is given where `read` fails: as little made of it as can be."""
        del content
        return self.empty()

    def live(self, host: FieldHost) -> Any:
        """What attribute access gives: the value itself, or an object whose methods are local writes."""
        return self.read(host.content())

    def validate(self, value: Any) -> Any:
        """Check a value that pydantic accepted; returns what is stored.

        Raises:
            UnrepresentableValueError: it would not come back equal and of the same type.
        """
        return value

    def empty(self) -> Any:
        """What a field that is not in the creation starts as, as pydantic takes it."""
        return None

    def plain(self, value: Any) -> Any:
        """The plain value that a live object of this kind stands for; anything else as it is."""
        return value

    def complaint(self, value: Any) -> str:
        """Why a value that was read does not fit the declaration, without the value; empty where it does."""
        del value
        return ""

    @abstractmethod
    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        """The writes that give the field its first value; empty for kinds that are in the creation."""

    @abstractmethod
    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """The writes of ``record.field = value``; empty where nothing changes."""

    def recreate(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """The writes that give the field a value when a deleted record with a natural key is created again."""
        return self.assign(content, value, context=context)

    def candidates(self, content: Content) -> list[RegisterValue]:
        """The concurrent values, latest first; empty for kinds that always merge."""
        return []

    def clashes(self, content: Content) -> list[Clash]:
        """The clashes of its registers, in the order of their names: an ordinary field has at most one."""
        return []

    def register_kind(self, register: str) -> FieldKind:
        """The kind of one of its registers: itself, unless the field has a register for each entry."""
        return self

    def decode(self, data: bytes) -> Any:
        """Value bytes as the declared type."""
        raise InvalidValueError(f"field {self.name!r} keeps no single value", field=self.name)

    def comparable(self, value: Any) -> Any:
        """A value that the field's are compared with in a query, as the declared type.

        Raises:
            InvalidValueError: nothing of its type can be in the field.
        """
        return self.validate(value)

    def sought(self, value: Any) -> Any:
        """What a query compares the field's column with; raises what `comparable` does."""
        return self.to_column(self.comparable(value))

    def column_kind(self) -> ColumnKind:
        """How the field stands in the materialised table."""
        return ColumnKind.VALUE

    def to_column(self, value: Any) -> Any:
        """A value as its column takes it: a plain SQLite value, or lists and dicts of those in a JSON column."""
        return value
