"""What users did in a simulated history, and what must therefore be there at its end.

Every edit leaves something that is nowhere else: a tag, a character, a step of a counter, the value of a field. So what
a record must show is known without merging anything: all that was written, but for what a later edit that had seen it
took away or replaced, and for what only stores held that the simulation destroyed. Of values of a field that were
written at once the one with the latest timestamp is shown, and the others stay open where the field asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an edit is in the log.

    Args:
        author: of its entry.
        sequence: of its entry.
        hash: of the chain up to it, by which two branches of one author are told apart.
    """

    author: int
    sequence: int
    hash: bytes = b""


Holds = Callable[[Place], bool]
"""Whether a store has what is at a place."""


@dataclass(slots=True, eq=False)
class Deed:
    """One edit.

    Args:
        places: its entry, and those as which it was written again; empty where its call never returned, so that nobody
            knows whether it happened.
        lost: only stores held it that were destroyed, or nobody knows: it may be there or not.
        reverted: its user took it back, since nobody would take it.
        hlc: the packed timestamp of its entry; 0 where nobody knows it.
    """

    places: list[Place] = field(default_factory=list)
    lost: bool = True
    reverted: bool = False
    hlc: int = 0

    def within(self, holds: Holds) -> bool:
        """Whether a store has it."""
        return any(map(holds, self.places))


@dataclass(slots=True)
class Trait:
    """Something that a record has from one edit until others take it away.

    Args:
        adds: the edits that put it there: one, and those that undid that it was taken away.
        removals: the edits that took it away, each with what it had seen of ``adds``.
        open: whether nothing is known of it.
    """

    adds: list[Deed]
    removals: list[tuple[Deed, frozenset[Deed]]] = field(default_factory=list)
    open: bool = False

    def remove(self, deed: Deed, holds: Holds) -> None:
        """An edit takes away what its store has of this."""
        seen = frozenset(add for add in self.adds if add.within(holds))
        self.open |= not seen  # it was shown by content that was taken without its entry
        self.removals.append((deed, seen))

    def must_be(self) -> bool | None:
        """Whether it must be there or must not; None where it may."""
        removals = [(deed, seen) for deed, seen in self.removals if not deed.reverted]
        adds = [add for add in self.adds if not add.reverted]
        if self.open:
            return None
        if all(any(add in seen and not deed.lost for deed, seen in removals) for add in adds):
            return False
        sure = any(not add.lost and not any(add in seen for _, seen in removals) for add in adds)
        return True if sure else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Write:
    """A value that an edit gave a field.

    Args:
        value: what it is.
        deed: the edit.
        seen: the edits whose values it replaced, as far as they were in its store.
        sure: whether the edit wrote it and replaced these; otherwise it may have.
    """

    value: object
    deed: Deed
    seen: frozenset[Deed] = frozenset()
    sure: bool = True


@dataclass(slots=True)
class Register:
    """The values that one field ever had.

    Args:
        default: what it shows where nobody wrote.
        writes: all there were.
        open: whether nothing is known of it.
    """

    default: object
    writes: list[Write] = field(default_factory=list)
    open: bool = False

    def write(self, value: object, *, deed: Deed, holds: Holds, sure: bool = True) -> None:
        """An edit puts a value in the place of what its store has.

        Args:
            value: the new one.
            deed: the edit.
            holds: what its store has.
            sure: False where nobody knows what the store shows, or whether the edit wrote.
        """
        seen = frozenset(item.deed for item in self.writes if not sure or item.deed.within(holds))
        self.writes.append(Write(value=value, deed=deed, seen=seen, sure=sure))

    def problems(self, shown: object, *, beside: Collection[object] | None = None) -> Iterator[str]:
        """What is wrong with what a record shows.

        Args:
            shown: the value.
            beside: the values between which the field asks; None where it does not ask.
        """
        if self.open:
            return
        there = [item for item in self.writes if item.deed.lost or not item.deed.reverted]
        replaced = {deed for item in there for deed in item.seen}
        surely = {deed for item in there if item.sure and not item.deed.lost for deed in item.seen}
        must = [item for item in there if item.sure and not item.deed.lost and item.deed not in replaced]
        may = [item for item in there if item.deed not in surely]
        latest = max((item.deed.hlc for item in must), default=0)
        if not any(item.value == shown and (not item.deed.hlc or item.deed.hlc >= latest) for item in may) and (
            must or shown != self.default
        ):
            yield f"{shown!r} is shown, and {[item.value for item in must]} were written and not replaced"
        if beside is not None and (lost := [item.value for item in must if item.value not in (shown, *beside)]):
            yield f"{lost} were written and not replaced, and nobody is asked"


@dataclass(slots=True)
class Account:
    """What was done to one note."""

    deeds: list[Deed] = field(default_factory=list)
    deletions: list[tuple[Deed, frozenset[Deed]]] = field(default_factory=list)
    """Each with what its device had then."""
    tags: dict[str, Trait] = field(default_factory=dict)
    characters: dict[str, Trait] = field(default_factory=dict)
    votes: list[tuple[Deed, int]] = field(default_factory=list)
    title: Register = field(default_factory=lambda: Register(default=""))
    due: Register = field(default_factory=lambda: Register(default=None))
    vague: bool = False
    """Whether somebody who had content of it in nobody's entries may have deleted it: nobody knows what he had."""

    def delete(self, deed: Deed, holds: Holds) -> None:
        """An edit deletes the note as its store has it."""
        self.deletions.append((deed, frozenset(item for item in self.deeds if item.within(holds))))

    def is_live(self) -> bool | None:
        """Whether the note must be there or must not; None where it may.

        It is gone where nothing lies outside of what the deletions together had seen.
        """
        deeds = [deed for deed in self.deeds if not deed.reverted]
        deletions = [(deed, seen) for deed, seen in self.deletions if not deed.reverted]
        if any(deed.lost for deed in (*deeds, *(deed for deed, _ in deletions))):
            return None
        if not deletions:
            return bool(deeds)
        if self.vague:
            return None
        return not all(any(deed in seen for _, seen in deletions) for deed in deeds)

    def votes_sum(self) -> int | None:
        """What the counter must show; None where that is open."""
        votes = [(deed, step) for deed, step in self.votes if not deed.reverted]
        return None if any(deed.lost for deed, _ in votes) else sum(step for _, step in votes)


class Story:
    """All accounts of a history."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        """Record id → account, in the order of creation."""
        self.badges: dict[str, dict[str, Trait]] = {}
        """Code → the tags of all records that were made of it."""
        self.forked = False
        """Whether a machine was rewound, so that an author and a number may name two entries."""
        self.lost = 0
        """Edits that were lost with the stores that held them."""
        self._deeds: list[Deed] = []
        self._at: dict[Place, list[Deed]] = {}
        self._drawn = 0

    def deed(self) -> Deed:
        """An edit that begins; `done` says when it has returned."""
        made = Deed()
        self._deeds.append(made)
        return made

    def done(self, deeds: Iterable[Deed], *, at: Place, hlc: int) -> None:
        """Edits returned, as one entry of that timestamp: their user may rely on them from here on."""
        for deed in deeds:
            deed.lost, deed.hlc = False, hlc
            deed.places.append(at)
            self._at.setdefault(at, []).append(deed)

    def moved(self, before: Place, after: Place) -> None:
        """An entry was written again as another one, or was about to be when its process died."""
        for deed in self._at.get(before, ()):
            deed.places.append(after)
            self._at.setdefault(after, []).append(deed)

    def places_of(self, record: str) -> frozenset[Place]:
        """Where the edits of a note are in the log."""
        account = self.accounts.get(record)
        return frozenset(() if account is None else (place for deed in account.deeds for place in deed.places))

    def held(self, holds: Holds) -> set[Deed]:
        """The edits that a store has."""
        return {deed for deed in self._deeds if deed.within(holds)}

    def missing(self, stores: Iterable[Holds]) -> int:
        """How many edits no store has, though they are neither lost nor taken back."""
        held = list(stores)
        kept = (deed for deed in self._deeds if not deed.lost and not deed.reverted)
        return sum(1 for deed in kept if not any(deed.within(holds) for holds in held))

    def new_tag(self) -> str:
        """A tag that nobody ever used."""
        self._drawn += 1
        return f"t{self._drawn}"

    def new_characters(self, count: int) -> str:
        """Characters that nobody ever used."""
        start = self._drawn
        self._drawn += count
        return "".join(chr(0x4E00 + at % 0x5000) for at in range(start, start + count))

    def destroyed(self, stores: Iterable[Holds]) -> int:
        """A store is gone: what none of the remaining ones holds is lost; returns how many edits that are."""
        held = list(stores)
        kept = (deed for deed in self._deeds if not deed.lost and not deed.reverted)
        gone = [deed for deed in kept if not any(deed.within(holds) for holds in held)]
        for deed in gone:
            deed.lost = True
        self.lost += len(gone)
        return len(gone)


def wrong_traits(traits: Mapping[str, Trait], shown: Iterable[str]) -> list[str]:
    """What should be there and is not, or the other way round."""
    there = set(shown)
    return [name for name, trait in traits.items() if (must := trait.must_be()) is not None and must != (name in there)]
