"""Settling whether a record stays deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from crdt_sync.core.conflict import DELETED, Conflict
from crdt_sync.core.deleting import deletion_side
from crdt_sync.core.duplicates import own_dot
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.kinds import Drop, Write
from crdt_sync.errors import ConflictNotFoundError, InputError
from crdt_sync.replica.duplicates import shown_content, sides_in
from crdt_sync.replica.records import Records
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group


def settle_deletion(state: State, records: Records, conflict: Conflict, choice: Mapping[str, Any]) -> None:
    """Settle such a conflict: delete the record as the conflict shows it, or take back the deletions in it.

    Args:
        state: the replica.
        records: its records.
        conflict: as it was found, here or on another replica.
        choice: ``take``: one of its candidates; or ``value``: `DELETED`.

    Raises:
        ConflictNotFoundError: none of its deletions stands against an edit any more; or the record would be deleted
            together with what this device wrote since.
        InputError: it is settled neither by a value nor by parts.
    """
    deletes = _deletes(choice)
    declared, key = records.known(state.schema.of(conflict.model).model, conflict.record_id)
    group, content = shown_content(state, declared, key)
    parts = list(_parts(state, declared, group, conflict))
    if not any(part.standing for part in parts) or not sides_in(state, declared, group, content):
        raise ConflictNotFoundError("this conflict was settled meanwhile")
    if not deletes:
        with records.writing() as transaction:
            for part in parts:
                locked = not part.live and state.locks(part.key)  # it is on its way out, and the others are not
                drops: list[Write] = [] if locked else [Drop(name) for name in part.standing]
                transaction.write(part.key, drops, operation=OperationType.UPDATE, fields=declared.all_fields)
        return
    own = None if state.identity is None else state.identity.author
    if own is not None and any(part.clocks.get(own, 0) > part.seen.get(own, 0) for part in parts):
        raise ConflictNotFoundError(
            "this device wrote to the record since the conflict was read", hint="Read replica.conflicts() again."
        )
    with records.writing() as transaction:
        for part in parts:
            if part.live and part.seen:
                loaded = state.documents.get(part.key)
                transaction.tombstone(loaded, over=part.standing, seen=part.seen)


class _Part(NamedTuple):
    """One document of the record, as far as the conflict is about it.

    Args:
        key: the document.
        live: whether anything of it lies outside of its deletions.
        standing: the conflict's deletions that still stand there.
        seen: author → next clock, as those deletions and the conflict's edits saw it.
        clocks: author → next clock of what counts as an edit, now.
    """

    key: DocumentKey
    live: bool
    standing: list[str]
    seen: dict[int, int]
    clocks: Mapping[int, int]


def _parts(state: State, declared: Declared, group: Group, conflict: Conflict) -> Iterator[_Part]:
    for key in group:
        loaded, record = state.documents.get(key), split_document_key(key)[2]
        content = loaded.content(declared.text_fields)
        named = (own_dot(candidate.dot, record, survivor=conflict.record_id) for candidate in conflict.candidates)
        dots = {dot for dot in named if dot is not None}
        standing = [name for name in content.tombstones if deletion_side(content, name).dot in dots]
        seen: dict[int, int] = {}
        for item in (*(content.tombstones[name].vector.items() for name in standing), dots):
            for author, clock in item:
                seen[author] = max(seen.get(author, 0), min(clock, loaded.index.next_clock(author)))
        yield _Part(key, declared.is_live(content), standing, seen, loaded.index.edited)


def _deletes(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is for the deletion."""
    ((name, chosen),) = choice.items()
    if name == "take":
        return chosen.value is DELETED
    if name == "value" and chosen is DELETED:
        return True
    raise InputError(
        "whether a record stays deleted is settled by take=candidate or value=DELETED",
        hint="To keep it with other values, take an edit, then update the record.",
    )
