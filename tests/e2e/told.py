"""What devices were told, in files that outlive them, and whether stores agree with it.

A device appends a line before each write (``try``), when the call has returned (``saved``), when the operation was said
to be completed (``completed``), and when somebody was said to hold it (``held``). Each line is synced before the device
goes on, so after any kill the file has all that an app, or a person in front of it, could have relied on.
"""

from __future__ import annotations

import json
import os
from collections import Counter as Tally
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.core.conflict import Conflict
from crdt_sync.errors import RecordNotFoundError

Place = tuple[str, int, int]
"""Where an entry stands: partition, author, sequence."""


class Item(Model):
    """What devices write; each token in it is written once by one call."""

    title: str = ""
    state: str = ask(default="")
    passing: bool = False
    """Only who made it touches it, and deletes it."""
    notes: Text
    tags: Set[str]
    votes: Counter


class Diary:
    """The file of one store's device: appended to over all of its lives."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def note(self, **what: object) -> None:
        """Append a line; it is on the disk when this returns."""
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True, kw_only=True)
class Write:
    """One call, and what was said about it."""

    token: str
    what: str
    record: str
    over: frozenset[str] = frozenset()
    """Of the field that asks: what stood there as it was written, and is replaced by it."""
    made: str = ""
    """The record that a transaction made beside writing to another."""
    operations: tuple[str, ...] = ()
    saved: bool = False
    completed: bool = False
    held_by: dict[str, frozenset[Place]] = field(default_factory=dict)
    """Device that was said to hold it → where its entries stood then."""


def read_diary(path: Path) -> dict[str, Write]:
    """Token → what was said about it. A last line that was cut off was never relied on."""
    found: dict[str, Write] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n"):
            break
        said = json.loads(line)
        token = said["token"]
        match said["said"]:
            case "try":
                over = frozenset(said.get("over", ()))
                found[token] = Write(token=token, what=said["what"], record=said["record"], over=over)
            case "saved":
                write = found[token]
                write.saved, write.record, write.operations = True, said["record"], tuple(said["operations"])
                write.made = said["made"]
            case "completed":
                found[token].completed = True
            case _:
                places = frozenset((partition, author, sequence) for partition, author, sequence in said["places"])
                found[token].held_by |= dict.fromkeys(said["by"], places)
    return found


@dataclass(slots=True, kw_only=True)
class Owner:
    """One store's device, for the check.

    Args:
        name: of its store.
        writes: what it was told.
        destroyed: its store was destroyed. Then only what was completed has to be elsewhere.
    """

    name: str
    writes: dict[str, Write]
    destroyed: bool = False

    def owed(self) -> list[Write]:
        """What has to be there, by what the device was told."""
        return [write for write in self.writes.values() if write.completed or (write.saved and not self.destroyed)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a store shows."""

    titles: dict[str, str]
    """Title → record."""
    tags: dict[str, str]
    """Tag → record."""
    notes: dict[str, str]
    """Word of a text → record."""
    votes: dict[str, int]
    states: dict[str, frozenset[str]]
    """Record → what stands in the field that asks: one value, or those that clash."""
    fingerprint: str
    conflicts: frozenset[str]

    @property
    def tokens(self) -> set[str]:
        parts = (self.titles, self.tags, self.notes, *self.states.values())
        return {token.removesuffix("+") for part in parts for token in part}


def look(replica: Replica, records: Iterable[str] | None = None) -> Held:
    """What a store shows; of some records only, where they are given."""
    titles: dict[str, str] = {}
    tags: dict[str, str] = {}
    notes: dict[str, str] = {}
    votes: dict[str, int] = {}
    states: dict[str, frozenset[str]] = {}
    for item in replica.find(Item) if records is None else _items(replica, records):
        titles[item.title] = item.id
        tags.update(dict.fromkeys(item.tags, item.id))
        notes.update(dict.fromkeys(str(item.notes).split(), item.id))
        votes[item.id] = int(item.votes)
        values = {candidate.value for candidate in replica.candidates(item, "state")}
        states[item.id] = frozenset(values - {""})
    conflicts: Iterable[Conflict] = replica.conflicts()
    return Held(
        titles=titles,
        tags=tags,
        notes=notes,
        votes=votes,
        states=states,
        fingerprint=replica.port.fingerprint("").hex(),
        conflicts=frozenset(conflict.id for conflict in conflicts),
    )


def _items(replica: Replica, records: Iterable[str]) -> Iterable[Item]:
    for record in records:
        try:
            yield replica.get(Item, record)
        except RecordNotFoundError:
            continue  # what is missing is for the caller to judge


def problems_of(held: Held, owners: Sequence[Owner], *, name: str) -> list[str]:
    """What a store lacks of what anybody was told, has in part, or has without anybody's doing."""
    everything = [write for owner in owners for write in owner.writes.values()]
    problems = lacking(held, owners, name=name)
    for write in everything:
        halves = (write.token in held.tags, f"{write.token}+" in held.titles)
        if write.what == "pair" and len(set(halves)) > 1:
            problems.append(f"{name} has a part of the transaction {write.token}")
    problems += [
        f"{name} shows {token}, which nobody wrote"
        for token in sorted(held.tokens - {write.token for write in everything})
    ]
    return problems


def owing(owners: Sequence[Owner], tokens: Container[str]) -> list[Owner]:
    """The same owners, to whom these writes alone are owed, with all that was written to the same records.

    Args:
        owners: with all their writes.
        tokens: of the writes.
    """
    writes = [write for owner in owners for write in owner.writes.values() if write.token in tokens]
    records = {write.record for write in writes}
    return [
        Owner(
            name=owner.name,
            writes={
                token: replace(write, saved=token in tokens, completed=write.completed and token in tokens)
                for token, write in owner.writes.items()
                if write.record in records
            },
        )
        for owner in owners
    ]


def lacking(held: Held, owners: Sequence[Owner], *, name: str) -> list[str]:
    """What a store lacks of what is owed; the records that it is in have to be looked at, others need not."""
    deletions = {write.record for owner in owners for write in owner.writes.values() if write.what == "delete"}
    problems = [
        f"{name} lacks {write.what} {write.token}, which {owner.name} was told is "
        f"{'completed' if write.completed else 'saved'}"
        for owner in owners
        for write in owner.owed()
        if not _is_there(held, write, deleted=write.record in deletions)
    ]
    return problems + _miscounted(held, owners, name=name) + _misstated(held, owners, name=name)


def _is_there(held: Held, write: Write, *, deleted: bool) -> bool:
    match write.what:
        case "create":
            return deleted or held.titles.get(write.token) == write.record
        case "tag" | "pair":
            return held.tags.get(write.token) == write.record
        case "note":
            return held.notes.get(write.token) == write.record
        case "delete":
            return write.record not in held.votes
        case _:
            return write.record in held.votes  # its amount is looked at for all votes of a record together


def _miscounted(held: Held, owners: Sequence[Owner], *, name: str) -> list[str]:
    least = Tally(write.record for owner in owners for write in owner.owed() if write.what == "vote")
    most = Tally(write.record for owner in owners for write in owner.writes.values() if write.what == "vote")
    return [
        f"{name} counts {held.votes.get(record, 0)} votes of {record}; {least[record]} to {most[record]} were cast"
        for record in most
        if not least[record] <= held.votes.get(record, 0) <= most[record]
    ]


def _misstated(held: Held, owners: Sequence[Owner], *, name: str) -> list[str]:
    """Fields that ask: a value goes by a write that saw it, or by a later one of the same device, by nothing else."""
    over: dict[str, frozenset[str]] = {}
    tried: dict[str, set[str]] = {}
    for owner in owners:
        before: dict[str, frozenset[str]] = {}
        for write in (each for each in owner.writes.values() if each.what == "state"):
            tried.setdefault(write.record, set()).add(write.token)
            over[write.token] = write.over | before.get(write.record, frozenset())
            before[write.record] = before.get(write.record, frozenset()) | {write.token}
    owed = [write for owner in owners for write in owner.owed() if write.what == "state"]
    problems = [
        f"{name} shows {sorted(strange)} in {record}, which was not written there"
        for record, shown in held.states.items()
        if (strange := shown - tried.get(record, set()))
    ]
    for record in sorted({write.record for write in owed}):
        shown, here = held.states.get(record, frozenset()), {write.token for write in owed if write.record == record}
        replaced = _before(here, over)
        accounted = shown | _before(shown, over)
        problems += [f"{name} lacks state {token}" for token in sorted(here - accounted)]
        problems += [f"{name} shows state {token}, which was replaced" for token in sorted(shown & replaced)]
    return problems


def _before(tokens: Iterable[str], over: Mapping[str, frozenset[str]]) -> set[str]:
    """All that writes replaced, what they replaced replaced, and so on."""
    found: set[str] = set()
    left = list(tokens)
    while left:
        new = over.get(left.pop(), frozenset()) - found
        found |= new
        left += new
    return found
