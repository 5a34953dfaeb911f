"""What devices were told, in files that outlive them, and whether stores agree with it.

A device appends a line before each write (``try``), when the call has returned (``saved``), when the operation was said
to be completed (``completed``), and when somebody was said to hold it (``held``). Each line is synced before the device
goes on, so after any kill the file has all that an app, or a person in front of it, could have relied on.
"""

from __future__ import annotations

import json
import os
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.core.conflict import Conflict


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
    made: str = ""
    """The record that a transaction made beside writing to another."""
    operations: tuple[str, ...] = ()
    saved: bool = False
    completed: bool = False
    held_by: set[str] = field(default_factory=set)


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
                found[token] = Write(token=token, what=said["what"], record=said["record"])
            case "saved":
                write = found[token]
                write.saved, write.record, write.operations = True, said["record"], tuple(said["operations"])
                write.made = said["made"]
            case "completed":
                found[token].completed = True
            case _:
                found[token].held_by |= set(said["by"])
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
    device_id: str

    @property
    def tokens(self) -> set[str]:
        parts = (self.titles, self.tags, self.notes, *self.states.values())
        return {token.removesuffix("+") for part in parts for token in part}


def look(replica: Replica) -> Held:
    titles: dict[str, str] = {}
    tags: dict[str, str] = {}
    notes: dict[str, str] = {}
    votes: dict[str, int] = {}
    states: dict[str, frozenset[str]] = {}
    for item in replica.find(Item):
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
        device_id=replica.device_id or "",
    )


def problems_of(held: Held, owners: Sequence[Owner], *, name: str) -> list[str]:
    """What a store lacks of what anybody was told, has in part, or has without anybody's doing."""
    everything = [write for owner in owners for write in owner.writes.values()]
    deletions = {write.record for write in everything if write.what == "delete"}
    problems = [
        f"{name} lacks {write.what} {write.token}, which {owner.name} was told is "
        f"{'completed' if write.completed else 'saved'}"
        for owner in owners
        for write in owner.owed()
        if not _is_there(held, write, deleted=write.record in deletions)
    ]
    for write in everything:
        halves = (write.token in held.tags, f"{write.token}+" in held.titles)
        if write.what == "pair" and len(set(halves)) > 1:
            problems.append(f"{name} has a part of the transaction {write.token}")
    problems += [
        f"{name} shows {token}, which nobody wrote"
        for token in sorted(held.tokens - {write.token for write in everything})
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
    """Fields that ask: a value goes by a later write of its record alone, so one stands, and an only one does."""
    tried: dict[str, set[str]] = {}
    for write in (write for owner in owners for write in owner.writes.values() if write.what == "state"):
        tried.setdefault(write.record, set()).add(write.token)
    problems = [
        f"{name} shows {sorted(strange)} in {record}, which was not written there"
        for record, shown in held.states.items()
        if (strange := shown - tried.get(record, set()))
    ]
    for write in (write for owner in owners for write in owner.owed() if write.what == "state"):
        shown = held.states.get(write.record, frozenset())
        if not shown or (tried[write.record] == {write.token} and write.token not in shown):
            problems.append(f"{name} lacks state {write.token}")
    return problems
