"""Replicas of one space, what is done on them, and a causal record of it.

Every action is done on a real replica and noted in the reference model in the same breath; which operations a replica
has applied is read from its vector, never assumed. Clocks, ids and entropy are the world's own, so a run repeats.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crdt_sync.core.conflict import DELETED, Conflict, ConflictKind
from crdt_sync.core.ids import DEFAULT_PARTITION, RecordId, document_key
from crdt_sync.core.model import Model, bind, spec_of
from crdt_sync.errors import (
    ConflictNotFoundError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica import Replica
from crdt_sync.replica.rows import after_prefix
from crdt_sync.storage.base import Table
from crdt_sync.testing.drawn import Drawn
from crdt_sync.testing.exchange import ExchangeReport, exchange
from crdt_sync.transport.memory import Fate, Frame
from tests.laws.models import DEFAULTS, MODELS, REGISTERS, Page, Task
from tests.laws.reference import (
    Action,
    Add,
    Count,
    Create,
    Delete,
    Give,
    Operation,
    OpId,
    RecordView,
    Reference,
    Remove,
    Restore,
    Settle,
    Type,
    Write,
)
from tests.laws.ruling import RULES

EPOCH_MS = 1_900_000_000_000
OTHER = {
    **dict.fromkeys(("due", "days", "stage", "ranks"), 9),
    "place": {"z": 9},
    "homes": {"z": 9},
    "owner": "dora",
    "plan": [9],
    "body": "settled",
}
"""Values that are in no conflict, to settle one with."""

COMPARED_CHARS_MAX = 1_900
"""Assigning a text keeps the characters that stay; in a longer one it may replace the whole part that changed."""

SMALL_LIMITS = WireLimits(batch_bytes_max=600)
"""A batch holds a few entries, so that a cut falls between them."""

NOT_YET = 2**64
"""Stands for the timestamp of what is done in an open transaction: it is later than all others."""

NAMES = {model.__name__: model for model in MODELS}


class Rollback(Exception):  # noqa: N818  no error: it is thrown to leave a transaction
    """Thrown inside of a transaction that is to fail."""


@dataclass(slots=True)
class Device:
    """One replica that lives through closings, killings and openings.

    Args:
        index: which of the world's.
        path: of its store, or None for one in memory.
        state_dir: its fences and keys.
        models: that the app on it has.
    """

    index: int
    path: Path | None
    state_dir: Path | None
    models: tuple[type[Model], ...] = MODELS
    now_ms: int = EPOCH_MS
    known: set[OpId] = field(default_factory=set)
    authors: set[int] = field(default_factory=set)
    stale: list[Conflict] = field(default_factory=list)
    """Conflicts that a user of this replica has on the screen."""
    backed_up: bool = False
    stand_in: int | None = None
    """Under which author its entries are noted while those of its own may be another branch's."""
    _drawn: Drawn = field(init=False)
    _replica: Replica | None = None

    def __post_init__(self) -> None:
        """Draw what its index says."""
        self._drawn = Drawn(self.index, seed=str(self.index))

    @property
    def replica(self) -> Replica:
        """Open, always."""
        if self._replica is None:
            self._replica = Replica.open(
                ":memory:" if self.path is None else self.path,
                list(self.models),
                durability="normal",
                state_dir=self.state_dir,
                sources=self._drawn.sources(lambda: self.now_ms),
            )
            self.authors.add(self.author)
        return self._replica

    @property
    def author(self) -> int:
        """Under which it writes now."""
        identity = self.replica._state.identity
        assert identity is not None
        return identity.author

    @property
    def device_id(self) -> str:
        return str(self.replica.device_id)

    def vector(self) -> dict[int, int]:
        """Author → last entry applied."""
        ends = self.replica.port.vector().get(DEFAULT_PARTITION, {})
        return {int(author): position.sequence for author, position in ends.items()}

    def dated(self) -> int:
        """The timestamp of the last entry in the log."""
        ledger = self.replica._state.ledger
        return ledger.entry(ledger.end, 0).hlc

    def close(self) -> None:
        if self._replica is not None:
            self._replica.close()
            self._replica = None

    def kill(self) -> None:
        """End the process, as far as the store can tell: nothing is brought up to date, no clean end is noted."""
        self.abandon()

    def abandon(self) -> None:
        """Let go of the store; nobody will open it again."""
        if self._replica is not None:
            opened = self._replica._opened
            opened.state.store.close()
            if opened.lock is not None:
                opened.lock.release()
            self._replica = None

    def back_up(self) -> None:
        """Put aside what the disk holds now."""
        self.close()
        for now, then in self._places():
            shutil.rmtree(then, ignore_errors=True)
            shutil.copytree(now, then)
        self.backed_up = True

    def put_back(self, *, machine: bool) -> None:
        """Have the store as it was put aside; with ``machine`` also what is kept beside it: keys and fences."""
        self.close()
        for now, then in self._places()[: 2 if machine else 1]:
            shutil.rmtree(now)
            shutil.copytree(then, now)
        self.stale.clear()
        if machine:
            self.stand_in = -self.author

    def _places(self) -> list[tuple[Path, Path]]:
        """Folders of the store and of what is beside it: as they are now, and as they were put aside."""
        assert self.path is not None
        assert self.state_dir is not None
        return [(place, place.with_suffix(".then")) for place in (self.path.parent, self.state_dir)]


@dataclass(slots=True)
class World:
    """Some replicas, and everything that was ever done on them.

    Args:
        folder: for the stores of those that are not in memory.
        kinds: for each replica whether its store is a file.
        random: shuffles what a law wants shuffled.
    """

    folder: Path
    kinds: tuple[bool, ...]
    random: Random = field(default_factory=lambda: Random(0))
    devices: list[Device] = field(default_factory=list)
    reference: Reference = field(
        default_factory=lambda: Reference(
            defaults=DEFAULTS,
            rules=RULES,
            policies={model.__name__: spec_of(model).on_edit_after_delete for model in MODELS},
        )
    )
    characters: int = 0
    entries: dict[tuple[int, int], list[Operation]] = field(default_factory=dict)
    rewritten: set[int] = field(default_factory=set)
    """Authors under which entries of a fork were written again, with the counters that their writes had before."""
    settled: list[tuple[OpId, str]] = field(default_factory=list)
    """A resolution, and the id of the conflict that it settled."""
    after_session: Callable[[Device, Device, ExchangeReport], None] | None = None
    """Told of every session that met no faults."""
    _open: list[Operation] | None = None
    _entry: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for index, on_disk in enumerate(self.kinds):
            path = self.folder / str(index) / "store.db" if on_disk else None
            if path is not None:
                path.parent.mkdir()
            self.devices.append(Device(index, path, self.folder / "state" / str(index) if on_disk else None))

    def abandon(self) -> None:
        """Let go of everything, whatever state it is in."""
        for device in self.devices:
            device.abandon()

    # ── what a user does ─────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self, device: Device) -> Iterator[None]:
        """Everything in the block as one entry, on the replica and in the reference."""
        if self._open is not None:
            yield
            return
        before = device.vector().get(device.author, 0)
        self._open, self._entry = [], (device.stand_in or device.author, before + 1)
        try:
            with device.replica.transaction():
                yield
        except BaseException:
            device.known.difference_update(item.id for item in self._open)
            self.reference.forget(self._open)
            self.settled = [item for item in self.settled if item[0] in device.known]
            assert device.vector().get(device.author, 0) == before, "a failed transaction left an entry"
            raise
        else:
            grown = device.vector().get(device.author, 0) - before
            assert grown == bool(self._open), f"{grown} entries for {self._open}"
            if self._open:
                self.entries[self._entry] = self.reference.date(self._open, device.dated())
        finally:
            self._open = None

    def create(self, device: Device, model: type[Task], **values: Any) -> str | None:
        """Create a record; None where one with its natural key is live."""
        if model is Page:
            record = self.page_name(values["slug"])
            view = self.view(device, record)
            if view.live():
                self._refused(device, RecordExistsError, lambda: device.replica.create(model, **values))
                return None
            if view.known:
                values.pop("leader", None)  # what is first stays: another one would be refused
                with self.transaction(device):
                    device.replica.create(model, **values)
                    self._note_again(device, record, view, values)
                return record
        with self.transaction(device):
            made = device.replica.create(model, **values)
            record = f"{model.__name__} {made.id}"
            self._note_new(device, record, values)
        return record

    def write(self, device: Device, record: str, **values: Any) -> None:
        """Assign registers."""
        view = self.view(device, record)
        if not self._allowed(device, view, lambda: device.replica.update(self.handle(device, record), **values)):
            return
        with self.transaction(device):
            device.replica.update(self.handle(device, record), **values)
            for name, value in values.items():
                self._note_write(device, record, view, name, value)

    def count(self, device: Device, record: str, step: int) -> None:
        """Increment the counter."""
        if not self._allowed(
            device, self.view(device, record), lambda: self.handle(device, record).votes.increment(step)
        ):
            return
        with self.transaction(device):
            self.handle(device, record).votes.increment(step)
            self._note_count(device, record, step)

    def tag(self, device: Device, record: str, element: str, *, add: bool) -> None:
        """Put an element into the set, or take it out."""
        view = self.view(device, record)
        tags = self.handle(device, record).tags
        change = tags.add if add else tags.discard
        if not self._allowed(device, view, lambda: change(element)):
            return
        with self.transaction(device):
            change(element)
            if add:
                self._note(device, record, Add("tags", element))
            elif element in view.elements("tags"):
                self._note(device, record, Remove("tags", element))

    def retag(self, device: Device, record: str, elements: set[str]) -> None:
        """Assign the set: what is missing comes in, what is not wanted goes out, the rest is left alone."""
        view = self.view(device, record)
        if not self._allowed(device, view, lambda: device.replica.update(self.handle(device, record), tags=elements)):
            return
        with self.transaction(device):
            device.replica.update(self.handle(device, record), tags=elements)
            self._note_elements(device, record, view, elements)

    def splice(self, device: Device, record: str, *, at: int, removed: int, inserted: int) -> None:
        """Delete some characters of the text and insert others there; the place is taken modulo its length."""
        text = self.new_text(inserted)
        notes = self.handle(device, record).notes
        if not self._allowed(device, self.view(device, record), lambda: notes.insert(0, text)):
            return
        with self.transaction(device):
            before = str(notes)
            at %= len(before) + 1
            removed = min(removed, len(before) - at)
            notes.delete(at, removed)
            middle = before[:at] + before[at + removed :]
            self._note_text(device, record, before=before, after=middle)
            notes.insert(at, text)
            self._note_text(device, record, before=middle, after=middle[:at] + text + middle[at:])

    def retype(self, device: Device, record: str, *, keep: int, inserted: int) -> None:
        """Assign the text anew: every ``keep``-th character stays, and some come at both ends."""
        new = self.new_text(inserted)
        notes = self.handle(device, record).notes
        if not self._allowed(device, self.view(device, record), lambda: notes.replace(new)):
            return
        if len(notes) > COMPARED_CHARS_MAX:
            return
        with self.transaction(device):
            before = str(notes)
            after = new[: inserted // 2] + before[::keep] + new[inserted // 2 :]
            notes.replace(after)
            self._note_text(device, record, before=before, after=after)

    def delete(self, device: Device, record: str) -> None:
        """Delete a record."""
        view = self.view(device, record)
        if not self._allowed(device, view, lambda: device.replica.delete(self.handle(device, record))):
            return
        with self.transaction(device):
            device.replica.delete(self.handle(device, record))
            self._note(device, record, Delete())

    def restore(self, device: Device, record: str) -> None:
        """Restore a record; nothing happens to one that was never deleted."""
        view = self.view(device, record)
        model, name = self.split(record)
        if not view.known:
            self._refused(device, RecordNotFoundError, lambda: device.replica.restore(model, name))
            return
        with self.transaction(device):
            device.replica.restore(model, name)
            if view.tombstones():
                self._note(device, record, Restore())

    def look(self, device: Device) -> None:
        """A user of this replica has its conflicts on the screen from now on."""
        device.stale.extend(device.replica.conflicts())
        del device.stale[:-8]

    def resolve(self, device: Device, conflict: Conflict, choice: int | None) -> None:
        """Settle a conflict, perhaps one that was seen long ago: by a candidate, or by another value."""
        record = f"{conflict.model} {conflict.record_id}"
        if conflict.kind is ConflictKind.EDIT_OF_DELETED:
            self.resolve_deletion(device, record, conflict, choice)
            return
        view = self.view(device, record)
        value = OTHER[conflict.field]
        if choice is not None:
            candidate = conflict.candidates[choice % len(conflict.candidates)]
            value = candidate.value

        def settle() -> None:
            if choice is None:
                device.replica.resolve(conflict, value=value)
            else:
                device.replica.resolve(conflict, take=candidate)

        if not self._allowed(device, view, settle):
            return
        targets = self.targets(view, conflict)
        now = view.clash(conflict.register)
        if now is None or not targets & {item.id for item in now.candidates}:
            self._refused(device, ConflictNotFoundError, settle)
            return
        with self.transaction(device):
            settle()
            name = self._note(device, record, Settle(conflict.register, value, targets))
            self.settled.append((name, conflict.id))

    def resolve_deletion(self, device: Device, record: str, conflict: Conflict, choice: int | None) -> None:
        """Say whether a record stays deleted, where the conflict still is as it was seen."""
        if all(conflict.id != now.id for now in device.replica.conflicts()):
            return
        answer: dict[str, Any] = {"value": DELETED}
        if choice is not None:
            answer = {"take": conflict.candidates[choice % len(conflict.candidates)]}
        deletes = choice is None or answer["take"].value is DELETED
        with self.transaction(device):
            device.replica.resolve(conflict, **answer)
            name = self._note(device, record, Delete() if deletes else Restore())
            self.settled.append((name, conflict.id))

    def targets(self, view: RecordView, conflict: Conflict) -> frozenset[OpId]:
        """The writes that a conflict object names, by who wrote them when."""
        named = {
            (candidate.dot.author, candidate.timestamp, candidate.dot.counter) for candidate in conflict.candidates
        }
        found: set[OpId] = set()
        writes = view.writes_of(conflict.register)
        for author, hlc, counter in named:
            own = [item for item in writes if item.id[0] == author and not isinstance(item.action, Create)]
            created = [item for item in writes if item.id[0] == author and isinstance(item.action, Create)]
            if author in self.rewritten:
                item = next(item for item in reversed([*created, *own]) if item.hlc == hlc)
            elif conflict.register != conflict.field:  # the dots of an entry have gaps
                item = next(write for write in reversed(own) if write.hlc == hlc)
            else:
                item = created[0] if counter == 0 else own[counter - 1]
            assert item.hlc == hlc, "a candidate's dot and timestamp name two writes"
            found.add(item.id)
        return frozenset(found)

    # ── what happens to replicas ─────────────────────────────────────────────────────────────────────────────────────

    def meet(self, left: Device, right: Device, faults: dict[int, Fate] | None = None) -> ExchangeReport:
        """A session between two replicas, and what they have learnt by it."""
        report = self.talk(left, right, faults)
        for device in (left, right):
            self.learn(device)
        if self.after_session is not None and not faults:
            self.after_session(left, right, report)
        return report

    def talk(self, left: Device, right: Device, faults: dict[int, Fate] | None = None) -> ExchangeReport:
        """A session between two replicas; ``faults`` are the fates of frames, by their place among all frames."""
        asked = 0
        chosen = faults or {}

        def fates(frame: Frame) -> Fate:
            nonlocal asked
            asked += 1
            return chosen.get(asked, Fate.DELIVER)

        return exchange(left.replica, right.replica, fates=fates, limits=SMALL_LIMITS)

    def put_back(self, device: Device, *, machine: bool) -> None:
        """A backup is restored; what others hold comes back later. `settle` must follow before any other meeting."""
        device.put_back(machine=machine)
        self.learn(device)

    def settle(self, device: Device, other: Device) -> None:
        """Let a replica that was put back meet another one, and find out under which author its entries are now.

        Raises:
            AssertionError: two sessions did not make them equal.
        """
        written = sorted(name for name in self.entries if name[0] == device.stand_in)
        self.talk(device, other)
        assert self.talk(device, other).proven_equal, "a replica that was put back is not like the others"
        device.stand_in = None
        held = {(author, number) for author, last in device.vector().items() for number in range(1, last + 1)}
        unknown = sorted(held - self.entries.keys())
        # Whoever does the same again, at the same reading of the clock, has written the same entry.
        twins = [(-author, number) for author, number in written[: len(written) - len(unknown)]]
        assert held.issuperset(twins), f"{written} became {unknown}"
        self.rename(dict(zip(written, [*twins, *unknown], strict=True)))
        self.rewritten.update(author for author, _ in unknown)
        for met in (device, other):
            self.learn(met)

    def rename(self, names: dict[tuple[int, int], tuple[int, int]]) -> None:
        """Entries have other authors and sequences from here on."""

        def renamed(name: OpId) -> OpId:
            author, sequence = names.get(name[:2], name[:2])
            return author, sequence, name[2]

        self.reference.rename(renamed)
        self.settled = [(renamed(name), conflict) for name, conflict in self.settled]
        for old, new in names.items():
            noted = self.entries.pop(old)
            self.entries[new] = [self.reference.operations[item.record][renamed(item.id)] for item in noted]

    def damage(self, device: Device, record: str, *, lost: int) -> bool:
        """Have a replica's document lack its last operations, or be misnamed where ``lost`` is 0; whether it shows.

        The log still holds the operations, for whoever asks for entries; the index of who touched what does not.
        """
        model, name = self.split(record)
        key = document_key(DEFAULT_PARTITION, model.__name__, RecordId(name))
        port, store = device.replica.port, device.replica._state.store
        before = port.fingerprint(DEFAULT_PARTITION)
        touches = [touch for touch, _ in store.scan(Table.TOUCH, start=key, end=after_prefix(key))]
        if not touches:
            return False
        with store.transaction():
            if lost:
                store.delete_many(Table.TOUCH, touches[-lost:])
            else:
                store.put(Table.VERSION, key, bytes(16))
        if lost:
            port.rederive([key])
        port._fingerprints.clear()
        return port.fingerprint(DEFAULT_PARTITION) != before

    def learn(self, device: Device) -> None:
        """Take from the replica's vector which operations it has applied."""
        device.authors.add(device.author)
        device.known = {
            item.id
            for author, last in device.vector().items()
            for sequence in range(1, last + 1)
            for item in self.entries[author, sequence]
        }

    def converge(self) -> None:
        """Sessions without faults, until everybody has everything."""
        first, *others = self.devices
        for _ in range(2):
            for device in others:
                if device.known != first.known:
                    self.meet(first, device)

    # ── what the reference says ──────────────────────────────────────────────────────────────────────────────────────

    def view(self, device: Device, record: str) -> RecordView:
        """What a user of this replica must see of a record."""
        return self.reference.view(record, device.known)

    def handle(self, device: Device, record: str) -> Any:
        """A live record, also of what is dead or unknown: a user may hold one for long."""
        model, name = self.split(record)
        key = document_key(DEFAULT_PARTITION, model.__name__, RecordId(name))
        return bind(model, device.replica._records, key)

    def split(self, record: str) -> tuple[type[Model], str]:
        """Model and id."""
        model, name = record.split()
        return NAMES[model], name

    def page_name(self, slug: str) -> str:
        """The record that a slug names."""
        return f"Page {Page.__crdt_spec__.natural_id({'slug': slug})}"

    def new_text(self, length: int) -> str:
        """Characters that were never used before, every third of them outside of the basic plane."""
        start = self.characters
        self.characters += length
        return "".join(chr((0x20000 if at % 3 == 0 else 0x4E00) + at) for at in range(start, start + length))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, device: Device, record: str, action: Action) -> OpId:
        """Note one operation of the open transaction; it saw what this replica knows, and what it did before."""
        assert self._open is not None
        name = (*self._entry, len(self._open))
        seen = self.view(device, record).ids
        operation = Operation(id=name, hlc=NOT_YET, record=record, seen=seen, action=action)
        self.reference.add(operation)
        self._open.append(operation)
        device.known.add(name)
        return name

    def _note_write(self, device: Device, record: str, view: RecordView, name: str, value: Any) -> None:
        """A write, unless it is the only value there already."""
        found = view.choices(name)
        if len(found) != 1 or (type(found[0].value), found[0].value) != (type(value), value):
            self._note(device, record, Write(name, value))

    def _note_count(self, device: Device, record: str, step: int) -> None:
        if step:
            self._note(device, record, Count("votes", step))

    def _note_text(self, device: Device, record: str, *, before: str, after: str) -> None:
        if before != after:
            inserted, removed = frozenset(after) - frozenset(before), frozenset(before) - frozenset(after)
            self._note(device, record, Type("notes", inserted, removed, after))

    def _note_elements(self, device: Device, record: str, view: RecordView, elements: set[str]) -> None:
        present = view.elements("tags")
        for element in sorted(present - elements):
            self._note(device, record, Remove("tags", element))
        for element in sorted(elements - present):
            self._note(device, record, Add("tags", element))

    def _note_new(self, device: Device, record: str, values: dict[str, Any]) -> None:
        """Creating writes every register at once; a None that nobody asked for is left out."""
        given = {**{name: DEFAULTS[name] for name in REGISTERS if DEFAULTS[name] is not None}, **values}
        registers = {name: value for name, value in given.items() if name in DEFAULTS}
        self._note(device, record, Create(tuple(sorted(registers.items())), frozenset(registers) - values.keys()))
        self._note_count(device, record, values.get("votes", 0))
        for element in sorted(values.get("tags", ())):
            self._note(device, record, Add("tags", element))
        self._note_text(device, record, before="", after=values.get("notes", ""))

    def _note_again(self, device: Device, record: str, view: RecordView, values: dict[str, Any]) -> None:
        """Creating over a deleted record restores it, and writes what was given."""
        self._note(device, record, Restore())
        for name, value in values.items():
            match name:
                case "votes":
                    self._note_count(device, record, value - view.count("votes"))
                case "tags":
                    self._note_elements(device, record, view, set(value))
                case "notes":
                    self._note_text(device, record, before="".join(view.characters("notes")), after=value)
                case "best" | "least":
                    now = view.given(name, rule="max" if name == "best" else "min")
                    if now is None or (value > now if name == "best" else value < now):
                        self._note(device, record, Give(name, value))
                case _:
                    self._note_write(device, record, view, name, value)

    def _allowed(self, device: Device, view: RecordView, action: Callable[[], object]) -> bool:
        """Whether something may be done to a record; where not, because it is dead or unknown, see it refused."""
        if not view.live():
            self._refused(device, RecordDeletedError if view.known else RecordNotFoundError, action)
        return view.live()

    def _refused(self, device: Device, kind: type[Exception], action: Callable[[], object]) -> None:
        """An action that must be refused, and change nothing. Inside of a transaction it would roll that back."""
        if self._open is not None:
            return
        before = device.vector()
        with pytest.raises(kind):
            action()
        assert device.vector() == before, "what was refused left an entry"
