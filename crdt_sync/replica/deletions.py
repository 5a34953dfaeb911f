"""Settling whether a record stays deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdt_sync.core.conflict import DELETED, Conflict
from crdt_sync.core.deleting import deletion_side, sides_of
from crdt_sync.core.kinds import Drop
from crdt_sync.errors import ConflictNotFoundError, InputError
from crdt_sync.replica.records import Records
from crdt_sync.replica.state import State


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
    loaded = state.documents.get(key)
    content = loaded.content(declared.text_fields)
    dots = {candidate.dot for candidate in conflict.candidates}
    standing = [name for name in content.tombstones if deletion_side(content, name).dot in dots]
    if not standing or not sides_of(content, declared.spec.on_edit_after_delete, loaded.index.last):
        raise ConflictNotFoundError("this conflict was settled meanwhile")
    if not deletes:
        records.write(key, [Drop(name) for name in standing], fields=declared.all_fields)
        return
    seen: dict[int, int] = {}
    for item in (*(content.tombstones[name].vector.items() for name in standing), dots):
        for author, clock in item:
            seen[author] = max(seen.get(author, 0), min(clock, loaded.index.next_clock(author)))
    own = None if state.identity is None else state.identity.author
    if own is not None and loaded.index.next_clock(own) > seen.get(own, 0):
        raise ConflictNotFoundError(
            "this device wrote to the record since the conflict was read", hint="Read replica.conflicts() again."
        )
    records.delete_over(key, over=standing, seen=seen)


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
