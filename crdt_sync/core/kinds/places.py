"""Places in a list: between any two there is room for more, and no two devices ever make the same one.

A place is a path of steps. A step is (author, time, number): who made it, when (the HLC timestamp of its transaction;
negative where it was made in front of something), and which one of that moment. Paths compare step by step; a path that
another one continues comes before it. The last step's number is odd. What is put behind a place continues its path;
what is put in front of it continues the path whose last number is one less, which is even and so no place itself.

Where the neighbour's last step is the writer's own, the new place is a sibling of it: what one device writes forwards
or backwards, one after the other, has one common path and stays together, whatever others put there at the same time,
and the paths do not grow.

Source: the tree of left and right children of Weidner and Kleppmann, "The Art of the Fugue: Minimizing Interleaving in
Collaborative Text Editing" (2023), written as paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.varint import write_varint
from crdt_sync.errors import MalformedEntryError

Step = tuple[int, int, int]
"""(author, time, number)."""

Place = tuple[Step, ...]

NUMBER_BITS: Final = 70
"""Ten bytes of seven bits hold every timestamp, signed."""


def between(left: Place | None, right: Place | None, *, author: Author, time: int, count: int = 1) -> list[Place]:
    """New places, in order, behind ``left`` and in front of ``right``.

    Args:
        left: the neighbour before; None at the beginning.
        right: the neighbour behind, greater than ``left``; None at the end.
        author: who writes.
        time: the HLC timestamp of the transaction; an author's later transactions have greater ones.
        count: how many.
    """
    made: list[Place] = []
    for parent, signed, number in _options(left, right, author=author, time=time, count=count):
        made = [(*parent, (author, signed, number + 2 * at)) for at in range(count)]
        if (left is None or left < made[0]) and (right is None or made[-1] < right):
            break
    return made  # no option fits where two neighbours have one place, which honest writers never make


def _options(
    left: Place | None, right: Place | None, *, author: Author, time: int, count: int
) -> Iterator[tuple[Place, int, int]]:
    """Where new places could hang, best first: parent, signed time, first number."""
    if right is not None and (left is None or _follows(right, left)):
        *parent, (who, when, number) = right
        if who == author:
            yield tuple(parent), -time, number - 2 * count if when == -time else 1
        yield (*parent, (who, when, number - 1)), -time, 1
    if left is not None:
        *parent, (who, when, number) = left
        if who == author:
            yield tuple(parent), time, number + 2 if when == time else 1
        yield left, time, 1
    elif right is None:
        yield (), time, 1


def _follows(right: Place, left: Place) -> bool:
    """Whether a place hangs behind another one: as a child, or as a sibling that its author put there later."""
    if right[: len(left)] == left:
        return True
    if right[: len(left) - 1] != left[:-1] or len(right) < len(left):
        return False
    author, time, _ = right[len(left) - 1]
    who, when, _ = left[-1]
    return author == who and (time >= when > 0 or time > -when > 0)


def write_place(out: bytearray, place: Place) -> None:
    """Append a place: how many steps, then each as author, time and number."""
    write_varint(out, len(place))
    for author, time, number in place:
        write_varint(out, author)
        write_varint(out, _unsigned(time))
        write_varint(out, _unsigned(number))


def read_place(data: bytes, position: int) -> tuple[Place, int]:
    """Read a place; returns it with the position behind it.

    Raises:
        MalformedEntryError: bytes that `write_place` would not make.
    """
    count, position = read_number(data, position)
    if not 0 < count <= len(data):
        raise MalformedEntryError("a place without steps, or with more than there are bytes")
    steps: list[Step] = []
    for _ in range(count):
        author, position = read_author(data, position)
        time, position = read_number(data, position)
        number, position = read_number(data, position)
        steps.append((author, _signed(time), _signed(number)))
    return tuple(steps), position


def read_author(data: bytes, position: int) -> tuple[Author, int]:
    """Read an author; returns it with the position behind it.

    Raises:
        MalformedEntryError: no author has this number.
    """
    author, position = read_number(data, position)
    if not 1 <= author <= AUTHOR_MAX:
        raise MalformedEntryError("an author out of range in a list")
    return Author(author), position


def read_number(data: bytes, position: int) -> tuple[int, int]:
    """Read an unsigned LEB128 number; returns it with the position behind it.

    Raises:
        MalformedEntryError: it does not end, or has more than `NUMBER_BITS` bits.
    """
    value = shift = 0
    while position < len(data) and shift < NUMBER_BITS:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise MalformedEntryError("a number that does not end")


def _unsigned(value: int) -> int:
    """Zigzag: 0, -1, 1, -2 … become 0, 1, 2, 3 and so on."""
    return value << 1 if value >= 0 else ~(value << 1)


def _signed(value: int) -> int:
    return ~(value >> 1) if value & 1 else value >> 1
