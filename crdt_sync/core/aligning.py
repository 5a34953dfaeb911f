"""Which items of a sequence are those of another one: the diff under three-way merges.

Every replica must find the same, so what is matched is part of how documents read: a change here shows merged values
anew. Lines that each side holds once are matched in the longest order that they share (Bram Cohen's patience diff);
what lies between is left to difflib where it is small, and stays unmatched where it is not. So the work is bounded:
n log n, and `_WORK_MAX` comparisons more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_GAP_MAX = 4_096
"""Items times items of a stretch that difflib, which is cubic at its worst, looks at ..."""
_WORK_MAX = 262_144
"""... and of all such stretches together."""

ABSENT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch between items that all sides kept: from ``start`` to ``end`` of the base, and of each side."""

    start: int
    end: int
    sides: tuple[tuple[int, int], ...]


def align(base: Sequence[Hashable], side: Sequence[Hashable]) -> list[int]:
    """For each item of ``base``, where it is in ``side``; `ABSENT` where it is not. What is found is in order."""
    found = [ABSENT] * len(base)
    work = _WORK_MAX
    for start, end, side_start, side_end in _gaps(base, side, found):
        size = (end - start) * (side_end - side_start)
        if 0 < size <= min(_GAP_MAX, work):
            work -= size
            matcher = SequenceMatcher(None, base[start:end], side[side_start:side_end], autojunk=False)
            for block in matcher.get_matching_blocks():
                for at in range(block.size):
                    found[start + block.a + at] = side_start + block.b + at
    return found


def spans(base: Sequence[Hashable], sides: Sequence[Sequence[Hashable]]) -> Iterator[Span | int]:
    """Walk through ``base``: the numbers of items that all sides kept, and the stretches between, where some differ."""
    found = [align(base, side) for side in sides]
    start, starts = 0, [0] * len(sides)
    for at in range(len(base) + 1):
        places = [row[at] for row in found] if at < len(base) else [len(side) for side in sides]
        if ABSENT in places:
            continue
        if at > start or places != starts:
            yield Span(start=start, end=at, sides=tuple(zip(starts, places, strict=True)))
        if at < len(base):
            yield at
        start, starts = at + 1, [place + 1 for place in places]


def _gaps(base: Sequence[Hashable], side: Sequence[Hashable], found: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Match equal ends and the anchors into ``found``; yields what is left between, also with its ends matched."""
    start, side_start = 0, 0
    for at, place in (*_anchors(base, side), (len(base), len(side))):
        end, side_end = at, place
        while start < end and side_start < side_end and base[start] == side[side_start]:
            found[start] = side_start
            start, side_start = start + 1, side_start + 1
        while start < end and side_start < side_end and base[end - 1] == side[side_end - 1]:
            end, side_end = end - 1, side_end - 1
            found[end] = side_end
        yield start, end, side_start, side_end
        if at < len(base):
            found[at] = place
        start, side_start = at + 1, place + 1


def _anchors(base: Sequence[Hashable], side: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest run of items in order that both hold exactly once, as (place in base, place in side)."""
    ours, theirs = Counter(base), Counter(side)
    where = {item: at for at, item in enumerate(side) if theirs[item] == 1}
    pairs = [(at, where[item]) for at, item in enumerate(base) if ours[item] == 1 and item in where]
    tails: list[int] = []  # the smallest last place of a run of each length, for bisection
    last: list[int] = []  # the pair that it belongs to
    before: list[int] = []  # for each pair, the one before it in its run
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(tails, place)
        before.append(last[length - 1] if length else ABSENT)
        tails[length : length + 1] = [place]
        last[length : length + 1] = [number]
    run: list[tuple[int, int]] = []
    number = last[-1] if last else ABSENT
    while number != ABSENT:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]
