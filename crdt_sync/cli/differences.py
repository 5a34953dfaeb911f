"""What changed from one text to another: by lines, and by words within a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_LINES_MAX: Final = 2_000
_WORDS_MAX: Final = 400
_ALIKE_MIN: Final = 0.3
"""Lines that have less in common are shown as wholly other."""
_AROUND_LINES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a line, and whether the other text has another one in its place."""

    text: str
    is_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a difference: ``-`` removed, ``+`` added, a space: in both, ``@`` begins another place of the text."""

    sign: str
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(piece.text for piece in self.pieces)


def differences(old: str, new: str) -> Iterator[Line] | None:
    """What changed, with a line around it; None where the texts are too long to be compared in no time."""
    before, after = old.split("\n"), new.split("\n")
    if max(len(before), len(after)) > _LINES_MAX:
        return None
    return _lines(before, after)


def _lines(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(_AROUND_LINES):
        first, last = group[0][1], group[-1][2]
        if len(before) > last - first:
            yield _whole("@", f"lines {first + 1} to {last}")
        for what, start, end, other_start, other_end in group:
            removed, added = before[start:end], after[other_start:other_end]
            if what == "equal":
                yield from (_whole(" ", line) for line in removed)
                continue
            pairs = [_pair(*lines) for lines in zip(removed, added, strict=True)] if len(removed) == len(added) else []
            yield from (pair[0] for pair in pairs) if pairs else (_whole("-", line) for line in removed)
            yield from (pair[1] for pair in pairs) if pairs else (_whole("+", line) for line in added)


def _pair(old: str, new: str) -> tuple[Line, Line]:
    """A line that became another one, by words."""
    words, others = _WORD.findall(old), _WORD.findall(new)
    if max(len(words), len(others)) > _WORDS_MAX:
        return _whole("-", old), _whole("+", new)
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    if matcher.ratio() < _ALIKE_MIN:
        return _whole("-", old), _whole("+", new)
    left: list[Piece] = []
    right: list[Piece] = []
    for what, start, end, other_start, other_end in matcher.get_opcodes():
        is_changed = what != "equal"
        if start < end:
            left.append(Piece(text="".join(words[start:end]), is_changed=is_changed))
        if other_start < other_end:
            right.append(Piece(text="".join(others[other_start:other_end]), is_changed=is_changed))
    return Line(sign="-", pieces=tuple(left)), Line(sign="+", pieces=tuple(right))


def _whole(sign: str, text: str) -> Line:
    return Line(sign=sign, pieces=(Piece(text=text, is_changed=False),))
