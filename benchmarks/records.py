"""The records that all contestants handle: one seeded generator, one digest of their content."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import msgpack
from blake3 import blake3

from crdt_sync import Model

VOCABULARY = 2_048
"""Words are drawn evenly, which is 11 bits a word: about what a word of English carries."""
TITLE_CHARS, BODY_CHARS = 30, 80
_CONSONANTS, _VOWELS = "bcdfghklmnprstvw", "aeiou"


class Task(Model):
    """What the benchmarks store: five fields, about 130 bytes of values."""

    title: str = ""
    body: str = ""
    done: bool = False
    rank: int = 0
    due: date | None = None


class Values(NamedTuple):
    """The values of one record."""

    title: str
    body: str
    done: bool
    rank: int
    due: date

    def given(self) -> dict[str, object]:
        """As keyword arguments."""
        return self._asdict()


class Generator:
    """Draws records; the same seed gives the same ones on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = [self._word() for _ in range(VOCABULARY)]

    def records(self, number: int) -> list[Values]:
        """Values of so many records."""
        return [self._record() for _ in range(number)]

    def titles(self, number: int) -> list[str]:
        """New titles, for updates."""
        return [self._sentence(TITLE_CHARS) for _ in range(number)]

    def _record(self) -> Values:
        draw = self._random
        return Values(
            title=self._sentence(TITLE_CHARS),
            body=self._sentence(BODY_CHARS),
            done=draw.random() < 0.5,
            rank=draw.randrange(100_000),
            due=date(2024, 1, 1) + timedelta(days=draw.randrange(1_000)),
        )

    def _sentence(self, chars: int) -> str:
        """Words up to about so many characters."""
        words: list[str] = []
        left = chars
        while left > 0:
            word = self._random.choice(self._words)
            words.append(word)
            left -= len(word) + 1
        return " ".join(words)

    def _word(self) -> str:
        syllables = self._random.choice((1, 2, 2, 3, 3))
        return "".join(
            self._random.choice(_CONSONANTS) + self._random.choice(_VOWELS) for _ in range(syllables)
        ) + self._random.choice(("", "n", "r", "s"))


def digest(contents: Iterable[tuple[object, ...]]) -> str:
    """Names the content of all records, in whatever order they come; dates count as their text."""
    total = 0
    for values in contents:
        plain = [item.isoformat() if isinstance(item, date) else item for item in values]
        total += int.from_bytes(blake3(msgpack.packb(plain)).digest(16), "big")
    return f"{total % 2**128:032x}"


def contents(records: Iterable[Mapping[str, object]]) -> Iterator[tuple[object, ...]]:
    """The values of records in the order of their fields."""
    for record in records:
        yield tuple(record[name] for name in Values._fields)
