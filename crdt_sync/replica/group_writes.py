"""Writes to records that show as one: which document each belongs to, and the links that keep them together.

A value of a register is written to every member, so that a half that somebody knows by itself never comes back with an
older one. What adds up (counters, elements, text) is written to the survivor; what is removed, wherever it is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from crdt_sync.core.content import Content, Dot
from crdt_sync.core.duplicates import MergedContent, own_dot, split_writes
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.kinds import CausalRegister, FieldKind, Lattice, MapKind, PlainRegister, Write, WriteContext
from crdt_sync.core.links import add_links
from crdt_sync.errors import ElementNotFoundError
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.transaction import LocalTransaction

Writes = dict[RecordId, list[Write]]
"""What is written to each member's document."""


def member_writes(kind: FieldKind, content: MergedContent, make: Callable[[Content], list[Write]]) -> Writes:
    """The writes of one change of a field.

    Args:
        kind: the field.
        content: of the whole.
        make: the change, as the writes that make it to a content.
    """
    whole = make(content)  # it raises where the change cannot be made
    if not isinstance(kind, PlainRegister | MapKind) or isinstance(kind, Lattice):
        return split_writes(whole, survivor=content.parts[0][0])
    return {record: _made(make, part) for record, part in content.parts} if whole else {}


def settling_writes(
    register: CausalRegister, content: MergedContent, data: bytes, *, dots: Iterable[Dot], context: WriteContext
) -> Writes:
    """The writes that settle exactly the candidates ``dots`` of a merged register by value bytes."""
    survivor = content.parts[0][0]
    found: Writes = {}
    for record, part in content.parts:
        own = {mine for dot in dots if (mine := own_dot(dot, record, survivor=survivor)) is not None}
        if own:
            found[record] = register.supersede(part, data, dots=own, context=context)
    return found


def write_group(
    declared: Declared,
    transaction: LocalTransaction,
    key: DocumentKey,
    content: MergedContent,
    writes: Mapping[RecordId, list[Write]],
    *,
    fields: frozenset[str],
) -> None:
    """Write to the members of a group, and link them; nothing happens where nothing is written."""
    if not any(writes.values()):
        return
    link_members(declared, transaction, key, content)
    for record, _ in reversed(content.parts):  # the survivor's comes last, as the latest operation
        own = writes.get(record, [])
        transaction.write(member_key(key, record), own, operation=OperationType.UPDATE, fields=fields)


def link_members(declared: Declared, transaction: LocalTransaction, key: DocumentKey, content: MergedContent) -> None:
    """Note in each member that it belongs to the survivor, so that they stay one whatever becomes of their values.

    It is no edit, so it is not written to a dead one. A change of its own is never joined with it: one that only
    removes something has to move the state vector by itself.
    """
    survivor = content.parts[0][0]
    for record, part in content.parts[1:]:
        if declared.is_live(part):
            links = add_links(part, author=transaction.context.author, merged=(survivor,))
            transaction.write(member_key(key, record), links, operation=OperationType.UPDATE, fields=frozenset())


def delete_group(
    state: State, declared: Declared, transaction: LocalTransaction, key: DocumentKey, content: MergedContent
) -> None:
    """Delete every member that is live."""
    link_members(declared, transaction, key, content)
    for record, part in reversed(content.parts):
        if declared.is_live(part):
            loaded = state.documents.get(member_key(key, record))
            transaction.tombstone(loaded, over=part.tombstones, seen=loaded.index.state_vector)


def member_key(key: DocumentKey, record: RecordId) -> DocumentKey:
    """The address of another record of the same model."""
    partition, model, _ = split_document_key(key)
    return document_key(partition, model, record)


def _made(make: Callable[[Content], list[Write]], content: Content) -> list[Write]:
    try:
        return make(content)
    except ElementNotFoundError:
        return []  # what is removed is in another member
