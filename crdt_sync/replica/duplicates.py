"""Records that were created twice, as derived state: which belong together, and what a group is shown as.

A group is what hangs together by links or, where the model merges by itself, by equal unique values, as the table of
those has it (`unique_index`); a model without ``unique=`` has no groups and pays for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from crdt_sync.core.conflict import Candidate
from crdt_sync.core.content import CREATION_COUNTER, Content, Dot
from crdt_sync.core.deleting import Side, group_sides, sides_of
from crdt_sync.core.duplicates import MergedContent, merge_contents, tagged, values_hash
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.kinds import TextKind
from crdt_sync.core.links import links_of
from crdt_sync.errors import RecordExistsError
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group, linked, mates, neighbours, note_group, unique_values
from crdt_sync.storage.base import Store


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


def group_of(state: State, declared: Declared, key: DocumentKey) -> Group:
    """The records that one is shown together with, itself among them."""
    if not declared.spec.groups:
        return (key,)
    return _reached(state, declared, key, near=linked if declared.spec.asks else neighbours)


def linked_group_of(state: State, declared: Declared, key: DocumentKey) -> Group:
    """The records that one is linked with for ever, itself among them, whatever their values are."""
    return _reached(state, declared, key, near=linked) if declared.spec.groups else (key,)


def _reached(
    state: State, declared: Declared, key: DocumentKey, *, near: Callable[[Store, DocumentKey], Iterator[DocumentKey]]
) -> Group:
    found = {key}
    waiting = [key]
    while waiting:
        new = set(near(state.store, waiting.pop())) - found
        found |= new
        waiting += new
    if len(found) == 1:
        return (key,)
    return tuple(sorted(found, key=lambda member: age(state, declared, member)))


def content_of(state: State, declared: Declared, group: Group) -> Content:
    """The content of a group as that of one record."""
    contents = [state.documents.get(member).content(declared.text_fields) for member in group]
    if len(group) == 1:
        return contents[0]
    ids = [split_document_key(member)[2] for member in group]
    made = partial(merge_contents, list(zip(ids, contents, strict=True)))
    return declared.shield.call(made, otherwise=contents[0], what="the merged content")


def shown_content(state: State, declared: Declared, key: DocumentKey) -> tuple[Group, Content]:
    """What a record is shown as: its group, and that one's content."""
    if not declared.spec.groups:
        return (key,), state.documents.get(key).content(declared.text_fields)
    group = group_of(state, declared, key)
    return group, content_of(state, declared, group)


def note_values_of(state: State, declared: Declared, group: Group) -> set[DocumentKey]:
    """Note the unique values that records of a model that asks show as one; returns whose questions that may change."""
    return note_group(state.store, group, unique_values(declared, content_of(state, declared, group)))


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
    unless: Callable[[DocumentKey], bool] | None = None,
) -> None:
    """Refuse a local change that gives a record the values of another one that is here.

    Args:
        state: the replica.
        declared: the model.
        values: of all its fields after the change.
        group: the record that is changed, and what it is shown together with.
        written: what the open transaction left in the records that it wrote to.
        unless: of another record with these values, whether it may have them, too; without it, where somebody keeps
            the two apart, and where they were equal before.

    Raises:
        RecordExistsError: another record has these values.
    """
    if not declared.spec.groups:
        return
    found = values_hash(declared.spec.unique, values)
    if found is None:
        return
    held = (key for key in mates(state.store, group[0], found) if key not in written)
    may_equal = unless or partial(_may_equal, state, declared, group, values=found)
    for other in (*written.holders(found), *held):
        if other not in group and not may_equal(other):
            record = split_document_key(group_of(state, declared, other)[0])[2]
            fields, name = ", ".join(declared.spec.unique), declared.spec.name
            raise RecordExistsError(
                f"a {name} with this {fields} exists",
                model=name,
                record_id=record,
                hint=f"Update it instead: replica.get({name}, {record!r}).",
            )


def _may_equal(state: State, declared: Declared, group: Group, other: DocumentKey, *, values: bytes) -> bool:
    """Whether nobody is asked about two records: they are to stay apart, or were equal before."""
    if not declared.spec.asks or not state.documents.get(group[0]).known:
        return False
    if unique_values(declared, content_of(state, declared, group)) == values:
        return True
    return are_apart(state, declared, group, group_of(state, declared, other))


def are_apart(state: State, declared: Declared, one: Group, other: Group) -> bool:
    """Whether somebody keeps two records apart, as far as their documents tell."""
    return any(_names(state, declared, left, right) for left, right in ((one, other), (other, one)))


def _names(state: State, declared: Declared, group: Group, other: Group) -> bool:
    ids = {split_document_key(key)[2] for key in other}
    contents = (state.documents.get(key).content(declared.text_fields) for key in group)
    return not all(links_of(content).distinct.isdisjoint(ids) for content in contents)


def sides_in(state: State, declared: Declared, group: Group, content: Content) -> list[Side]:
    """The sides of the question whether records that show as one stay deleted; see `deleting.sides_of`."""
    policy = declared.spec.on_edit_after_delete
    lasts = [state.documents.get(key).index.last for key in group]
    if not isinstance(content, MergedContent):
        return sides_of(content, policy, lasts[0])
    parts = ((record, part, last) for (record, part), last in zip(content.parts, lasts, strict=True))
    return group_sides(parts, policy)


def age(state: State, declared: Declared, key: DocumentKey) -> tuple[int, bytes]:
    """Earliest creation first, then the smaller id."""
    created = state.documents.get(key).content(declared.text_fields).created()
    return (2**64 if created is None else created[0]), bytes(key)
