"""What users did in a simulated history, and what must therefore be there at its end.

Every edit leaves something that is nowhere else: a tag, a character, a step of a counter. So what a record must show is
known without merging anything: all that was written, but for what a later edit that had seen it took away, and for what
only stores held that the simulation destroyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model

Vector = Mapping[int, int]
"""Author → last entry."""


class Note(Model):
    """A record of every kind of field that leaves something of its own."""

    title: str = ""
    due: int | None = ask(default=None)
    votes: Counter
    tags: Set[str]
    body: Text


class Badge(Model, unique=("code",), on_duplicate="merge"):
    """A record that two devices may create twice."""

    code: str
    tags: Set[str]


MODELS: tuple[type[Model], ...] = (Note, Badge)


@dataclass(slots=True)
class Deed:
    """One edit.

    Args:
        author: of its entry; 0 where its call never returned, so that nobody knows whether it happened.
        sequence: of its entry.
        lost: only stores held it that were destroyed, or nobody knows: it may be there or not.
    """

    author: int = 0
    sequence: int = 0
    lost: bool = True

    def within(self, vector: Vector) -> bool:
        """Whether a replica with this vector has it."""
        return bool(self.author) and vector.get(self.author, 0) >= self.sequence


@dataclass(slots=True)
class Trait:
    """Something that a record has from one edit until another one takes it away."""

    by: Deed
    without: list[Deed] = field(default_factory=list)

    def must_be(self) -> bool | None:
        """Whether it must be there or must not; None where it may."""
        if any(not deed.lost for deed in self.without):
            return False
        return None if self.by.lost or self.without else True


@dataclass(slots=True)
class Account:
    """What was done to one note."""

    deeds: list[Deed] = field(default_factory=list)
    deletions: list[tuple[Deed, Vector]] = field(default_factory=list)
    """Each with what its device had then."""
    tags: dict[str, Trait] = field(default_factory=dict)
    characters: dict[str, Trait] = field(default_factory=dict)
    votes: list[tuple[Deed, int]] = field(default_factory=list)

    def is_live(self) -> bool | None:
        """Whether the note must be there or must not; None where it may.

        It is gone where nothing lies outside of what the deletions together had seen.
        """
        if any(deed.lost for deed in (*self.deeds, *(deed for deed, _ in self.deletions))):
            return None
        seen = [vector for _, vector in self.deletions]
        return not seen or not all(any(deed.within(vector) for vector in seen) for deed in self.deeds)

    def votes_sum(self) -> int | None:
        """What the counter must show; None where that is open."""
        return None if any(deed.lost for deed, _ in self.votes) else sum(step for _, step in self.votes)


class Story:
    """All accounts of a history."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        """Record id → account, in the order of creation."""
        self.lost = 0
        """Edits that were lost with the stores that held them."""
        self._deeds: list[Deed] = []
        self._drawn = 0

    def deed(self) -> Deed:
        """An edit that begins; `done` says when it has returned."""
        made = Deed()
        self._deeds.append(made)
        return made

    def done(self, deeds: Iterable[Deed], *, author: int, sequence: int) -> None:
        """Edits returned: their user may rely on them from here on."""
        for deed in deeds:
            deed.author, deed.sequence, deed.lost = author, sequence, False

    def new_tag(self) -> str:
        """A tag that nobody ever used."""
        self._drawn += 1
        return f"t{self._drawn}"

    def new_characters(self, count: int) -> str:
        """Characters that nobody ever used."""
        start = self._drawn
        self._drawn += count
        return "".join(chr(0x4E00 + at % 0x5000) for at in range(start, start + count))

    def destroyed(self, vectors: Iterable[Vector]) -> int:
        """A store is gone: what none of the remaining ones holds is lost; returns how many edits that are."""
        held = list(vectors)
        gone = [deed for deed in self._deeds if not deed.lost and not any(deed.within(vector) for vector in held)]
        for deed in gone:
            deed.lost = True
        self.lost += len(gone)
        return len(gone)


def wrong_traits(traits: Mapping[str, Trait], shown: Iterable[str]) -> list[str]:
    """What should be there and is not, or the other way round."""
    there = set(shown)
    return [name for name, trait in traits.items() if (must := trait.must_be()) is not None and must != (name in there)]
