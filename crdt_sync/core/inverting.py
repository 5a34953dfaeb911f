"""What takes back one transaction's writes to a record, as far as they still stand; texts are in `respelling`.

Of records that were merged it is given what they show together, and writes to each of them what belongs there.

It compares the record before the transaction, after it and now. A value is taken back only where what stands now is
what the transaction wrote, and nobody else has written the same thing since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import MergedContent, each_write, split_key, split_writes, untagged, untagged_element
from crdt_sync.core.ids import Author, RecordId
from crdt_sync.core.kinds import (
    CounterKind,
    Drop,
    FieldKind,
    ListKind,
    MapKind,
    Put,
    SetKind,
    Write,
    WriteContext,
)
from crdt_sync.core.kinds.lattice import Lattice
from crdt_sync.core.kinds.list_cells import Element, put_cell, rewrite
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.layout import KeyClass, MapKey, map_key, parsed_key
from crdt_sync.errors import InputError

OTHERS_WROTE: Final = "others wrote it since, or at the same time"
STAYS_SETTLED: Final = "a conflict that was settled stays settled"
ONLY_GROWS: Final = "what is first, greatest or least cannot be taken back"

Place = tuple[str, str]
"""What a write is about: a register's name and nothing, or a field and one of its elements."""


def place_of(key: MapKey) -> Place:
    """What a cell is about."""
    return (key.field, key.rest) if key.key_class in (KeyClass.SET, KeyClass.LIST) else (key.register, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What others did to a record since the transaction.

    Args:
        places: what they wrote or removed.
        everything: whether it cannot be told, or they created the record too.
        wrote: whether they did anything at all.
    """

    places: AbstractSet[Place]
    everything: bool
    wrote: bool

    def touched(self, place: Place) -> bool:
        """Whether they wrote this, or may have."""
        return self.everything or place in self.places


@dataclass(slots=True, kw_only=True)
class Inversion:
    """Takes back the writes of one transaction to one record.

    Args:
        before: the record before the transaction.
        after: the record after it.
        now: the record as it is.
        record: its id; of several, that of the one that shows.
        own: every author of ours.
        since: what others did since.
        context: who takes back, and when.
        shown: what the fields showed before it.
        decided: registers to which it gave what was chosen for records that were created twice.
    """

    before: Content
    after: Content
    now: Content
    record: RecordId
    own: Collection[Author]
    since: Since
    context: WriteContext
    shown: Mapping[str, Any]
    decided: AbstractSet[str]
    writes: dict[RecordId, list[Write]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def invert(self, kind: FieldKind) -> None:
        """Take back what the transaction did to one field."""
        known = self._count()
        match kind:
            case Lattice():
                if self.before.lattices.get(kind.stored) != self.after.lattices.get(kind.stored):
                    self.skip(kind.name, ONLY_GROWS)
            case PlainRegister():
                self._register(kind.name, kind)
            case MapKind():
                names = {*kind.present(self.before), *kind.present(self.after)}
                for name in sorted(names):
                    self._entry(kind, name)
            case CounterKind():
                step = kind.read(self.after) - kind.read(self.before)
                self._write(kind.add(self.now, -step, context=self.context))
            case SetKind():
                self._set(kind)
            case ListKind():
                self._list(kind)
            case _:
                raise InputError(f"a field of kind {type(kind).__name__} cannot be undone")
        if self._count() > known:
            self.done.append(kind.name)

    def skip(self, name: str, reason: str) -> None:
        """Note what stays, once for each field and reason."""
        if (name, reason) not in self.skipped:
            self.skipped.append((name, reason))

    def add(self, record: RecordId, writes: Iterable[Write]) -> None:
        """Write to one document."""
        self.writes.setdefault(record, []).extend(writes)

    def _count(self) -> int:
        return sum(map(len, self.writes.values()))

    def _write(self, writes: Iterable[Write]) -> None:
        for record, own in split_writes(writes, survivor=self.record).items():
            self.add(record, own)

    def _everywhere(self, make: Callable[[Content], list[Write]]) -> None:
        """Write to each document: a half that somebody knows by itself never comes back with another value."""
        parts = self.now.parts if isinstance(self.now, MergedContent) else ((self.record, self.now),)
        for record, part in parts:
            self.add(record, make(part))

    def _author_of(self, key: str) -> Author:
        return parsed_key(split_key(key, survivor=self.record)[1]).author

    def _is_ours(self, register: PlainRegister) -> bool:
        """Whether a register holds what the transaction left there, and nothing else."""
        found, left = each_write(register.candidates(self.now)), each_write(register.candidates(self.after))
        return (
            not self.since.touched((register.stored, ""))
            and len(found) == len(left) == 1
            and untagged(found[0].dot.author) in self.own
            and found[0].data == left[0].data
        )

    def _register(self, name: str, register: PlainRegister) -> None:
        before = each_write(register.candidates(self.before))
        if before == each_write(register.candidates(self.after)):
            return
        if not self._is_ours(register):
            self.skip(name, OTHERS_WROTE)
            return
        if register.stored in self.decided:
            self.skip(name, STAYS_SETTLED)
            return
        value = register.read(self.before) if before else self.shown[name]
        self._everywhere(lambda part: register.assign(part, value, context=self.context))
        if len(before) > 1:
            self.skip(name, STAYS_SETTLED)

    def _entry(self, kind: MapKind, name: str) -> None:
        register = kind.register(name)
        before, after = register.candidates(self.before), register.candidates(self.after)
        if before and after:
            self._register(kind.name, register)
        elif before:
            if self.since.touched((register.stored, "")):
                self.skip(kind.name, OTHERS_WROTE)
            elif not register.candidates(self.now):
                value = register.read(self.before)
                self._everywhere(lambda part: register.assign(part, value, context=self.context))
        elif self._is_ours(register):
            self._write(kind.drops(self.now, [name]))
        elif register.candidates(self.now):
            self.skip(kind.name, OTHERS_WROTE)

    def _set(self, kind: SetKind) -> None:
        before, after, now = (content.sets.get(kind.stored, {}) for content in (self.before, self.after, self.now))
        for name in sorted(before.keys() ^ after.keys()):
            if self.since.touched((kind.stored, name)):
                self.skip(kind.name, OTHERS_WROTE)
            elif name in after:
                self._write(Drop(key) for key, _ in now.get(name, ()) if self._author_of(key) in self.own)
            elif name not in now:
                key = map_key(KeyClass.SET, self.context.author, field=kind.stored, rest=name)
                self._write((Put(key, before[name][0][1]),))

    def _list(self, kind: ListKind) -> None:
        before, after, now = (
            {element.id: element for element in kind.elements(content)}
            for content in (self.before, self.after, self.now)
        )
        for name in sorted(before.keys() | after.keys()):
            was, left, here = before.get(name), after.get(name), now.get(name)
            if (None if was is None else was.cell) == (None if left is None else left.cell):
                continue
            if self.since.touched((kind.stored, untagged_element(name))):
                self.skip(kind.name, OTHERS_WROTE)
            elif was is None:
                self._write(() if here is None else (Drop(key) for key in here.keys))
            elif left is None:
                self._write(() if here else (put_cell(kind.stored, name, was.cell, context=self.context),))
            elif here is not None:
                self._element(kind, was, left, here)

    def _element(self, kind: ListKind, was: Element, left: Element, here: Element) -> None:
        data = was.cell.data if was.cell.data != left.cell.data == here.cell.data else None
        place = was.place if was.place != left.place == here.place else None
        if data is not None or place is not None:
            self._write(rewrite(kind.stored, here, data=data, place=place, context=self.context))
