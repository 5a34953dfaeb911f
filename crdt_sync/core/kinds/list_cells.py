"""The cells of a list: one for each element and author who inserted, set or moved it, and what they come to.

A cell holds the element's value and its place, each with the stamp of the write that gave it. Whoever changes one of
them copies the other with its stamp, and drops the cells that it has seen. So of the cells of an element that stand
side by side the value with the highest stamp shows, at the place with the highest stamp: setting and moving at once
both take effect, moving twice at once leaves one element, and removing drops only what was seen.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from crdt_sync.core import codec
from crdt_sync.core.ids import Author, author_text
from crdt_sync.core.kinds.base import Drop, Put, Write, WriteContext
from crdt_sync.core.kinds.places import Place, read_author, read_number, read_place, write_place
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.varint import write_varint
from crdt_sync.errors import LimitError, MalformedEntryError

_CACHED_BYTES_MAX: Final = 512
_NUMBER_MAX: Final = 2**64 - 1
_ONE_STAMP, _TWO_STAMPS = 0, 1


class Stamp(NamedTuple):
    """When a value or place was given: a number above that of what it replaced, at least the HLC; and by whom."""

    number: int
    author: Author

    def next(self, context: WriteContext) -> Stamp:
        """The stamp of a write that replaces what has this one: the later one whatever the clocks say."""
        return Stamp(min(max(context.hlc, self.number + 1), _NUMBER_MAX), context.author)


class Cell(NamedTuple):
    """What one author wrote of one element."""

    value_stamp: Stamp
    data: bytes
    place_stamp: Stamp
    place: Place


class Element(NamedTuple):
    """One element as it stands.

    Args:
        place: where it is; with the id, the order of the list.
        id: names it for ever.
        cell: its value and place.
        keys: of all its cells.
    """

    place: Place
    id: str
    cell: Cell
    keys: tuple[str, ...]


def new_cell(data: bytes, place: Place, *, context: WriteContext) -> Cell:
    """The cell of an element that is inserted."""
    stamp = Stamp(context.hlc, context.author)
    return Cell(stamp, data, stamp, place)


def new_ids(elements: Iterable[Element], *, context: WriteContext, count: int) -> list[str]:
    """Names for elements that are inserted, which nobody gives again: author, transaction, number in it."""
    moment = urlsafe_b64encode(context.hlc.to_bytes(8, "big")).rstrip(b"=").decode("ascii")
    prefix = author_text(context.author) + moment
    tails = [item.id[len(prefix) :] for item in elements if item.id.startswith(prefix)]
    start = max([int(tail) + 1 for tail in tails if tail.isascii() and tail.isdigit()], default=0)
    return [f"{prefix}{number}" for number in range(start, start + count)]


def put_cell(field: str, element_id: str, cell: Cell, *, context: WriteContext) -> Put:
    """The write of one's own cell of an element.

    Raises:
        LimitError: value and place are larger than a value may be.
    """
    data = write_cell(cell)
    if len(data) > ENTRY_LIMITS.value_bytes_max:
        raise LimitError(f"an element of a list has at most {ENTRY_LIMITS.value_bytes_max} bytes, this one {len(data)}")
    return Put(map_key(KeyClass.LIST, context.author, field=field, rest=element_id), data)


def rewrite(
    field: str, element: Element, *, data: bytes | None, place: Place | None, context: WriteContext
) -> list[Write]:
    """The writes that give an element another value, another place, or both; what is None is copied as it is."""
    cell = element.cell
    if data is not None:
        cell = cell._replace(value_stamp=cell.value_stamp.next(context), data=data)
    if place is not None:
        cell = cell._replace(place_stamp=cell.place_stamp.next(context), place=place)
    put = put_cell(field, element.id, cell, context=context)
    return [*(Drop(key) for key in element.keys if key != put.key), put]


def elements_of(cells: dict[str, list[tuple[str, bytes]]]) -> list[Element]:
    """The elements of a list in their order; cells that nobody can read stay out of sight.

    Args:
        cells: element id → [(key, bytes), …].
    """
    found = [element for name, held in cells.items() if (element := _merged(name, held)) is not None]
    found.sort(key=lambda element: element[:2])
    return found


def _merged(element_id: str, held: Sequence[tuple[str, bytes]]) -> Element | None:
    cells = readable_cells(held)
    if not cells:
        return None
    value = max(cells, key=lambda cell: cell[:2])
    place = max(cells, key=lambda cell: cell[2:])
    cell = value if value is place else Cell(value.value_stamp, value.data, place.place_stamp, place.place)
    return Element(cell.place, element_id, cell, tuple(key for key, _ in held))


def readable_cells(held: Iterable[tuple[str, bytes]]) -> list[Cell]:
    """The cells of one element that can be read."""
    return [cell for _, data in held if (cell := _read(data)) is not None]


def _read(data: bytes) -> Cell | None:
    return _remembered(data) if len(data) <= _CACHED_BYTES_MAX else _readable(data)


def _readable(data: bytes) -> Cell | None:
    try:
        cell = read_cell(data)
        codec.decode(cell.data)
    except MalformedEntryError:
        return None
    return cell


_remembered = lru_cache(maxsize=8192)(_readable)


def write_cell(cell: Cell) -> bytes:
    """The bytes of a cell: whether it has two stamps, the stamps, the place, the value bytes."""
    has_one = cell.value_stamp == cell.place_stamp
    out = bytearray((_ONE_STAMP if has_one else _TWO_STAMPS,))
    for stamp in (cell.value_stamp,) if has_one else (cell.value_stamp, cell.place_stamp):
        write_varint(out, stamp.number)
        write_varint(out, stamp.author)
    write_place(out, cell.place)
    return bytes(out) + cell.data


def read_cell(data: bytes) -> Cell:
    """Read the bytes of a cell.

    Raises:
        MalformedEntryError: bytes that `write_cell` would not make.
    """
    if data[:1] not in (b"\x00", b"\x01"):
        raise MalformedEntryError("a cell of a list that is none")
    value_stamp, position = _read_stamp(data, 1)
    place_stamp = value_stamp
    if data[0] == _TWO_STAMPS:
        place_stamp, position = _read_stamp(data, position)
    place, position = read_place(data, position)
    return Cell(value_stamp, data[position:], place_stamp, place)


def _read_stamp(data: bytes, position: int) -> tuple[Stamp, int]:
    number, position = read_number(data, position)
    author, position = read_author(data, position)
    if number > _NUMBER_MAX:
        raise MalformedEntryError("a stamp out of range in a list")
    return Stamp(number, author), position
