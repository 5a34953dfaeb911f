"""Records that were created twice: what names their equality, and their contents as one.

The merged content of a group is the survivor's, with what the other members hold beside it as if it had been written at
the same time. Authors and keys of the other members carry their record's id, so that each member's causal contexts
speak of its own values only, and a write that removes one of their cells finds the document that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgpack
from blake3 import blake3

from crdt_sync.core import codec
from crdt_sync.core.content import CREATION_COUNTER, Content, Dot, EditAfterDelete, RegisterValue
from crdt_sync.core.equality import canonical
from crdt_sync.core.ids import Author, RecordId
from crdt_sync.core.kinds import Drop, Put, Write
from crdt_sync.core.layout import KeyClass, map_key, parsed_key
from crdt_sync.errors import LimitError, UnrepresentableValueError

HASH_BYTES: Final = 16
_AUTHOR_BITS: Final = 40
_TAG = "\0"
"""Begins what a member's id stands in front of; no key of a document has it there."""
_TAG_CHARS: Final = 33


Written = tuple[Author, int, bytes]
"""Names a write to a register: author, timestamp, value bytes."""


def values_hash(fields: Sequence[str], values: Mapping[str, Any]) -> bytes | None:
    """Names the values of the unique fields, alike for all that are equal and of one type.

    None where one of them is None, which equals nothing.

    What an app's upgrade function gives that could not be stored equals nothing either.
    """
    found = [values.get(name) for name in fields]
    if any(value is None for value in found):
        return None
    packer = msgpack.Packer(autoreset=False)
    packer.pack_array_header(2)
    packer.pack(list(fields))
    packer.pack_array_header(len(found))
    hasher = blake3(packer.bytes())
    try:
        for value in found:  # one by one: together they may be more than a value can be
            hasher.update(codec.encode(canonical(value)))
    except (UnrepresentableValueError, LimitError):
        return None
    return hasher.digest(HASH_BYTES)


@dataclass(slots=True)
class MergedContent(Content):
    """The contents of several records as that of one; ``parts`` are theirs, the survivor's first."""

    parts: tuple[tuple[RecordId, Content], ...] = ()

    def is_live(self, policy: EditAfterDelete) -> bool:
        """Whether any of them is: an edit of one is an edit of the whole."""
        return any(content.is_live(policy) for _, content in self.parts)


def merge_contents(parts: Sequence[tuple[RecordId, Content]], *, survivor: RecordId | None = None) -> MergedContent:
    """Put the contents of one group beside each other.

    Args:
        parts: record and content, the survivor first.
        survivor: whose cells keep their names, where it is not the first part: it was not there yet.
    """
    first, own = parts[0][1], parts[0][0] if survivor is None else survivor
    merged = MergedContent(texts=first.texts, state_vector=first.state_vector, parts=tuple(parts))
    for record, content in parts:
        _add(merged, content, None if record == own else record)
    return merged


def _add(merged: Content, content: Content, record: RecordId | None) -> None:
    merged.creations += [item._replace(author=tagged(item.author, record)) for item in content.creations]
    registers = (
        (merged.plain, content.plain),
        (merged.causal, content.causal),
        (merged.lattices, content.lattices),
    )
    for into, fields in registers:
        for name, values in fields.items():
            into.setdefault(name, []).extend(_register_value(item, record) for item in values)
    for name, entries in content.entries.items():
        merged.entries.setdefault(name, set()).update(entries)
    for name, totals in content.counters.items():
        sums = merged.counters.setdefault(name, {})
        sums.update((tagged(author, record), total) for author, total in totals.items())
    for name, elements in content.sets.items():
        for element, cells in elements.items():
            here = merged.sets.setdefault(name, {}).setdefault(element, [])
            here += [(_tagged_key(key, record), data) for key, data in cells]
    for name, elements in content.lists.items():
        for element, cells in elements.items():
            here = merged.lists.setdefault(name, {}).setdefault(_tag(record) + element, [])
            here += [(_tagged_list_key(key, record), data) for key, data in cells]


def _register_value(item: RegisterValue, record: RecordId | None) -> RegisterValue:
    if record is None:
        return item
    context = {tagged(author, record): counter for author, counter in item.context.items()}
    dot = Dot(tagged(item.dot.author, record), item.dot.counter)
    return RegisterValue(dot, item.hlc, item.data, context, _tagged_key(item.key, record) if item.key else "")


def tagged(author: Author, record: RecordId | None) -> Author:
    """An author as the writer of one member's values; the survivor's is None and stays as it is."""
    return author if record is None else Author(UUID(record).int << _AUTHOR_BITS | author)


def untagged(author: Author) -> Author:
    """Who it really is."""
    return Author(author & (1 << _AUTHOR_BITS) - 1)


def record_dot(record: RecordId) -> Dot:
    """Names a record among several, where they are candidates themselves."""
    return Dot(tagged(Author(0), record), CREATION_COUNTER)


def named_record(dot: Dot) -> RecordId:
    """The record that `record_dot` names."""
    return RecordId(str(UUID(int=dot.author >> _AUTHOR_BITS)))


def record_of(author: Author, *, survivor: RecordId) -> RecordId:
    """Whose document an author of a merged content wrote to."""
    tag = author >> _AUTHOR_BITS
    return RecordId(str(UUID(int=tag))) if tag else survivor


def write_of(item: RegisterValue) -> Written:
    """Names the write that gave a value: one to a merged record stands in several documents."""
    return untagged(item.dot.author), item.hlc, item.data


def each_write(values: Iterable[RegisterValue]) -> list[RegisterValue]:
    """Values in their order, one for each write."""
    found: dict[Written, RegisterValue] = {}
    for item in values:
        found.setdefault(write_of(item), item)
    return list(found.values())


def dot_in(dot: Dot, record: RecordId, *, survivor: RecordId) -> Dot:
    """A dot of a merged content as the content that has another survivor gives it.

    Args:
        dot: as it was given.
        record: who was the survivor then.
        survivor: who is now.
    """
    owner = record_of(dot.author, survivor=record)
    return Dot(tagged(untagged(dot.author), None if owner == survivor else owner), dot.counter)


def own_dot(dot: Dot, record: RecordId, *, survivor: RecordId) -> Dot | None:
    """A dot of a merged content as the document of one member has it; None where it is another member's."""
    own = dot_in(dot, survivor, survivor=record)
    return own if own.author == untagged(own.author) else None


def split_writes(writes: Iterable[Write], *, survivor: RecordId) -> dict[RecordId, list[Write]]:
    """Writes that were made for a merged content, by the record whose document they belong to."""
    found: dict[RecordId, list[Write]] = {}
    for write in writes:
        record, own = survivor, write
        if isinstance(write, Put | Drop):
            record, key = split_key(write.key, survivor=survivor)
            own = write._replace(key=key)
        found.setdefault(record, []).append(own)
    return found


def untagged_element(name: str) -> str:
    """What an element of a list is called in its own document."""
    return name[_TAG_CHARS:] if name.startswith(_TAG) else name


def element_record(name: str, *, survivor: RecordId) -> RecordId:
    """Whose document an element of a list was first put in."""
    return RecordId(str(UUID(name[1:_TAG_CHARS]))) if name.startswith(_TAG) else survivor


def _tag(record: RecordId | None) -> str:
    return "" if record is None else _TAG + UUID(record).hex


def _tagged_key(key: str, record: RecordId | None) -> str:
    return _tag(record) + key


def _tagged_list_key(key: str, record: RecordId | None) -> str:
    """The tag stands in the element's id: who sets an element of another member writes a key of its own there."""
    parsed = parsed_key(key)
    return map_key(KeyClass.LIST, parsed.author, field=parsed.field, rest=_tag(record) + parsed.rest)


def split_key(key: str, *, survivor: RecordId) -> tuple[RecordId, str]:
    """A key of a merged content: whose document it is in, and what it is called there."""
    at = key.find(_TAG)
    if at < 0 or (at and key[0] != KeyClass.LIST.value):
        return survivor, key
    return RecordId(str(UUID(key[at + 1 : at + _TAG_CHARS]))), key[:at] + key[at + _TAG_CHARS :]
