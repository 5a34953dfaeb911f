"""The journal of settled conflicts as it grows: by what documents show, and by what only the log tells any more."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.layout import KeyClass
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.settled import journal_shown
from crdt_sync.replica.settled_deletions import journal_deletions
from crdt_sync.replica.settled_fields import has_lost_values, journal_fields
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group


def journal_settled(state: State, declared: Declared, group: Group, content: Content) -> None:
    """Note what records that show as one tell to be settled in their fields; in a store transaction.

    Where values were removed from a document, what is left would tell of other clashes than there were: its log tells.
    """
    if content.causal and not any(has_lost_values(state.documents.get(key)) for key in group):
        journal_shown(state.store, declared, group[0], content)


def journal_lost(state: State, since: Mapping[DocumentKey, int]) -> None:
    """Note what was settled in documents from log positions on, of which they need not tell; in a store transaction."""
    for key, position in since.items():
        declared, loaded = state.schema.by_key(key), state.documents.get(key)
        if declared is None:
            continue
        if any(name.startswith(KeyClass.TOMBSTONE.value) for name in loaded.index.last):
            made = partial(journal_deletions, state, declared, key, since=position)
            declared.shield.call(made, otherwise=None, what="the settled deletions")
        if has_lost_values(loaded):
            made = partial(journal_fields, state, declared, key, since=position)
            declared.shield.call(made, otherwise=None, what="the settled conflicts")
