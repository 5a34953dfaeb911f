"""Lists whose elements can be inserted, set, moved and removed, on any number of devices at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, cast, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.kinds.base import ColumnKind, Drop, FieldHost, FieldKind, Write, WriteContext
from crdt_sync.core.kinds.list_cells import Element, elements_of, new_cell, new_ids, put_cell, rewrite
from crdt_sync.core.kinds.places import Place, between
from crdt_sync.core.kinds.plain import PlainRegister, json_value
from crdt_sync.errors import ElementNotFoundError, InvalidValueError

T = TypeVar("T")

_DIFF_ELEMENTS_MAX = 2_000
"""Of longer changed middles only what is equal is looked for, not the longest equal runs: difflib is quadratic."""


class List(Sequence[T], Generic[T]):
    """A live list. What several devices insert, set and move at once all takes effect; moving never duplicates.

    An element that is removed on one device while another one sets or moves it stays.
    """

    __slots__ = ("_host", "_kind")

    def __init__(self, kind: ListKind, host: FieldHost) -> None:
        self._kind = kind
        self._host = host

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A list is validated as a list of its element type; without a value it is empty."""
        arguments = getattr(source, "__args__", ())
        items = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()
        return core_schema.with_default_schema(core_schema.list_schema(items), default_factory=list)

    def append(self, value: T) -> None:
        """Add a value at the end."""
        self.extend([value])

    def extend(self, values: Iterable[T]) -> None:
        """Add values at the end."""
        checked = [self._kind.check_element(value) for value in values]
        self._host.edit(lambda content, context: self._kind.insert(content, None, checked, context=context))

    def insert(self, index: int, value: T) -> None:
        """Insert a value before the element at ``index``; an index beyond an end stands for the end, as in Python."""
        checked = [self._kind.check_element(value)]
        self._host.edit(lambda content, context: self._kind.insert(content, index, checked, context=context))

    def pop(self, index: int = -1) -> T:
        """Remove the element at ``index`` and return its value.

        Raises:
            ElementNotFoundError: the list has no such index; nothing was changed.
        """
        value = self[index]
        del self[index]
        return value

    def move(self, from_index: int, to_index: int) -> None:
        """Move an element, so that it stands at ``to_index`` afterwards. It stays one, also where others move it, too.

        Raises:
            ElementNotFoundError: the list has no such index; nothing was changed.
        """
        self._host.edit(lambda content, context: self._kind.move(content, from_index, to_index, context=context))

    def remove(self, value: T) -> None:
        """Remove the first element that equals ``value``.

        Raises:
            ElementNotFoundError: no element does; nothing was changed.
        """
        for index, item in enumerate(self):
            if item == value:
                del self[index]
                return
        raise ElementNotFoundError(f"field {self._kind.name!r}: no element equals this value", field=self._kind.name)

    def clear(self) -> None:
        """Remove all elements that are here now."""
        del self[:]

    def __len__(self) -> int:
        return len(self._kind.elements(self._host.content()))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> Any:
        values = self._kind.read(self._host.content())
        return values[index] if isinstance(index, slice) else values[self._kind.position(index, length=len(values))]

    def __iter__(self) -> Iterator[T]:
        return iter(cast("list[T]", self._kind.read(self._host.content())))

    def __setitem__(self, index: int, value: T) -> None:
        checked = self._kind.check_element(value)
        self._host.edit(lambda content, context: self._kind.set_element(content, index, checked, context=context))

    def __delitem__(self, index: int | slice) -> None:
        self._host.edit(lambda content, _: self._kind.remove(content, index))

    def __iadd__(self, values: Iterable[T]) -> Self:
        self.extend(values)
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, List | list):
            return list(self) == list(other)
        return NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"List({list(self)!r})"


class ListKind(FieldKind):
    """A cell for each element and author; see `list_cells`.

    Args:
        name: the field.
        element: what one element is.
    """

    def __init__(self, name: str, element: PlainRegister) -> None:
        super().__init__(name)
        self.element = element

    def elements(self, content: Content) -> list[Element]:
        """The elements in their order."""
        return elements_of(content.lists.get(self.stored, {}))

    def read(self, content: Content) -> list[Any]:
        return [self.element.decode(element.cell.data) for element in self.elements(content)]

    def live(self, host: FieldHost) -> List[Any]:
        return List(self, host)

    def validate(self, value: Any) -> Any:
        return [self.element.validate(item) for item in value]

    def complaint(self, value: Any) -> str:
        return next(filter(None, map(self.element.complaint, value)), "")

    def check_element(self, value: Any) -> Any:
        """Validate one element.

        Raises:
            InvalidValueError: of the wrong type, or it would not come back as it is.
        """
        return self.element.check(value)

    def comparable(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise InvalidValueError(f"field {self.name!r} is compared with a list", field=self.name)
        return [self.element.comparable(item) for item in value]

    def empty(self) -> list[Any]:
        return []

    def plain(self, value: Any) -> Any:
        return list(value) if isinstance(value, List) else value

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return self.insert(Content(), None, value, context=context)

    def insert(
        self, content: Content, index: int | None, values: Sequence[Any], *, context: WriteContext
    ) -> list[Write]:
        """The writes that insert values before an index, clamped as in Python; None is the end."""
        elements = self.elements(content)
        at = len(elements) if index is None else slice(self._whole(index), None).indices(len(elements))[0]
        left, right = elements[at - 1].place if at else None, elements[at].place if at < len(elements) else None
        places = between(left, right, author=context.author, time=context.hlc, count=len(values)) if values else []
        data = [codec.encode(value) for value in values]
        return self._added(elements, list(zip(data, places, strict=True)), context=context)

    def set_element(self, content: Content, index: int, value: Any, *, context: WriteContext) -> list[Write]:
        """The writes that give an element another value; none where it has this one."""
        elements = self.elements(content)
        element, data = elements[self.position(index, length=len(elements))], codec.encode(value)
        if element.cell.data == data:
            return []
        return rewrite(self.stored, element, data=data, place=None, context=context)

    def move(self, content: Content, from_index: int, to_index: int, *, context: WriteContext) -> list[Write]:
        """The writes that bring an element to another index; none where it stands there."""
        elements = self.elements(content)
        start = self.position(from_index, length=len(elements))
        end = self.position(to_index, length=len(elements))
        if start == end:
            return []
        element = elements.pop(start)
        left, right = elements[end - 1].place if end else None, elements[end].place if end < len(elements) else None
        place = between(left, right, author=context.author, time=context.hlc)[0]
        return rewrite(self.stored, element, data=None, place=place, context=context)

    def remove(self, content: Content, index: int | slice) -> list[Write]:
        """The writes that remove elements: all their cells that are seen."""
        elements = self.elements(content)
        gone = elements[index] if isinstance(index, slice) else [elements[self.position(index, length=len(elements))]]
        return [Drop(key) for element in gone for key in element.keys]

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """The writes that make the list equal to another one with few changes.

        What stands elsewhere in the new list is moved; of what was replaced the values are set where they stand; the
        rest is removed and inserted.
        """
        elements = self.elements(content)
        wanted = [codec.encode(item) for item in value]
        old = [element.cell.data for element in elements]
        if wanted == old:
            return []
        slots, gone = _match(old, wanted)
        fixed = [None if at is None or moves else elements[at].place for at, moves in slots]
        places = _fill(fixed, context=context)
        writes: list[Write] = [Drop(key) for at in gone for key in elements[at].keys]
        fresh: list[tuple[bytes, Place]] = []
        for data, place, (at, moves) in zip(wanted, places, slots, strict=True):
            if at is None:
                fresh.append((data, place))
            elif moves:
                writes += rewrite(self.stored, elements[at], data=None, place=place, context=context)
            elif old[at] != data:
                writes += rewrite(self.stored, elements[at], data=data, place=None, context=context)
        return [*writes, *self._added(elements, fresh, context=context)]

    def column_kind(self) -> ColumnKind:
        return ColumnKind.JSON

    def to_column(self, value: Any) -> list[Any]:
        return [json_value(item) for item in value]

    def position(self, index: int, *, length: int) -> int:
        """An index as Python means it, from 0.

        Raises:
            ElementNotFoundError: a list of this length has no such index.
        """
        at = self._whole(index)
        if not -length <= at < length:
            raise ElementNotFoundError(
                f"field {self.name!r}: index {index} is outside of a list of {length}", field=self.name
            )
        return at % length

    def _whole(self, index: object) -> int:
        if not isinstance(index, int):
            raise InvalidValueError(f"field {self.name!r}: an index of a list is an int", field=self.name)
        return index

    def _added(
        self, elements: list[Element], fresh: list[tuple[bytes, Place]], *, context: WriteContext
    ) -> list[Write]:
        names = new_ids(elements, context=context, count=len(fresh))
        return [
            put_cell(self.stored, name, new_cell(data, place, context=context), context=context)
            for name, (data, place) in zip(names, fresh, strict=True)
        ]


def _match(old: list[bytes], wanted: list[bytes]) -> tuple[list[tuple[int | None, bool]], list[int]]:
    """Which element each wanted value becomes, and which elements go.

    Returns:
        For each wanted value the index of its element, or None for a new one, and whether that is moved; and the
        indexes of what is removed.
    """
    slots: list[tuple[int | None, bool]] = [(None, False)] * len(wanted)
    blocks: list[tuple[list[int], list[int]]] = []
    for tag, old_from, old_to, new_from, new_to in _opcodes(old, wanted):
        if tag == "equal":
            for at in range(old_to - old_from):
                slots[new_from + at] = (old_from + at, False)
        else:
            blocks.append((list(range(old_from, old_to)), list(range(new_from, new_to))))
    free: dict[bytes, list[int]] = {}
    for at in reversed([at for held, _ in blocks for at in held]):
        free.setdefault(old[at], []).append(at)
    moved: set[int] = set()
    for _, open_ in blocks:
        for at in open_:
            if same := free.get(wanted[at]):
                source = same.pop()
                slots[at] = (source, True)
                moved.add(source)
    gone: list[int] = []
    for held, open_ in blocks:
        left = [at for at in held if at not in moved]
        new = [at for at in open_ if slots[at][0] is None]
        for at, source in zip(new, left, strict=False):
            slots[at] = (source, False)
        gone += left[len(new) :]
    return slots, gone


def _opcodes(old: list[bytes], wanted: list[bytes]) -> list[tuple[str, int, int, int, int]]:
    """The opcodes of a diff; of very long middles, one that replaces all."""
    start = 0
    while start < min(len(old), len(wanted)) and old[start] == wanted[start]:
        start += 1
    tail = 0
    while tail < min(len(old), len(wanted)) - start and old[-1 - tail] == wanted[-1 - tail]:
        tail += 1
    old_end, new_end = len(old) - tail, len(wanted) - tail
    middle = [("replace", 0, old_end - start, 0, new_end - start)]
    if max(old_end, new_end) - start <= _DIFF_ELEMENTS_MAX:
        matcher = difflib.SequenceMatcher(a=old[start:old_end], b=wanted[start:new_end], autojunk=False)
        middle = list(matcher.get_opcodes())
    inner = [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in middle]
    return [("equal", 0, start, 0, start), *inner, ("equal", old_end, len(old), new_end, len(wanted))]


def _fill(fixed: list[Place | None], *, context: WriteContext) -> list[Place]:
    """Places for a whole list, of which some are fixed and in order."""
    filled: list[Place] = []
    at = 0
    while at < len(fixed):
        held = fixed[at]
        if held is not None:
            filled.append(held)
            at += 1
            continue
        end = next((behind for behind in range(at, len(fixed)) if fixed[behind] is not None), len(fixed))
        left, right = filled[-1] if filled else None, fixed[end] if end < len(fixed) else None
        filled += between(left, right, author=context.author, time=context.hlc, count=end - at)
        at = end
    return filled
