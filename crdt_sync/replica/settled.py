"""Settled conflicts: a journal of who chose what, when, over which candidates.

A resolution is an ordinary write that saw several candidates, so every replica that still has those finds it in the
document itself. Rows are added when a document is derived and outlive the values that it drops later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

from crdt_sync.core.conflict import ConflictKind, conflict_id
from crdt_sync.core.content import Content, Dot, RegisterValue
from crdt_sync.core.duplicates import MergedContent, Written, each_write, untagged, write_of
from crdt_sync.core.ids import Author, DocumentKey, document_key, split_document_key
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


def journal_shown(store: Store, declared: Declared, key: DocumentKey, content: Content) -> None:
    """Note what a record's document shows to be settled, and let go of what is too old; in a store transaction.

    Of records that were merged each has what was settled in it alone, and the one that shows has what was settled in
    several.
    """
    if not isinstance(content, MergedContent):
        keep_settled(store, key, dict(settled_row(key, item) for item in _settlings(declared, content)))
        return
    shared = _shared_writes(content)
    partition, model, _ = split_document_key(key)
    for record, part in content.parts:
        member = document_key(partition, model, record)
        alone = (item for item in _settlings(declared, part) if write_of(item.chosen) not in shared)
        keep_settled(store, member, dict(settled_row(member, item) for item in alone))
    keep_settled(store, key, dict(settled_row(key, item) for item in settled_in_several(declared, content)))


def settled_in_several(declared: Declared, content: MergedContent) -> list[Settling]:
    """What was settled by writes that stand in several records, as all of these show it together."""
    shared = _shared_writes(content)
    whole = replace(content, causal=_with_whole_pasts(content, shared)) if shared else Content()
    found = {write_of(item.chosen): item for item in _settlings(declared, whole) if write_of(item.chosen) in shared}
    return list(found.values())


def _settlings(declared: Declared, content: Content) -> Iterator[Settling]:
    authors = {item.dot.author for values in content.causal.values() for item in values}
    alone = len(authors.union(item.author for item in content.creations)) < 2
    if authors and not alone:  # who writes alone settles nothing
        for kind in declared.spec.fields.values():
            none: list[Settling] = []
            made = partial(_settlings_of, kind, content)
            yield from declared.shield.call(made, otherwise=none, what=f"the settled conflicts of {kind.name!r}")


def _settlings_of(kind: FieldKind, content: Content) -> list[Settling]:
    return [settling for register in _registers(kind, content) for settling in register.settlings(content)]


def _shared_writes(content: MergedContent) -> set[Written]:
    """The writes to registers that stand in several of the records."""
    found: dict[Written, set[Author]] = {}
    for values in content.causal.values():
        for item in values:
            found.setdefault(write_of(item), set()).add(item.dot.author)
    return {write for write, authors in found.items() if len(authors) > 1}


def _with_whole_pasts(content: MergedContent, shared: Collection[Written]) -> dict[str, list[RegisterValue]]:
    """The registers, with all that their writers saw in any of the records."""
    whole: dict[str, list[RegisterValue]] = {}
    for register, values in content.causal.items():
        pasts: dict[Written, dict[Author, int]] = {}
        for item in values:
            pasts.setdefault(write_of(item), {}).update(item.context)
        whole[register] = [
            item._replace(context=pasts[write_of(item)]) if write_of(item) in shared else item for item in values
        ]
    return whole


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


def settled_row(key: DocumentKey, settling: Settling) -> tuple[bytes, bytes]:
    """Key and row of a conflict that a write settled."""
    clash, chosen = settling.clash, _untagged(settling.chosen)
    number = conflict_id(ConflictKind.CONCURRENT_EDIT, key, clash.register, (item.dot for item in clash.candidates))
    candidates = tuple(map(_untagged, each_write(clash.candidates)))
    row = SettledRow(register=clash.register, paths=clash.paths, chosen=chosen, candidates=candidates)
    return settled_key(key, number, chosen.dot), row.pack()


def _untagged(item: RegisterValue) -> RegisterValue:
    return item._replace(dot=Dot(untagged(item.dot.author), item.dot.counter))


def _too_old(rows: dict[bytes, bytes]) -> list[bytes]:
    by_age = sorted(rows, key=lambda name: unpack_settled_row(rows[name]).chosen.hlc, reverse=True)
    room = SETTLED_BYTES_MAX
    for place, name in enumerate(by_age):
        room -= len(rows[name])
        if place and (place >= SETTLED_ROWS_MAX or room < 0):
            return by_age[place:]
    return []
