"""Histories in which everything happens at once: versions of an app, records created twice, undo, compaction, copies.

No reference predicts these. What is held is what must be true without one: who holds the same shows the same, whatever
way it came; nothing that was typed is gone unless somebody took it out; a settled conflict stays settled; what is
refused changes nothing; and opening, deriving anew and compacting show nothing new.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.errors import InputError, InvalidValueError, RecordError
from crdt_sync.replica import Replica, Sources
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.memory import Fate, Frame
from tests.laws.apps import APPS, MAP_VALUES, SET, App
from tests.laws.world import EPOCH_MS, SMALL_LIMITS, Device

DEVICES_MAX = 5
REFUSALS = (RecordError, InputError, InvalidValueError)
"""What a user may be told; anything else is a bug."""

Shown = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settlement:
    """A conflict that somebody settled, and the entry by which."""

    conflict: str
    author: int
    sequence: int


@dataclass(slots=True)
class Mix:
    """Some replicas with versions of the app, and what can be told of their history without a reference.

    Args:
        folder: for their stores.
        apps: which version each of the first ones runs.
        random: chooses which of the things that there are.
    """

    folder: Path
    apps: list[int]
    random: Random
    devices: list[Device] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    """Which version each device runs now."""
    characters: int = 0
    made: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Record → when it was created, and its id: of those that show as one the least shows."""
    typed: dict[str, set[str]] = field(default_factory=dict)
    """Record → characters that were typed into it."""
    taken: set[str] = field(default_factory=set)
    """Characters that somebody took out, in whatever way."""
    counted: dict[str, int] = field(default_factory=dict)
    """Record → sum of its increments."""
    settled: list[Settlement] = field(default_factory=list)
    undone: bool = False
    """Whether anybody took anything back: counts may be less then, and settled conflicts be open again."""
    folded: set[int] = field(default_factory=set)
    """Devices whose log may begin late."""
    removed: set[str] = field(default_factory=set)
    """Records that were deleted at some time."""

    def __post_init__(self) -> None:
        for app in self.apps:
            self.add(app)

    def add(self, app: int) -> Device:
        """One more device, with its store in a file."""
        index = len(self.devices)
        path = self.folder / str(index) / "store.db"
        path.parent.mkdir()
        models = tuple(APPS[app].models.values())
        device = Device(index, path, self.folder / "state" / str(index), models)
        self.devices.append(device)
        self.runs.append(app)
        return device

    def app(self, device: Device) -> App:
        """The version that a device runs."""
        return APPS[self.runs[device.index]]

    def abandon(self) -> None:
        """Let go of everything."""
        for device in self.devices:
            device.abandon()

    # ── what a user does ─────────────────────────────────────────────────────────────────────────────────────────────

    def records(self, device: Device) -> list[Any]:
        """All that is shown there."""
        return [record for model in self.app(device).models.values() for record in device.replica.find(model)]

    @contextmanager
    def acting(self, device: Device) -> Iterator[None]:
        """A user does something, perhaps in vain: what is refused leaves no entry. Takes note of what goes."""
        before, texts = device.vector(), self.texts(device)
        typed, counted = {name: set(held) for name, held in self.typed.items()}, dict(self.counted)
        try:
            yield
        except REFUSALS:
            assert device.vector() == before, "what was refused left an entry"
            self.typed, self.counted = typed, counted
        now = set().union(*self.texts(device).values())
        new = set().union(*self.typed.values()) - set().union(*typed.values())
        self.taken |= new.union(*texts.values()) - now

    def texts(self, device: Device) -> dict[str, set[str]]:
        """Record → the characters of its texts, those of other records under the same name too."""
        found: dict[str, set[str]] = {}
        for record in self.records(device):
            name = self.app(device).name(type(record).__name__, "notes")
            if name is not None:
                texts = [item.value for item in device.replica.candidates(record, name)]
                found[record.id] = set("".join((*texts, str(getattr(record, name)))))
        return found

    def create(self, device: Device, values: dict[str, Any], *, model: str | None = None) -> None:
        """A record of a model, or of any, with some of its fields."""
        models = self.app(device).models
        name = model or self.random.choice(sorted(models))
        fields = models[name].__crdt_spec__.fields
        given = {here: value for first, value in values.items() if (here := self.app(device).name(name, first))}
        if "slug" in fields:
            given["slug"] = self.random.choice(("home", "about"))
        with self.acting(device):
            made = device.replica.create(models[name], **given)
            if name == "Item":
                self.made[made.id] = (device.dated(), made.id)
                type_text(self, device, made)

    def change(self, device: Device, what: Callable[[Mix, Device, Any], None]) -> None:
        """One change of one record."""
        found = self.records(device)
        if found:
            with self.acting(device):
                what(self, device, self.random.choice(found))

    def settle(self, device: Device, how: int) -> None:
        """Settle a conflict: by a candidate, by its proposal, path by path, or all of a model at once."""
        found = device.replica.conflicts()
        if not found:
            return
        conflict = self.random.choice(found)
        if how == 0:
            model = self.app(device).models[conflict.model]
            with self.acting(device):
                device.replica.resolve_all(model=model, take=self.random.choice(("latest", "earliest")))
            return
        choice = self.answer(conflict, how)
        with self.acting(device):
            device.replica.resolve(conflict, **choice)
            assert conflict.id not in {item.id for item in device.replica.conflicts()}, "it is still there"
            self.settled.append(Settlement(conflict.id, device.author, device.vector()[device.author]))

    def answer(self, conflict: Conflict, how: int) -> dict[str, Any]:
        """What a user says to a conflict."""
        if how == 1 and conflict.paths:
            return {"paths": {path: self.random.choice(conflict.candidates) for path in conflict.paths}}
        return {"take": self.random.choice(conflict.candidates)}

    def take_back(self, device: Device, *, redo: bool) -> None:
        """Undo or redo, where nothing was compacted: that has tests of its own."""
        if device.index in self.folded:
            return
        self.undone = True
        with self.acting(device):
            if redo:
                device.replica.redo()
            else:
                device.replica.undo()

    def compact(self, device: Device) -> None:
        """Fold what everybody holds: nothing that is shown changes; documents of deleted records may leave."""
        before = self.see(device)
        self.folded.add(device.index)
        device.replica.compact()
        after = self.see(device)
        shown = [*self.app(device).models, "conflicts"]
        assert [after[name] for name in shown] == [before[name] for name in shown], "compacting changed what is shown"

    def reopen(self, device: Device, *, kill: bool, app: int | None) -> None:
        """Close or kill it and open it again, perhaps with another version of the app."""
        before = self.see(device)
        if kill:
            device.kill()
        else:
            device.close()
        if app is not None:
            self.runs[device.index], device.models = app, tuple(APPS[app].models.values())
        after = self.see(device)
        if app is None:
            assert after == before, "opening again changed what is shown"

    def copy(self, device: Device) -> None:
        """The store is copied to another machine, and both go on."""
        if len(self.devices) == DEVICES_MAX:
            return
        device.close()
        other = self.add(self.runs[device.index])
        assert device.path is not None
        assert other.path is not None
        shutil.copyfile(device.path, other.path)

    def meet(self, left: Device, right: Device, faults: dict[int, Fate]) -> None:
        """A session; without faults both show the same afterwards."""
        asked = 0

        def fates(frame: Frame) -> Fate:
            nonlocal asked
            asked += 1
            return faults.get(asked, Fate.DELIVER)

        report = exchange(left.replica, right.replica, fates=fates, limits=SMALL_LIMITS)
        if not faults:
            assert report.proven_equal, f"not proven equal: {report.left_end}, {report.right_end}"
            self.compare(left, right)

    def converge(self) -> None:
        """Everybody gets everything."""
        first, *others = self.devices
        for _ in range(3):
            for device in others:
                self.meet(first, device, {})

    # ── what is held ─────────────────────────────────────────────────────────────────────────────────────────────────

    def see(self, device: Device) -> Shown:
        """All that this app shows."""
        return see(device.replica, self.app(device))

    def compare(self, left: Device, right: Device) -> None:
        """Two that hold the same: what both apps know shows the same."""
        mine, theirs = self.see(left), self.see(right)
        if self.runs[left.index] == self.runs[right.index]:
            assert mine == theirs, "one app shows two things"
        shared = self.app(left).models.keys() & self.app(right).models.keys()
        for name in shared:
            assert mine[name].keys() == theirs[name].keys(), f"other records of {name}"
        conflicts = [
            {item.id for item in seen["conflicts"] if item.model in shared and item.field != "stage"}
            for seen in (mine, theirs)
        ]
        assert conflicts[0] == conflicts[1], "other conflicts"
        assert mine["fingerprint"] == theirs["fingerprint"]

    def check(self, device: Device) -> None:
        """Settled conflicts are gone for whoever holds their settling."""
        if not self.undone:
            vector = device.vector()
            known = {item.conflict for item in self.settled if vector.get(item.author, 0) >= item.sequence}
            back = known & {conflict.id for conflict in device.replica.conflicts()}
            assert not back, "a settled conflict is back"

    def finish(self) -> None:
        """Everybody has everything: nothing is lost, and whoever comes late or derives anew sees the same."""
        self.converge()
        for device in self.devices:
            self.check(device)
            self.compare(self.devices[0], device)
            self.check_texts(device)
            before = self.see(device)
            device.replica.port.rederive([key for key, _ in before["versions"]])
            assert self.see(device) == before, "deriving anew changes what is shown"
        for number, app in enumerate(APPS):
            held = [self.see(device) for device in self.devices if self.runs[device.index] == number]
            with late(app) as replica:
                assert exchange(self.devices[0].replica, replica).proven_equal
                held.append(see(replica, app))
            assert all(seen == held[0] for seen in held), "a newcomer sees other things"

    def check_texts(self, device: Device) -> None:
        """What was typed is there, unless somebody took it out."""
        shown = self.texts(device)
        for record in self.records(device):
            names = {record.id, *device.replica.also_known_as(record)}
            if len(names) > 1 and names <= self.made.keys():
                assert record.id == min(self.made[name] for name in names)[1], "another record survives"
            if record.id in shown:
                wanted = set().union(*(self.typed.get(name, set()) for name in names)) - self.taken
                assert wanted <= shown[record.id], "what was typed is gone"
                if not self.undone and names.isdisjoint(self.removed) and hasattr(record, "votes"):
                    total = sum(self.counted.get(name, 0) for name in names)
                    assert int(record.votes) == total, "an increment is lost"


def late(app: App) -> Replica:
    """A replica in memory that knows nothing yet."""
    drawn = iter(range(1, 1 << 30))
    sources = Sources(now_ms=lambda: EPOCH_MS, entropy=lambda count: next(drawn).to_bytes(count, "big"))
    return Replica.open(":memory:", list(app.models.values()), sources=sources)


def see(replica: Replica, app: App) -> Shown:
    """All that a replica shows: tables, records with their other names, conflicts, versions."""
    seen: Shown = {}
    for name, model in app.models.items():
        found = replica.find(model)
        for record in found:
            assert replica.get(model, record.id) == record
        seen[name] = {record.id: (record.model_dump(), replica.also_known_as(record)) for record in found}
    seen["conflicts"] = replica.conflicts()
    seen["versions"] = replica.port.listing(DEFAULT_PARTITION, after=None, limit=10_000)
    seen["fingerprint"] = replica.port.fingerprint(DEFAULT_PARTITION)
    return seen


# ── changes of one record ────────────────────────────────────────────────────────────────────────────────────────────


def write(mix: Mix, device: Device, record: Any) -> None:
    """Assign a register."""
    app, model = mix.app(device), type(record).__name__
    first = mix.random.choice(sorted(name for name in SET if app.name(model, name)))
    device.replica.update(record, **{str(app.name(model, first)): mix.random.choice(SET[first])})


def type_text(mix: Mix, device: Device, record: Any) -> None:
    """Insert two characters that were never used."""
    name = mix.app(device).name(type(record).__name__, "notes")
    if name is not None:
        text = "".join(chr(0x4E00 + mix.characters + at) for at in range(2))
        mix.characters += 2
        held = getattr(record, name)
        held.insert(mix.random.randint(0, len(held)), text)
        mix.typed.setdefault(record.id, set()).update(text)


def cut_text(mix: Mix, device: Device, record: Any) -> None:
    """Delete a character."""
    name = mix.app(device).name(type(record).__name__, "notes")
    if name is not None and len(getattr(record, name)):
        held = getattr(record, name)
        held.delete(mix.random.randrange(len(held)), 1)


def count(mix: Mix, device: Device, record: Any) -> None:
    """Increment the counter."""
    if mix.app(device).name(type(record).__name__, "votes"):
        step = mix.random.choice((-1, 1, 2))
        record.votes.increment(step)
        mix.counted[record.id] = mix.counted.get(record.id, 0) + step


def fill(mix: Mix, device: Device, record: Any) -> None:
    """Something with a set, a list or a map."""
    app, random = mix.app(device), mix.random
    if type(record).__name__ != "Item":
        return
    tags, days = getattr(record, str(app.name("Item", "tags"))), str(app.name("Item", "days"))
    match random.randrange(7):
        case 0:
            tags.add(random.choice("ab"))
        case 1:
            tags.discard(random.choice("ab"))
        case 2:
            record.steps.insert(0, random.choice("ab"))
        case 3 if len(record.steps):
            record.steps.move(random.randrange(len(record.steps)), 0)
        case 4 if len(record.steps):
            record.steps.pop()
        case 5:
            entries, first = random.choice(((getattr(record, days), "days"), (record.homes, "homes")))
            entries[random.choice("ab")] = random.choice(MAP_VALUES[first])
        case _:
            getattr(record, days).pop("a", None)


def delete(mix: Mix, device: Device, record: Any) -> None:
    """Delete it, and perhaps restore it at once."""
    mix.removed.update((record.id, *device.replica.also_known_as(record)))
    device.replica.delete(record)
    if mix.random.random() < 0.3:
        device.replica.restore(type(record), record.id)


CHANGES: dict[str, Callable[[Mix, Device, Any], None]] = {
    "write": write,
    "type": type_text,
    "cut": cut_text,
    "count": count,
    "fill": fill,
    "delete": delete,
}
