"""Settled conflicts of fields that a document tells nothing of any more, as rows of the journal of settled conflicts.

A document keeps 16 values of a register that were superseded, so what settled a conflict may have lost its candidates
by the time a replica derives the document: later writes of one batch removed them, or a concurrent one did before. The
log has them all. A write names what it saw, so it tells the same wherever it is read: the clash is of those values
that its writer had seen and that no write which it had seen had removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from crdt_sync.core.content import Content, Dot, RegisterValue, parse_content
from crdt_sync.core.duplicates import Written as WriteName
from crdt_sync.core.duplicates import merge_contents, write_of
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.kinds.causal import CausalRegister, may_settle
from crdt_sync.core.layout import ENTRY_SEPARATOR, KeyClass, map_key
from crdt_sync.core.screening import Screened
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import group_of
from crdt_sync.replica.past import steps_of
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.settled import keep_settled, settled_in_several, settled_row
from crdt_sync.replica.state import State


class _Register(NamedTuple):
    """What was ever written to a register, as far as the log reaches.

    Args:
        values: by dot, in the order in which this replica applied them.
        removed: the write that removed others → those.
    """

    values: dict[Dot, RegisterValue]
    removed: dict[Dot, set[Dot]]


class _Log:
    """What was ever written to one document's registers, as far as its log reaches.

    Args:
        state: the replica.
        key: the document.
        since: log position from which on writes are `late`.
    """

    def __init__(self, state: State, key: DocumentKey, *, since: int) -> None:
        self._registers: dict[str, _Register] = {}
        self._entries: dict[tuple[str, Dot], list[RegisterValue]] = {}
        self.late: list[tuple[str, RegisterValue]] = []
        """Writes with their registers."""
        replay = state.documents.base(key)
        self._hold(replay.content(()), is_late=since == 0)
        for step in steps_of(state, (key,)):
            before = replay.content(()) if step.touch.position >= since else Content()
            verdict, is_late = step.apply(replay), step.touch.position >= since
            if verdict is None:
                self._hold(replay.content(()), is_late=is_late)
            else:
                self._write(verdict, before, is_late=is_late)
        self.content = replay.content(())
        """The document as it is now."""

    def as_seen(self, register: str, item: RegisterValue) -> list[RegisterValue]:
        """A write among what its writer held of a register: what it saw, but for what was removed of that.

        Who took an entry out of a map says nowhere what it saw: of entries it is what was held here.
        """
        if (register, item.dot) in self._entries:
            return [*self._entries[register, item.dot], item]
        held = self._registers.get(register, _Register({}, {}))
        seen = {dot: other for dot, other in held.values.items() if item.context.get(dot.author, -1) >= dot.counter}
        gone = set[Dot]().union(*(dots for writer, dots in held.removed.items() if writer in seen))
        return [*(other for dot, other in seen.items() if dot not in gone), item]

    def writes(self) -> dict[str, dict[WriteName, RegisterValue]]:
        """Register → all writes to it, by name."""
        return {
            register: {write_of(item): item for item in held.values.values()}
            for register, held in self._registers.items()
        }

    def _hold(self, content: Content, *, is_late: bool) -> None:
        """Take what a document holds: its base, or content that a peer gave."""
        for register, values in content.causal.items():
            held = self._register(register).values
            fresh = [item for item in values if item.dot not in held]
            held.update((item.dot, item) for item in fresh)
            self.late += [(register, item) for item in fresh if is_late]
            if ENTRY_SEPARATOR in register:
                self._entries.update(((register, item.dot), values) for item in fresh)

    def _write(self, verdict: Screened, before: Content, *, is_late: bool) -> None:
        """Take what an operation writes and removes."""
        written = _values_in(causal_cells(verdict))
        for register, values in written.items():
            self._register(register).values.update((item.dot, item) for item in values)
            self.late += [(register, item) for item in values if is_late]
            if ENTRY_SEPARATOR in register:
                self._entries.update(((register, item.dot), before.causal.get(register, [])) for item in values)
        for name in verdict.removed_keys:
            for item in written.get(name.register, ()) if name.key_class is KeyClass.CAUSAL else ():
                gone = Dot(name.author, int(name.rest))
                self._register(name.register).removed.setdefault(item.dot, set()).add(gone)

    def _register(self, name: str) -> _Register:
        return self._registers.setdefault(name, _Register({}, {}))


def settles_field(declared: Declared | None, loaded: Loaded, cells: Mapping[str, bytes]) -> bool:
    """Whether a write that a document has not taken in yet may settle a conflict of a field there.

    Args:
        declared: the model, where it is known.
        loaded: the document before the write.
        cells: keys of values with a causal context → what the write leaves there.
    """
    written = _values_in(cells)
    if not written or declared is None or not loaded.known:
        return False
    content = loaded.content(())
    for register, values in written.items():
        kind = _kind_of(declared, register)
        if kind is not None and any(may_settle(item, kind.kept(content)) for item in values):
            return True
    return False


def has_lost_values(loaded: Loaded) -> bool:
    """Whether a value with a causal context was ever removed from a document; its index has the keys of all of them."""
    index = loaded.index
    return any(key.startswith(KeyClass.CAUSAL.value) and index.is_deleted(*unit) for key, unit in index.last.items())


def journal_fields(state: State, declared: Declared, key: DocumentKey, *, since: int) -> None:
    """Note what conflicts of fields the writes to a document settled from a log position on; in a store transaction.

    Args:
        state: the replica.
        declared: the model.
        key: the document.
        since: log position; 0 for what its base holds, too.
    """
    log, group = _Log(state, key, since=since), group_of(state, declared, key)
    logs = {member: log if member == key else _Log(state, member, since=state.ledger.end + 1) for member in group}
    writes = {member: other.writes() for member, other in logs.items()}
    rows: dict[DocumentKey, dict[bytes, bytes]] = {}
    for register, item in log.late:
        kind = _kind_of(declared, register)
        if kind is None:
            continue
        named = {member: found.get(register, {}).get(write_of(item)) for member, found in writes.items()}
        copies = {member: copy for member, copy in named.items() if copy is not None}
        contents = [
            (split_document_key(member)[2], _past(logs[member], register, copy)) for member, copy in copies.items()
        ]
        if len(copies) == 1:
            settling, shown = kind.settlement(item, kind.kept(contents[0][1])), key
        else:
            merged = merge_contents(contents, survivor=split_document_key(group[0])[2])
            found = (each for each in settled_in_several(declared, merged) if write_of(each.chosen) == write_of(item))
            settling, shown = next(found, None), group[0]
        if settling is not None:
            rows.setdefault(shown, {}).update((settled_row(shown, settling),))
    for shown, found_rows in rows.items():
        keep_settled(state.store, shown, found_rows)


def _past(log: _Log, register: str, item: RegisterValue) -> Content:
    return replace(log.content, causal={register: log.as_seen(register, item)})


def _values_in(cells: Mapping[str, bytes]) -> Mapping[str, list[RegisterValue]]:
    """The values with a causal context that cells of a map root hold, by register."""
    return parse_content(cells, {}, {}).causal if cells else {}


def causal_cells(verdict: Screened) -> dict[str, bytes]:
    """The values with a causal context that an update writes, by their keys in the map root."""
    return {
        map_key(name.key_class, name.author, field=name.register, rest=name.rest): data
        for name, data in verdict.written
        if name.key_class is KeyClass.CAUSAL
    }


def _kind_of(declared: Declared, register: str) -> CausalRegister | None:
    field = declared.names.get(register.partition(ENTRY_SEPARATOR)[0])
    kind = None if field is None else declared.spec.field(field).register_kind(register)
    return kind if isinstance(kind, CausalRegister) else None
