"""Three-way merge of value bytes: dicts by key, lists by item, texts by line, anything else whole.

It works on what msgpack finds in the bytes and opens no date, number or zone of our own: what two machines take a value
for could differ, its bytes cannot. Any number of sides is merged at once, so their order is of no matter, but for what
is shown where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import msgpack

from crdt_sync.core import codec
from crdt_sync.core.aligning import Span, spans
from crdt_sync.core.conflict import UNKNOWN, Unknown, pointer
from crdt_sync.core.equality import alike
from crdt_sync.core.limits import ENTRY_LIMITS

Path = tuple[str | int, ...]


class _Missing(Enum):
    """The type of `_MISSING`."""

    MISSING = "missing"


_MISSING = _Missing.MISSING
"""Stands for the value of a key that a dict does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge came to.

    Args:
        data: value bytes; where sides overlap they hold the first side's part, or the chosen one.
        paths: where the sides overlap, as JSON Pointers; ``""`` is the whole value. Where lines or items were inserted,
            removed or replaced by another number, ``#first-last`` names those of the base, from 1 on; the last is one
            less than the first where the place between two is meant.
        too_large: whether they merge to more than a value can be, so that there is no proposal: the first side is
            shown, and all of it is to be chosen.
    """

    data: bytes
    paths: tuple[str, ...]
    too_large: bool = False


WHOLE = ("",)
"""The paths of a merge over all of a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A place where sides overlap, and what stands there.

    Args:
        path: as in `Merged.paths`.
        base: value bytes of the ancestor's part, a list of lines or items where the path names some (lines that are
            more than a list can hold: a text); None where nothing is there, `UNKNOWN` where the ancestor is.
        sides: the same of each side.
    """

    path: str
    base: bytes | Unknown | None
    sides: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """Value bytes of one's own for a place where sides overlap: of a text for lines, of a list for items."""

    data: bytes


Choices = Mapping[str, int | Given]
"""Path → the number of the side to take there, or what else to put there."""


class UnfitPartError(ValueError):
    """Something else than lines for lines, or than items for items."""


def merge_values(base: bytes | Unknown, sides: Sequence[bytes], *, choices: Choices | None = None) -> Merged:
    """Merge concurrent values against their common ancestor.

    1. What one side alone changed is taken, and what several changed alike.
    2. Dicts merge by key, also where the ancestor is no dict. Lists merge by item and texts by line where the ancestor
       is one too.
    3. Where all sides have as many items in a place as the base, they are merged one by one.
    4. Without a known ancestor everything that differs overlaps.
    5. What would be more than a value can be is not merged: see `Merged.too_large`.

    Args:
        base: the ancestor's value bytes, or `UNKNOWN`.
        sides: value bytes, the one to show where they overlap first.
        choices: what to put where they overlap, for some of the paths that a merge without choices gives.

    Raises:
        UnfitPartError: a choice that cannot stand in its place, or that makes more than a value can be.
    """
    merge = _Merge(choices or {})
    opened = UNKNOWN if isinstance(base, Unknown) else _open(base)
    data = _close(merge.value((), opened, [_open(side) for side in sides]))
    if codec.is_value(data):
        return Merged(data=data, paths=tuple(path for path, _, _ in merge.overlaps))
    if choices:
        raise UnfitPartError("the chosen parts make more than a value can be")
    return Merged(data=sides[0], paths=WHOLE, too_large=True)


def overlaps(base: bytes | Unknown, sides: Sequence[bytes]) -> tuple[Overlap, ...]:
    """What stands in each place where a merge of these values has sides overlap; see `merge_values`."""
    merge = _Merge({})
    merge.value((), UNKNOWN if isinstance(base, Unknown) else _open(base), [_open(side) for side in sides])
    return tuple(
        Overlap(path=path, base=UNKNOWN if held is UNKNOWN else _part(held), sides=tuple(map(_part, parts)))
        for path, held, parts in merge.overlaps
    )


class _Merge:
    """One merge; ``overlaps`` gathers where the sides overlap, with the base's part and each side's."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.overlaps: list[tuple[str, Any, list[Any]]] = []

    def value(self, path: Path, base: Any, sides: list[Any]) -> Any:
        changed = _changed(base, sides)
        if not changed:
            return base
        if _agree(changed):
            return changed[0]
        kinds = {_kind(side) for side in changed}
        if kinds == {dict}:
            return self._dict(path, base, sides)
        if kinds == {list} and (_kind(base) is list or (base is UNKNOWN and _same_length(sides))):
            return self._list(path, base, sides)
        if kinds == {str} and type(base) is str:
            return self._text(path, base, sides)
        return self._overlap(pointer(path), base, sides, changed[0])

    def _dict(self, path: Path, base: Any, sides: list[Any]) -> dict[str, Any]:
        below, *dicts = (side if _kind(side) is dict else {} for side in (base, *sides))
        merged: dict[str, Any] = {}
        for key in sorted(set[str]().union(below, *dicts)):
            held = UNKNOWN if base is UNKNOWN else below.get(key, _MISSING)
            item = self.value((*path, key), held, [side.get(key, _MISSING) for side in dicts])
            if item is not _MISSING:
                merged[key] = item
        return merged

    def _list(self, path: Path, base: Any, sides: list[list[Any]]) -> list[Any]:
        if base is UNKNOWN:
            return self._items(path, 0, [UNKNOWN] * len(sides[0]), sides)
        parts = list(spans([_close(item) for item in base], [[_close(item) for item in side] for side in sides]))
        merged: list[Any] = []
        for part in parts:
            held, others = _cut(part, base, sides)
            changed = _changed(held, others)
            if not changed or _agree(changed):
                merged.extend(changed[0] if changed else held)
            elif _same_length([held, *others]):
                merged.extend(self._items(path, part if isinstance(part, int) else part.start, held, others))
            elif len(parts) == 1:
                return cast("list[Any]", self._overlap(pointer(path), base, sides, _changed(base, sides)[0]))
            else:
                name = _named(path, part)
                chosen = self._overlap(name, held, others, changed[0])
                if type(chosen) is not list:
                    raise UnfitPartError(f"{name}: items are replaced by a list")
                merged.extend(chosen)
        return merged

    def _items(self, path: Path, start: int, base: list[Any], sides: list[list[Any]]) -> list[Any]:
        """Merge items one by one: there are as many on each side."""
        return [self.value((*path, start + at), item, [side[at] for side in sides]) for at, item in enumerate(base)]

    def _text(self, path: Path, base: str, sides: list[str]) -> str:
        lines, others = base.split("\n"), [side.split("\n") for side in sides]
        parts = [piece for part in spans(lines, others) for piece in _pieces(part, lines, others)]
        merged: list[str] = []
        for part in parts:
            held, found = _cut(part, lines, others)
            changed = _changed_lines(held, found)
            if _same_lines(changed):
                merged.extend(changed[0] if changed else held)
                continue
            if len(parts) == 1:
                return cast("str", self._overlap(pointer(path), base, sides, _changed(base, sides)[0]))
            name = _named(path, part)
            chosen = self._overlap(name, held, found, changed[0])
            if type(chosen) is str:
                chosen = chosen.removesuffix("\n").split("\n") if chosen else []
            elif not isinstance(chosen, list) or not all(type(line) is str for line in chosen):
                raise UnfitPartError(f"{name}: lines are replaced by a text")
            merged.extend(chosen)
        return "\n".join(merged)

    def _overlap(self, path: str, base: Any, sides: list[Any], shown: Any) -> Any:
        self.overlaps.append((path, base, sides))
        choice = self._choices.get(path)
        if choice is None:
            return shown
        return _open(choice.data) if isinstance(choice, Given) else sides[choice]


def _pieces(part: Span | int, base: list[str], sides: list[list[str]]) -> Iterator[Span | int]:
    """A stretch of as many lines on each side falls apart: lines that overlap stay together, others stand alone."""
    if isinstance(part, int) or any(end - start != part.end - part.start for start, end in part.sides):
        yield part
        return
    first = part.start
    for at in range(part.start, part.end):
        line = _within(part, at, at + 1)
        held, others = _cut(line, base, sides)
        if _same_lines(_changed_lines(held, others)):
            if first < at:
                yield _within(part, first, at)
            yield line
            first = at + 1
    if first < part.end:
        yield _within(part, first, part.end)


def _within(part: Span, start: int, end: int) -> Span:
    ends = tuple((begin + start - part.start, begin + end - part.start) for begin, _ in part.sides)
    return Span(start=start, end=end, sides=ends)


def _cut(part: Span | int, base: list[Any], sides: list[list[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """A stretch of the base, and of each side."""
    if isinstance(part, int):
        return base[part : part + 1], [base[part : part + 1] for _ in sides]
    return base[part.start : part.end], [side[a:b] for side, (a, b) in zip(sides, part.sides, strict=True)]


def _named(path: Path, part: Span | int) -> str:
    first, last = (part, part + 1) if isinstance(part, int) else (part.start, part.end)
    return f"{pointer(path)}#{first + 1}-{last}"


def _changed(base: Any, sides: list[Any]) -> list[Any]:
    """The sides that are not as the base; all of them where it is unknown."""
    if base is UNKNOWN:
        return sides
    held = _close(base)
    return [side for side in sides if _close(side) != held]


def _changed_lines(base: list[str], sides: list[list[str]]) -> list[list[str]]:
    return [side for side in sides if side != base]


def _same_lines(sides: list[list[str]]) -> bool:
    """Whether all are equal. Lines may be more than a list in a field can hold, so they are not taken for values."""
    return all(side == sides[0] for side in sides)


def _agree(values: list[Any]) -> bool:
    first, *others = ((value, _close(value)) for value in values)
    return all(data == first[1] or _alike(value, first[0]) for value, data in others)


def _alike(left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return left is right
    return alike(codec.decode(_close(left), named_zones=False), codec.decode(_close(right), named_zones=False))


def _kind(value: Any) -> type | None:
    """Dict, list or str where it can be merged as such; a stranger's dict may have other keys than text."""
    if type(value) is dict:
        return dict if all(type(key) is str for key in value) else None
    return type(value) if type(value) in (list, str) else None


def _same_length(lists: Sequence[list[Any]]) -> bool:
    return len({len(items) for items in lists}) == 1


def _open(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=True)


def _part(value: Any) -> bytes | None:
    if value is _MISSING:
        return None
    if type(value) is list and len(value) > ENTRY_LIMITS.value_items_max:
        return _close("".join(line + "\n" for line in value))  # only lines can be so many
    return _close(value)


def _close(value: Any) -> bytes:
    data: bytes = b"" if value is _MISSING else msgpack.packb(value)
    return data
