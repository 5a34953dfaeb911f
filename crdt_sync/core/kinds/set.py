"""Sets where add wins: a key for each (element, author); removing deletes the keys that were seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Generic, TypeVar, cast, get_args

from blake3 import blake3
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.equality import is_same
from crdt_sync.core.kinds.app_type import AppType
from crdt_sync.core.kinds.base import ColumnKind, Drop, FieldHost, FieldKind, Put, Write, WriteContext
from crdt_sync.core.kinds.plain import json_value
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InvalidValueError, LimitError, MalformedEntryError, UnrepresentableValueError

T = TypeVar("T")

_LITERAL, _HASHED = "=", "#"


class Set(AbstractSet[T], Generic[T]):
    """A live set. An element added on one device and removed at once on another stays."""

    __slots__ = ("_host", "_kind")

    def __init__(self, kind: SetKind, host: FieldHost) -> None:
        self._kind = kind
        self._host = host

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A set is validated as a set of its element type; a list is taken too. Without a value it is empty."""
        arguments = get_args(source)
        elements = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()
        return core_schema.with_default_schema(core_schema.set_schema(elements), default_factory=set)

    @classmethod  # & and | give plain sets
    def _from_iterable(cls, it: Iterable[Any]) -> AbstractSet[Any]:
        return set(it)

    def add(self, element: T) -> None:
        """Add an element. It stays also where somebody who had seen it removes it at the same time."""
        checked = self._kind.check_element(element)
        self._host.edit(lambda _, context: self._kind.add([checked], context=context))

    def discard(self, element: T) -> None:
        """Remove an element; nothing happens where it is not there. What is there need not be of the declared type."""
        is_held = self._kind.holds(self._host.content(), element)
        wanted = self._same(element if is_held else self._kind.check_element(element))
        self._host.edit(lambda content, context: self._kind.remove(content, wanted))

    def __contains__(self, element: object) -> bool:
        try:
            hash(element)
        except TypeError:
            return False  # what cannot be hashed is no element of any set
        return not self._kind.read(self._host.content()).isdisjoint(self._same(element))

    def __iter__(self) -> Iterator[T]:
        return iter(cast("set[T]", self._elements()))

    def __len__(self) -> int:
        return len(self._elements())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AbstractSet):
            return set(self) == set(other)
        return NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Set({set(self)!r})"

    def _elements(self) -> set[Any]:
        """The elements; of references to one record the one to the id that it shows under."""
        return {self._same(element)[0] for element in self._kind.read(self._host.content())}

    def _same(self, element: Any) -> list[Any]:
        """An element, or all references to the same record."""
        found: list[Any] = self._host.same(element) if isinstance(element, Ref) else []
        return found or [element]


class SetKind(FieldKind):
    """Elements are named by their value bytes, or by a hash of them where those are long."""

    def __init__(self, name: str, element_type: Any) -> None:
        super().__init__(name)
        self.element_type = element_type
        self._type = AppType(element_type, field=name)

    def read(self, content: Content) -> set[Any]:
        return {element for element, _ in self.named(content)}

    def live(self, host: FieldHost) -> Set[Any]:
        return Set(self, host)

    def validate(self, value: Any) -> Any:
        return {self.check_element(element) for element in value}

    def check_element(self, element: Any) -> Any:
        """Validate one element.

        Raises:
            InvalidValueError: of the wrong type, or not hashable.
        """
        checked = self._type.check(element, what=": an element is refused")
        try:
            hash(checked)
        except TypeError:
            raise InvalidValueError(f"field {self.name!r}: an element must be hashable", field=self.name) from None
        back = self._type.read(codec.decode(codec.encode(checked)))
        if not is_same(back, checked):
            raise UnrepresentableValueError(
                f"field {self.name!r}: an element would not come back as it is", field=self.name
            )
        if back != checked:
            raise UnrepresentableValueError(
                f"field {self.name!r}: an element must be equal to itself, which NaN is not",
                field=self.name,
                hint="A set could not find NaN again: leave it out, or use a List; nothing was changed.",
            )
        return checked

    def holds(self, content: Content, element: Any) -> bool:
        """Whether an element is there as it is, not as what its type would make of it."""
        try:
            return element in self.read(content) or _element(element)[0] in content.sets.get(self.stored, {})
        except (TypeError, UnrepresentableValueError, LimitError):
            return False  # nothing that could be there

    def complaint(self, value: Any) -> str:
        return next(filter(None, map(self._type.complaint, value)), "")

    def empty(self) -> set[Any]:
        return set()

    def plain(self, value: Any) -> Any:
        return set(value) if isinstance(value, Set) else value

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return self.add(value, context=context)

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """Assigning a set adds what is missing and removes what is not in it."""
        wanted, present = self.validate(value), self.read(content)
        writes = self.remove(content, present - wanted)
        return [*writes, *self.add(wanted - present, context=context)]

    def add(self, elements: Iterable[Any], *, context: WriteContext) -> list[Write]:
        """The writes that add elements.

        What is there already is written again: where somebody removes it at once, the adding wins.
        """
        cells = sorted(_element(element) for element in elements)
        return [Put(map_key(KeyClass.SET, context.author, field=self.stored, rest=name), data) for name, data in cells]

    def remove(self, content: Content, elements: Iterable[Any]) -> list[Write]:
        """The writes that remove elements: all keys that are seen of all elements that are equal to them.

        Equal elements may have several names: ``Decimal("1.0")`` and ``Decimal("1.00")``, one instant in two zones.
        """
        held, wanted = content.sets.get(self.stored, {}), set(elements)
        names = {_element(element)[0] for element in wanted} & held.keys()  # NaN is found by its name alone
        names.update(name for element, name in self.named(content) if element in wanted)
        return [Drop(key) for name in sorted(names) for key, _ in held[name]]

    def column_kind(self) -> ColumnKind:
        return ColumnKind.JSON

    def to_column(self, value: Any) -> list[Any]:
        return sorted((json_value(element) for element in value), key=_json_order)

    def named(self, content: Content) -> Iterator[tuple[Any, str]]:
        """The elements with their names in keys, in one order everywhere: of equal elements the first one shows."""
        for name, cells in sorted(content.sets.get(self.stored, {}).items()):
            try:
                element = self._decode(name, cells)
                hash(element)
            except (MalformedEntryError, TypeError):
                continue  # no element that a set could hold: kept in the document, out of sight
            yield element, name

    def _decode(self, element: str, cells: list[tuple[str, bytes]]) -> Any:
        data = element[1:].encode("latin-1", "replace") if element[0] == _LITERAL else _hashed_data(element, cells)
        return self._type.read(codec.decode(data))


def _json_order(item: Any) -> tuple[str, Any]:
    """An order for what JSON can hold: by type, and lists by their text, since their items may not compare."""
    return type(item).__name__, item if isinstance(item, str | int | float) else repr(item)


def _hashed_data(element: str, cells: list[tuple[str, bytes]]) -> bytes:
    """What an element's name is the hash of: only a stranger's cell holds anything else."""
    for _, data in cells:
        if element == _hashed(data):
            return data
    raise MalformedEntryError("an element of a set that is not what its name says")


def _hashed(data: bytes) -> str:
    return _HASHED + blake3(data).hexdigest(20)


def _element(element: Any) -> tuple[str, bytes]:
    """An element's name in its key, and what the key holds beside it."""
    data = codec.encode(element)
    if len(data) < ENTRY_LIMITS.element_chars_max:
        return _LITERAL + data.decode("latin-1"), b""
    return _hashed(data), data
