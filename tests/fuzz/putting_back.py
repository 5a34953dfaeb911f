"""Targets of the command line's other files: a backup that is put in a store's place, and the text of a schedule."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from crdt_sync import Replica
from crdt_sync.replica.repairing.identity import replica_of
from crdt_sync.testing.simulation.schedule import Fault, Schedule, draw, schedule_of
from tests.fuzz.reading import folder, seen
from tests.fuzz.refusing import Refused, attempt
from tests.unit.replica.devices import Person, Task

EDIT_BYTES: Final = 4
"""Of an edit's head: where (3), how many bytes (1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What can be put back.

    Args:
        store: the store that is there.
        state: its fences.
        bases: files that an input begins with: a backup of this store, one of another, the other store, nothing.
    """

    store: bytes
    state: Path
    bases: tuple[bytes, ...]


@cache
def files() -> Files:
    """Made once; the store is never opened there again, so its fence stays."""
    place = folder() / "backups"
    place.mkdir()
    found: list[bytes] = []
    for name in ("mine", "other"):
        path, backup = place / f"{name}.db", place / f"{name}.backup"
        with Replica.open(path, [Task, Person], state_dir=place / "state") as replica:
            for number in range(3):
                replica.create(Task, title=f"{name} {number}", tags=["a"])
            replica.backup(backup)
            replica.create(Task, title="since")
        found.append(backup.read_bytes())
    other = (place / "other.db").read_bytes()
    return Files(store=(place / "mine.db").read_bytes(), state=place / "state", bases=(*found, other, b""))


def backups(data: bytes) -> None:
    """A file in a backup's place: refused, and all is as it was; or in the store's place, which it may be."""
    held = files()
    place = folder() / "put-back"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(held.state, place / "state")
    store, backup = place / "mine.db", place / "given"
    store.write_bytes(held.store)
    given = edited(held.bases[data[0] % len(held.bases)] if data else b"", data[1:])
    backup.write_bytes(given)
    report = attempt(partial(Replica.put_back, store, backup, state_dir=place / "state"))
    assert backup.read_bytes() == given, "the backup was changed"
    if isinstance(report, Refused):
        assert store.read_bytes() == held.store, "what was refused took the store's place"
        assert not list(place.glob("*.re*")), "a draft stays"
        return
    assert report.replaced is not None
    assert report.replaced.read_bytes() == held.store, "the store that was there is lost"
    attempt(lambda: _look(store, place / "state"))


def _look(store: Path, state: Path) -> None:
    with Replica.open(store, [Task, Person], state_dir=state) as replica:
        seen(replica)
        replica.check()
    assert replica_of(store, state) is not None


def edited(base: bytes, edits: bytes) -> bytes:
    """A file with some bytes replaced; where it is empty, the rest is the file."""
    if not base:
        return edits
    made = bytearray(base)
    while len(edits) > EDIT_BYTES:
        at, count = int.from_bytes(edits[:3], "big") % len(made), edits[3]
        new, edits = edits[EDIT_BYTES : EDIT_BYTES + count], edits[EDIT_BYTES + count :]
        made[at : at + len(new)] = new
    return bytes(made)


def schedules(data: bytes) -> None:
    """The text of a simulation: refused, or one that its own text says again."""
    made = attempt(lambda: schedule_of(data.decode(errors="replace")))
    if isinstance(made, Schedule):
        assert schedule_of(made.as_text()) == made


def honest_schedules() -> dict[str, bytes]:
    """Some of each size."""
    every = frozenset(Fault)
    return {
        f"{seed}": draw(seed, faults=every, replicas=1 + seed, hubs=1 + seed % 2, steps=4 * seed).as_text().encode()
        for seed in range(4)
    }


def honest_backups() -> dict[str, bytes]:
    """Each file as it is, and with a byte replaced in its head and amid it."""
    found = {f"file {number}": bytes((number,)) for number in range(len(files().bases))}
    for number, base in enumerate(files().bases[:2]):
        for at in (0, 16, 28, 100, len(base) // 2, len(base) - 1):
            found[f"file {number} at {at}"] = bytes((number,)) + at.to_bytes(3, "big") + b"\1\xff"
    return found | {"no store": b"\3" + b"SQLite format 3\0", "text": b"\3no store at all"}
