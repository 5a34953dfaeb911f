"""Settled conflicts: a journal of who chose what, when, over which candidates.

A resolution is an ordinary write that saw several candidates, so every replica that still has those finds it in the
document itself. Rows are added when a document is derived and outlive the values that it drops later.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdt_sync.core.conflict import ConflictKind, conflict_id
from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.kinds.base import FieldKind
from crdt_sync.core.kinds.causal import CausalRegister, Settling
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.replica.derived_rows import SettledRow, settled_key, unpack_settled_row
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import Declared
from crdt_sync.storage.base import Store, Table

SETTLED_ROWS_MAX = 64
"""Settled conflicts that are kept of one record ..."""
SETTLED_BYTES_MAX = 1024 * 1024
"""... and the bytes of their rows; the latest one is kept however large it is."""


def journal_settled(store: Store, declared: Declared, key: DocumentKey, content: Content) -> None:
    """Note what a record's document shows to be settled, and let go of what is too old; in a store transaction."""
    authors = {item.dot.author for values in content.causal.values() for item in values}
    if not authors or len(authors.union(item.author for item in content.creations)) < 2:
        return  # who writes alone settles nothing
    found: dict[bytes, bytes] = {}
    for kind in declared.spec.fields.values():
        for register in _registers(kind, content):
            for settling in register.settlings(content):
                row_key, row = _row(key, settling)
                found[row_key] = row
    keep_settled(store, key, found)


def keep_settled(store: Store, key: DocumentKey, found: dict[bytes, bytes]) -> None:
    """Keep rows of one record that are new, and let go of what is too old; in a store transaction."""
    if not found:
        return
    held = dict(store.scan(Table.SETTLED, start=key, end=after_prefix(key)))
    old = set(_too_old({**found, **held}))
    added = [(name, row) for name, row in found.items() if name not in held and name not in old]
    if added:
        store.put_many(Table.SETTLED, added)
        store.delete_many(Table.SETTLED, old & held.keys())


def _registers(kind: FieldKind, content: Content) -> Iterator[CausalRegister]:
    entries = (kind.stored + ENTRY_SEPARATOR + entry for entry in sorted(content.entries.get(kind.stored, ())))
    for register in (kind.stored, *entries):
        found = kind.register_kind(register)
        if isinstance(found, CausalRegister) and found.stored == register:
            yield found


def _row(key: DocumentKey, settling: Settling) -> tuple[bytes, bytes]:
    clash, chosen = settling.clash, settling.chosen
    number = conflict_id(ConflictKind.CONCURRENT_EDIT, key, clash.register, (item.dot for item in clash.candidates))
    row = SettledRow(register=clash.register, paths=clash.paths, chosen=chosen, candidates=tuple(clash.candidates))
    return settled_key(key, number, chosen.dot), row.pack()


def _too_old(rows: dict[bytes, bytes]) -> list[bytes]:
    by_age = sorted(rows, key=lambda name: unpack_settled_row(rows[name]).chosen.hlc, reverse=True)
    room = SETTLED_BYTES_MAX
    for place, name in enumerate(by_age):
        room -= len(rows[name])
        if place and (place >= SETTLED_ROWS_MAX or room < 0):
            return by_age[place:]
    return []
