"""What one derivation changes of models with unique fields, to be shown group by group at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey
from crdt_sync.replica.derived_rows import unique_key
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import group_of, note_values_of
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.settled_duplicates import journal_verdicts
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group, held_row, note_record
from crdt_sync.storage.base import Table

HIDDEN: Final = 0
SHOWN: Final = 1
ALIAS: Final = 2
"""A record has no row, a row of its own, or shows as part of another one (`rows.UniqueRow.shown`)."""


@dataclass(slots=True)
class Noted:
    """One document that changed: the fields that were written, and whether its snapshot must be."""

    fields: frozenset[str]
    fold: bool


class Grouping:
    """The documents of one derivation whose groups are to be shown anew.

    Args:
        state: the replica.
        affected: what is already known to be in another group than before, with its model.
    """

    def __init__(self, state: State, affected: Mapping[DocumentKey, Declared]) -> None:
        self._state = state
        self._affected: dict[DocumentKey, Declared] = dict(sorted(affected.items()))
        self.noted: dict[DocumentKey, Noted] = {}

    def note(self, declared: Declared, loaded: Loaded, content: Content, *, fields: frozenset[str], fold: bool) -> None:
        """Take note of a document that changed, by itself."""
        key = loaded.key
        journal_verdicts(self._state.store, key, content)
        before = self.noted.get(key, Noted(frozenset(), fold=False))
        self.noted[key] = Noted(fields=before.fields | fields, fold=before.fold or fold)
        self.affect(declared, note_record(self._state.store, declared, key, content))

    def affect(self, declared: Declared, keys: Iterable[DocumentKey]) -> None:
        """Have the groups of these records shown anew."""
        self._affected |= dict.fromkeys(sorted(keys), declared)

    def groups(self) -> Iterator[tuple[Declared, Group]]:
        """The groups that are to be shown anew, each once."""
        for declared, group in list(self._grouped()):
            if declared.spec.asks:  # what others are asked depends on the values that the group shows
                self.affect(declared, note_values_of(self._state, declared, group))
        yield from self._grouped()

    def _grouped(self) -> Iterator[tuple[Declared, Group]]:
        done: set[DocumentKey] = set()
        for key, declared in self._affected.items():
            if key not in done:
                group = group_of(self._state, declared, key)
                done.update(group)
                yield declared, group

    def fields_of(self, group: Group) -> frozenset[str]:
        """The fields that were written in any record of a group."""
        noted = (self.noted[key].fields for key in group if key in self.noted)
        return frozenset[str]().union(*noted)

    def show(self, key: DocumentKey, shown: int) -> int:
        """Note how a record is shown now; returns how it was."""
        held = held_row(self._state.store, key)
        if held.shown != shown:
            self._state.store.put(Table.UNIQUE, unique_key(key), replace(held, shown=shown).pack())
        return held.shown
