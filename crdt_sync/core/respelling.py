"""What takes back one transaction's edits of a text: its insertions are cut, its deletions put back in their place.

Units that are put back are new ones to everybody. Whoever takes back an older edit must know them for the old ones, so
what stands for what is kept (`Aliases`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from crdt_sync.core.blocks import UnitId
from crdt_sync.core.kinds import Cut, Insert, Mark, TextRun, Write
from crdt_sync.core.kinds.base import Attribute
from crdt_sync.core.spelling import Piece

Attributes = Mapping[str, Attribute]


class Char(NamedTuple):
    """One code point of a text that is shown, and its attributes."""

    text: str
    attributes: Attributes


Spelled = dict[UnitId, Char]
"""A text that is shown, in order: first unit of each code point → what it is."""


class Alias(NamedTuple):
    """Units that were put back: ``length`` of them stand for as many older ones."""

    old_author: int
    old_clock: int
    author: int
    clock: int
    length: int

    def goes_on_with(self, old: UnitId, new: UnitId) -> bool:
        """Whether a unit that stands for another one follows behind."""
        ends = (self.old_author, self.old_clock + self.length), (self.author, self.clock + self.length)
        return ends == (old, new)


class Aliases:
    """Which units of one document stand for which."""

    def __init__(self, ranges: Iterable[Alias]) -> None:
        self._olds = {
            (item.author, item.clock + at): (item.old_author, item.old_clock + at)
            for item in ranges
            for at in range(item.length)
        }

    def origin(self, unit: UnitId) -> UnitId:
        """The unit that this one stands for, in the end."""
        while unit in self._olds:
            unit = self._olds[unit]
        return unit


class Action(NamedTuple):
    """What becomes of one code point: ``keep``, ``cut`` or ``put``."""

    what: str
    unit: UnitId
    char: Char


def spelled(pieces: Iterable[Piece], runs: Sequence[TextRun]) -> Spelled:
    """A text that is shown, code point by code point.

    Args:
        pieces: of the text, in order.
        runs: the same text with its attributes.
    """
    attributes = _each(runs)
    found: Spelled = {}
    for piece in pieces:
        clock = piece.clock
        for char in piece.text:
            found[piece.author, clock] = Char(char, next(attributes, {}))
            clock += _width(char)
    return found


def plan(
    before: Spelled,
    after: Spelled,
    now: Spelled,
    *,
    pieces: Iterable[Piece],
    aliases: Aliases,
    cut_by_others: Mapping[int, Sequence[tuple[int, int]]],
) -> tuple[list[Action], bool]:
    """What becomes of each code point of a text when an edit of it is taken back.

    Args:
        before: the text before the edit.
        after: the text after it.
        now: the text as it is.
        pieces: of the text as it is, those out of sight too.
        aliases: which units stand for which.
        cut_by_others: author → ranges of units that others deleted since.

    Returns:
        The actions in the order of the text; and whether others deleted some of what the edit deleted.
    """
    gone = {aliases.origin(unit) for unit in after.keys() - before.keys()}
    places = {aliases.origin(unit): at for at, unit in enumerate(now)}
    back = {unit for unit in before if unit not in after and aliases.origin(unit) not in places}
    cut = {author: _joined(ranges) for author, ranges in cut_by_others.items()}
    lost = {unit for unit in back if _within(unit, cut)}
    kept = [aliases.origin(unit) not in gone for unit in now]
    order, units = _Order(pieces), list(now)
    slots: dict[int, list[UnitId]] = {}
    waiting: list[UnitId] = []
    left = -1
    for unit in [*before, None]:  # what is put back stands between the neighbours that it had
        here = len(now) if unit is None else places.get(aliases.origin(unit))
        if unit is not None and unit in back and unit not in lost:
            waiting.append(unit)
        elif here is not None and (unit is None or kept[here]) and here > left:
            _put_between(waiting, units, left=left, right=here, kept=kept, order=order, slots=slots)
            waiting, left = [], here
    actions: list[Action] = []
    for at, (unit, char) in enumerate(now.items()):
        actions += [Action("put", old, before[old]) for old in slots.get(at, ())]
        actions.append(Action("keep" if kept[at] else "cut", unit, char))
    actions += [Action("put", old, before[old]) for old in slots.get(len(now), ())]
    return actions, bool(lost)


class _Order:
    """Tells where units stand, those out of sight too."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._starts: dict[int, list[tuple[int, int]]] = {}
        for number, piece in enumerate(pieces):
            self._starts.setdefault(piece.author, []).append((piece.clock, number))
        for starts in self._starts.values():
            starts.sort()

    def place(self, unit: UnitId) -> tuple[int, int]:
        """Sorts like the text."""
        starts = self._starts[unit[0]]
        clock, number = starts[bisect_right(starts, (unit[1], len(starts) + unit[1])) - 1]
        return number, unit[1] - clock


def _put_between(
    waiting: Sequence[UnitId],
    now: Sequence[UnitId],
    *,
    left: int,
    right: int,
    kept: Sequence[bool],
    order: _Order,
    slots: dict[int, list[UnitId]],
) -> None:
    """Choose places behind ``left`` and before ``right``; among what others put there, by where a unit stood."""
    if not waiting:
        return  # the usual case, and `others` takes time
    others = [at for at in range(left + 1, right) if kept[at]]
    slot, passed = left + 1, 0
    for unit in waiting:
        while passed < len(others) and order.place(now[others[passed]]) < order.place(unit):
            slot = others[passed] + 1
            passed += 1
        slots.setdefault(slot, []).append(unit)


def edits(field: str, actions: Sequence[Action], *, back: Mapping[UnitId, Attributes], plain: bool) -> list[Write]:
    """The writes that carry actions out: attributes first, then from the end on, so that indices hold.

    Args:
        field: the text's field.
        actions: as `plan` gave them.
        back: unit → the attributes that it gets back.
        plain: the text as it is has no attributes.
    """
    # Without attributes of its own, what is inserted takes those of what stands before it, also those given just now.
    plain = plain and not any(action.char.attributes for action in actions) and not any(back.values())
    marks: list[Mark] = []
    swaps: list[Cut | Insert] = []
    index = 0
    for what, unit, char in actions:
        if what == "put":
            given = None if plain else char.attributes
            last = swaps[-1] if swaps else None
            if isinstance(last, Insert) and last.at == index and last.attributes == given:
                swaps[-1] = last._replace(text=last.text + char.text)
            else:
                swaps.append(Insert(field, index, char.text, given))
            continue
        if what == "cut":
            last = swaps[-1] if swaps else None
            if isinstance(last, Cut) and last.at + last.length == index:
                swaps[-1] = last._replace(length=last.length + 1)
            else:
                swaps.append(Cut(field, index, 1))
        elif changed := back.get(unit):
            last_mark = marks[-1] if marks else None
            if last_mark and last_mark.at + last_mark.length == index and last_mark.attributes == changed:
                marks[-1] = last_mark._replace(length=last_mark.length + 1)
            else:
                marks.append(Mark(field, index, 1, changed))
        index += 1
    return [*marks, *reversed(swaps)]


def attributes_back(
    before: Spelled, after: Spelled, now: Spelled, *, aliases: Aliases
) -> dict[UnitId, dict[str, Attribute]]:
    """The attributes that an edit gave code points and that they still have, as they were before; None takes away."""
    olds = {aliases.origin(unit): char.attributes for unit, char in before.items()}
    lefts = {aliases.origin(unit): char.attributes for unit, char in after.items()}
    found: dict[UnitId, dict[str, Attribute]] = {}
    for unit, char in now.items():
        was, left = olds.get(aliases.origin(unit)), lefts.get(aliases.origin(unit))
        if was is None or left is None or _same(was, left):
            continue
        found[unit] = {
            name: was.get(name)
            for name in sorted(was.keys() | left.keys())
            if _typed(was.get(name)) != _typed(left.get(name)) == _typed(char.attributes.get(name))
        }
    return found


def put_back(actions: Sequence[Action], result: Spelled) -> list[Alias]:
    """Which units of the text that came out stand for which old ones."""
    found: list[Alias] = []
    units = iter(result)
    for what, old, char in actions:
        if what == "cut":
            continue
        unit = next(units, None)
        if what != "put" or unit is None:
            continue
        last, width = found[-1] if found else None, _width(char.text)
        if last and last.goes_on_with(old, unit):
            found[-1] = last._replace(length=last.length + width)
        else:
            found.append(Alias(*old, *unit, width))
    return found


def _same(some: Attributes, others: Attributes) -> bool:
    return {name: _typed(value) for name, value in some.items()} == {
        name: _typed(value) for name, value in others.items()
    }


def _typed(value: Attribute) -> tuple[type, Attribute]:
    return type(value), value


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _within(unit: UnitId, joined: Mapping[int, Sequence[tuple[int, int]]]) -> bool:
    ranges = joined.get(unit[0], ())
    at = bisect_right(ranges, unit[1], key=itemgetter(0))
    return at > 0 and unit[1] < ranges[at - 1][1]


def _each(runs: Sequence[TextRun]) -> Iterator[Attributes]:
    for text, attributes in runs:
        for _ in text:
            yield attributes


def _width(char: str) -> int:
    """UTF-16 units of a code point."""
    return 2 if ord(char) > 0xFFFF else 1
