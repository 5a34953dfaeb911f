"""What processes that were killed left behind, looked at before anything else runs on it.

Nothing can have come to a store between the kill and the look, so what was told of it until then has to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from crdt_sync import Replica
from tests.e2e.told import Item, Owner, Place, Write, lacking, look, owing

HUB = "hub"
Ends = dict[tuple[str, int], int]
"""Partition and author → how many of the author's entries are there."""


class Autopsy:
    """Looks at stores, and remembers what it found in which of them, and where each log ended at the latest look."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}
        self._ends: dict[str, Ends] = {}
        self.looked_up = 0
        """Writes that were looked up in a hub."""
        self.held = 0
        """Writes that were looked up in a store that was said to hold them."""

    def look(self, path: Path, owners: Sequence[Owner], *, name: str, devices: Iterable[str]) -> list[str]:
        """What a store lacks that its device was told is saved, that it acknowledged as a hub, or was said to hold.

        Args:
            path: the store of a process that was killed; nothing has opened it since.
            owners: all of them, as their diaries are now.
            name: of the store.
            devices: ids that its device is known by.
        """
        ids = set(devices)
        with Replica.open(path, [Item], read_only=True) as replica:
            ends = _ends(replica)
            self._ends |= dict.fromkeys(ids, ends)
            claims = [write for owner in owners for write in owner.writes.values() if ids & write.held_by.keys()]
            problems = [problem for write in claims for problem in _beyond(write, ids, ends, name=name)]
            seen = self._seen.setdefault(name, set())
            owed = {write.token for write in claims} | {
                write.token
                for owner in owners
                for write in owner.writes.values()
                if (write.completed and name == HUB) or (write.saved and owner.name == name)
            }
            new = owed - seen
            written = {write.token: write.record for owner in owners for write in owner.writes.values()}
            records = {written[token] for token in new}
            some = owing(owners, {token for token in owed if written[token] in records})
            problems += lacking(look(replica, records), some, name=f"{name}, which was killed,")
        seen |= owed
        self.looked_up += len(new) if name == HUB else 0
        self.held += len({write.token for write in claims} & new)
        return problems

    def untrue(self, owners: Sequence[Owner]) -> list[str]:
        """What devices were said to hold and did not, as they were killed last; also of those that are gone."""
        return [
            problem
            for owner in owners
            for write in owner.writes.values()
            for device in sorted(write.held_by)
            if device in self._ends  # whom nobody knows is for others to tell
            for problem in _beyond(write, {device}, self._ends[device], name=device)
        ]


def _ends(replica: Replica) -> Ends:
    return {
        (partition, author): position.sequence
        for partition, authors in replica.port.vector().items()
        for author, position in authors.items()
    }


def _beyond(write: Write, devices: set[str], ends: Ends, *, name: str) -> list[str]:
    """What of a write is not in a log that goes so far, though a device that has it was said to hold it."""
    places: set[Place] = {place for device in devices for place in write.held_by.get(device, ())}
    return [
        f"{name} does not hold {write.what} {write.token}, which it was said to hold"
        for partition, author, sequence in sorted(places)
        if ends.get((partition, author), 0) < sequence
    ][:1]
