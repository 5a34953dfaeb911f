"""Which transactions of this replica can be undone and redone: the journal tells, and one row beside it.

The row says how things stood at the last undo or redo. What the journal holds behind that was written since: it can be
undone, and takes away what could be redone. So ordinary writes cost nothing, and a replica that is opened again can
undo what it did before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from crdt_sync.core.blocks import UnitId
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.respelling import Alias
from crdt_sync.replica.packing import Shape, pack_values, unpack_shaped
from crdt_sync.replica.rows import OperationRow, key_number, number_key, unpack_operation_row
from crdt_sync.storage.base import Store, Table

UNDO_MAX: Final = 100
"""Transactions that can be undone."""
ALIASES_MAX: Final = 500
"""Pieces of text that were put back and are known for what they stand for; the oldest are forgotten first."""
STACK: Final = b"undo"
"""Key in the meta table."""
_SHAPE: Final[Shape] = (int, [int], [int], [(bytes, (int, int, int, int, int))])


@dataclass(slots=True)
class UndoStack:
    """The transactions, each named by the journal's number of its last operation; the latest last.

    Args:
        at: the journal's last number when it was made.
        undo: what can be undone.
        redo: what can be redone: the transactions that undid.
        aliases: what was put back into texts, by document.
    """

    at: int = 0
    undo: list[int] = field(default_factory=list)
    redo: list[int] = field(default_factory=list)
    aliases: list[tuple[DocumentKey, Alias]] = field(default_factory=list)

    def aliases_of(self, key: DocumentKey) -> list[Alias]:
        """What was put back into the texts of one document."""
        return [alias for held, alias in self.aliases if held == key]

    def keep(self, store: Store, *, at: int) -> None:
        """Note how things stand, in the caller's store transaction; ``at`` is the journal's last number after it."""
        aliases = [(key, tuple(alias)) for key, alias in self.aliases[-ALIASES_MAX:]]
        row = pack_values(at, self.undo[-UNDO_MAX:], self.redo[-UNDO_MAX:], aliases)
        store.put(Table.META, STACK, row)


def read_stack(data: bytes) -> UndoStack:
    """How things stood at the last undo or redo.

    Raises:
        CorruptStoreError: the stored row is no such thing.
    """
    at, undo, redo, aliases = unpack_shaped(data, _SHAPE, table=Table.META, key=STACK)
    return UndoStack(at, list(undo), list(redo), [(DocumentKey(key), Alias(*alias)) for key, alias in aliases])


def load_stack(store: Store, *, own: frozenset[Author]) -> UndoStack:
    """How things stand now; a copied store's journal also holds what the one it was copied from did, which stays.

    Args:
        store: with the journal.
        own: every author of ours.
    """
    data = store.get(Table.META, STACK)
    stack = UndoStack()
    if data is not None:
        stack = read_stack(data)
    fresh: list[int] = []
    last: tuple[int, int] | None = None
    for key, data in store.scan(Table.OPERATION, reverse=True):
        number, row = key_number(key), unpack_operation_row(data)
        if number <= stack.at or len(fresh) > UNDO_MAX:
            break
        if row.author in own and (row.author, row.sequence) != last:
            fresh.append(number)
            last = row.author, row.sequence
    if fresh:
        stack.undo = [*stack.undo, *reversed(fresh)][-UNDO_MAX:]
        stack.redo = []
        stack.at = fresh[0]
    return stack


def forget_past(store: Store) -> None:
    """What was done up to now can be neither undone nor redone, in the caller's store transaction."""
    last = next(store.scan(Table.OPERATION, reverse=True, limit=1), None)
    UndoStack().keep(store, at=0 if last is None else key_number(last[0]))


def rename_aliases(store: Store, renamed: Callable[[DocumentKey, UnitId], UnitId]) -> None:
    """Follow units that were written again under a new author, in the caller's store transaction."""
    data = store.get(Table.META, STACK)
    if data is None:
        return
    stack = read_stack(data)
    found: list[tuple[DocumentKey, Alias]] = []
    for key, alias in stack.aliases:
        for number in range(alias.length):
            old = renamed(key, (alias.old_author, alias.old_clock + number))
            new = renamed(key, (alias.author, alias.clock + number))
            last = found[-1][1] if number else None
            if last and last.goes_on_with(old, new):
                found[-1] = key, last._replace(length=last.length + 1)
            else:
                found.append((key, Alias(*old, *new, 1)))
    stack.aliases = found
    stack.keep(store, at=stack.at)


def forget_operations(store: Store, numbers: Collection[int], *, own: frozenset[Author]) -> None:
    """Transactions with these operations can be neither undone nor redone, in the caller's store transaction."""
    stack = load_stack(store, own=own)
    stack.undo = [number for number in stack.undo if number not in numbers]
    stack.redo = [number for number in stack.redo if number not in numbers]
    stack.keep(store, at=stack.at)


def operation_at(store: Store, number: int) -> OperationRow | None:
    """One operation of the journal."""
    data = store.get(Table.OPERATION, number_key(number))
    return None if data is None else unpack_operation_row(data)
