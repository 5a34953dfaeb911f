"""Records that were created twice, as derived state: which belong together, and what a group is shown as.

The table of unique values says which records have equal ones, and which ones their documents link for ever. A group is
what hangs together by either; a model without ``unique=`` has no groups and pays for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crdt_sync.core.conflict import Candidate
from crdt_sync.core.content import CREATION_COUNTER, Content, Dot
from crdt_sync.core.duplicates import MergedContent, links_of, merge_contents, tagged, values_hash
from crdt_sync.core.ids import Author, DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.kinds import TextKind
from crdt_sync.errors import RecordExistsError
from crdt_sync.replica.derived_rows import UniqueRow, unique_key, unique_link_key, unique_value_key, unpack_unique_row
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table

Group = tuple[DocumentKey, ...]
"""The records that are shown as one, the survivor first; most are alone."""

_ID_BYTES = 16


class WrittenValues:
    """The unique values that an open transaction left in the records that it wrote to, as hashes."""

    def __init__(self) -> None:
        self._values: dict[DocumentKey, bytes | None] = {}
        self._holders: dict[bytes, set[DocumentKey]] = {}

    def __contains__(self, key: DocumentKey) -> bool:
        return key in self._values

    def note(self, declared: Declared, key: DocumentKey, content: Content) -> None:
        """Take note of a record as it is now."""
        before = self._values.get(key)
        if before is not None:
            self._holders[before].discard(key)
        now = unique_values(declared, content)
        self._values[key] = now
        if now is not None:
            self._holders.setdefault(now, set()).add(key)

    def holders(self, values: bytes) -> list[DocumentKey]:
        """The records that have these values, in order."""
        return sorted(self._holders.get(values, ()))


def unique_values(declared: Declared, content: Content) -> bytes | None:
    """Names the unique values of a record; None where it is not compared: deleted, or without one of them."""
    unique = declared.spec.unique
    if not unique or not declared.is_live(content):
        return None
    return values_hash(unique, {name: declared.spec.fields[name].read(content) for name in unique})


def group_of(state: State, declared: Declared, key: DocumentKey) -> Group:
    """The records that one is shown together with, itself among them."""
    if not declared.spec.merges:
        return (key,)
    found = {key}
    waiting = [key]
    while waiting:
        new = set(neighbours(state.store, waiting.pop())) - found
        found |= new
        waiting += new
    if len(found) == 1:
        return (key,)
    return tuple(sorted(found, key=lambda member: _age(state, declared, member)))


def content_of(state: State, declared: Declared, group: Group) -> Content:
    """The content of a group as that of one record."""
    contents = [state.documents.get(member).content(declared.text_fields) for member in group]
    if len(group) == 1:
        return contents[0]
    ids = [split_document_key(member)[2] for member in group]
    return merge_contents(list(zip(ids, contents, strict=True)))


def shown_content(state: State, declared: Declared, key: DocumentKey) -> tuple[Group, Content]:
    """What a record is shown as: its group, and that one's content."""
    if not declared.spec.merges:
        return (key,), state.documents.get(key).content(declared.text_fields)
    group = group_of(state, declared, key)
    return group, content_of(state, declared, group)


def also_known_as(state: State, declared: Declared, key: DocumentKey) -> tuple[RecordId, ...]:
    """The ids that a record has besides the one it shows under."""
    return tuple(split_document_key(member)[2] for member in group_of(state, declared, key)[1:])


def texts_of(state: State, kind: TextKind, content: Content) -> tuple[Candidate, ...]:
    """The text that a merged record shows, then the others that differ; nothing where it was not merged."""
    if not isinstance(content, MergedContent):
        return ()
    found: dict[str, Candidate] = {}
    for number, (record, part) in enumerate(content.parts):
        hlc, author = part.created() or (0, Author(0))
        text = kind.read(part)
        if text or not number:
            dot = Dot(tagged(author, record if number else None), CREATION_COUNTER)
            candidate = Candidate(value=text, device_id=state.name_of(author), timestamp=hlc, dot=dot)
            found.setdefault(text, candidate)
    return tuple(found.values()) if len(found) > 1 else ()


def refuse_duplicate(
    state: State,
    declared: Declared,
    values: Mapping[str, Any],
    *,
    group: Group,
    written: WrittenValues,
) -> None:
    """Refuse a local change that gives a record the values of another one that is here.

    Args:
        state: the replica.
        declared: the model.
        values: of all its fields after the change.
        group: the record that is changed, and what it is shown together with.
        written: what the open transaction left in the records that it wrote to.

    Raises:
        RecordExistsError: another record has these values.
    """
    if not declared.spec.merges:
        return
    found = values_hash(declared.spec.unique, values)
    if found is None:
        return
    held = (key for key in _mates(state.store, group[0][:-_ID_BYTES], found) if key not in written)
    for other in (*written.holders(found), *held):
        if other not in group:
            record = split_document_key(group_of(state, declared, other)[0])[2]
            fields, name = ", ".join(declared.spec.unique), declared.spec.name
            raise RecordExistsError(
                f"a {name} with this {fields} exists",
                model=name,
                record_id=record,
                hint=f"Update it instead: replica.get({name}, {record!r}).",
            )


def held_row(store: Store, key: DocumentKey) -> UniqueRow:
    """What is known of a record."""
    data = store.get(Table.UNIQUE, unique_key(key))
    return UniqueRow() if data is None else unpack_unique_row(data)


def note_record(state: State, declared: Declared, key: DocumentKey, content: Content) -> set[DocumentKey]:
    """Bring the table up to date with one document; returns whose groups that may change.

    Args:
        state: the replica, in a store transaction.
        declared: the model.
        key: the document.
        content: of this document alone.
    """
    store, spec = state.store, declared.spec
    prefix, own = key[:-_ID_BYTES], key[-_ID_BYTES:]
    held = held_row(store, key)
    values = unique_values(declared, content) or b""
    links = tuple(sorted(links_of(content).merged))
    affected = {key}
    if spec.merges:
        affected |= set(neighbours(store, key))
    if values != held.values:
        if held.values:
            store.delete(Table.UNIQUE, unique_value_key(prefix, held.values) + own)
        if values:
            store.put(Table.UNIQUE, unique_value_key(prefix, values) + own, b"")
    for other in {*links, *held.links}:
        row = unique_link_key(_sibling(key, other)) + own
        if other not in links:
            store.delete(Table.UNIQUE, row)
        elif other not in held.links:
            store.put(Table.UNIQUE, row, b"")
    if (values, links) != (held.values, held.links) or not held.shown:
        row_now = UniqueRow(shown=held.shown, values=values, links=links)
        store.put(Table.UNIQUE, unique_key(key), row_now.pack())
    return affected


def neighbours(store: Store, key: DocumentKey) -> Iterator[DocumentKey]:
    """The records that have the same unique values as one, or are linked with it."""
    held = held_row(store, key)
    found = [_sibling(key, other) for other in held.links]
    start = unique_link_key(key)
    found += [_with_id(key, row) for row, _ in store.scan(Table.UNIQUE, start=start, end=after_prefix(start))]
    yield from (other for other in found if store.get(Table.UNIQUE, unique_key(other)) is not None)
    if held.values:
        yield from (other for other in _mates(store, key[:-_ID_BYTES], held.values) if other != key)


def _mates(store: Store, prefix: bytes, values: bytes) -> Iterator[DocumentKey]:
    start = unique_value_key(prefix, values)
    for row, _ in store.scan(Table.UNIQUE, start=start, end=after_prefix(start)):
        yield DocumentKey(prefix + row[-_ID_BYTES:])


def _sibling(key: DocumentKey, record: str) -> DocumentKey:
    partition, model, _ = split_document_key(key)
    return document_key(partition, model, RecordId(record))


def _with_id(key: DocumentKey, row: bytes) -> DocumentKey:
    return DocumentKey(key[:-_ID_BYTES] + row[-_ID_BYTES:])


def _age(state: State, declared: Declared, key: DocumentKey) -> tuple[int, bytes]:
    """Earliest creation first, then the smaller id."""
    created = state.documents.get(key).content(declared.text_fields).created()
    return (2**64 if created is None else created[0]), bytes(key)
