"""The one table of what a record's document holds: root types, their names, and the grammar of map keys.

A document has one map root and one text root per ``Text`` field, and nothing nested (engine-facts: nested types lose
edits). Every value in the map is one byte string. A key's first character is its class:

    ! author                 creation: one value for all registers of the record
    - author                 tombstone: the state vector that a delete saw
    ~ author                 touch: moves the state vector when a transaction only deletes
    @ author                 alias: the records that this one was merged with, or was found to differ from
    = field : author         value of a plain register
    ? field : author counter value of a register with a causal context (ask, three_way, merge_with)
    ^ field : author         one author's part of a semilattice (first, max_, min_)
    + field : author         one author's total of a counter
    * field : author element an element of a set
    # field : author element an element of a list: its value and its place

``author`` is six characters (`ids.author_text`), so nothing needs to separate it from what follows. An entry of a map
is a register too: its key ends with ``/`` and the entry's name, and its register is called ``field/name``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from crdt_sync.core.ids import AUTHOR_TEXT_LENGTH, Author, author_text, parse_author_text
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import MalformedEntryError

MAP_ROOT = "m"
TEXT_ROOT_PREFIX = "t"


class KeyClass(str, Enum):
    """What a key of the map root stands for; the value is the key's first character."""

    CREATION = "!"
    TOMBSTONE = "-"
    TOUCH = "~"
    ALIAS = "@"
    PLAIN = "="
    CAUSAL = "?"
    LATTICE = "^"
    COUNTER = "+"
    SET = "*"
    LIST = "#"


_CLASSES = {member.value: member for member in KeyClass}
_WITHOUT_FIELD = frozenset((KeyClass.CREATION, KeyClass.TOMBSTONE, KeyClass.TOUCH, KeyClass.ALIAS))
_ELEMENTS = frozenset((KeyClass.SET, KeyClass.LIST))
_REGISTERS = frozenset((KeyClass.PLAIN, KeyClass.CAUSAL))
ENTRY_SEPARATOR = "/"
"""Stands between a map's field and the name of one of its entries, in a register's name and at the end of its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapKey:
    """A parsed key of the map root.

    Args:
        key_class: what it stands for.
        author: who may write it.
        field: the field, empty where it is about the whole record.
        rest: a causal key's counter, or the element of a set or list.
        entry: the name of a map's entry; None for what is no entry.
    """

    key_class: KeyClass
    author: Author
    field: str = ""
    rest: str = ""
    entry: str | None = None

    @property
    def register(self) -> str:
        """The register that it belongs to: the field, or ``field/name`` for an entry of a map."""
        return self.field if self.entry is None else self.field + ENTRY_SEPARATOR + self.entry


def text_root(field: str) -> str:
    """Name of the text root of a field."""
    return TEXT_ROOT_PREFIX + field


def map_key(key_class: KeyClass, author: Author, *, field: str = "", rest: str = "") -> str:
    """Write a key of the map root; ``field`` may be a register's name, ``field/entry``."""
    if key_class in _WITHOUT_FIELD:
        return key_class.value + author_text(author)
    field, separator, entry = field.partition(ENTRY_SEPARATOR)
    return f"{key_class.value}{field}:{author_text(author)}{rest}{separator}{entry}"


def parse_map_key(key: str) -> MapKey:
    """Read a key of the map root.

    Raises:
        MalformedEntryError: the key is not in the grammar above.
    """
    key_class = _CLASSES.get(key[:1])
    if key_class is None:
        raise MalformedEntryError("a map key of no known class")
    if key_class in _WITHOUT_FIELD:
        return MapKey(key_class=key_class, author=parse_author_text(key[1:]))
    field, separator, tail = key[1:].partition(":")
    if not separator:
        raise MalformedEntryError("a map key without a field")
    check_field_name(field)
    author = parse_author_text(tail[:AUTHOR_TEXT_LENGTH])
    rest, entry = tail[AUTHOR_TEXT_LENGTH:], None
    if key_class in _REGISTERS and ENTRY_SEPARATOR in rest:
        rest, _, entry = rest.partition(ENTRY_SEPARATOR)
    if not _rest_is_valid(key_class, rest) or (entry is not None and len(entry) > ENTRY_LIMITS.element_chars_max):
        raise MalformedEntryError("a map key with a wrong tail")
    return MapKey(key_class=key_class, author=author, field=field, rest=rest, entry=entry)


parsed_key = lru_cache(maxsize=8192)(parse_map_key)
"""`parse_map_key`, remembering: the keys of an author repeat from document to document."""


def parse_text_root(root: str) -> str:
    """Return the field of a text root's name.

    Raises:
        MalformedEntryError: the name is not that of a text root.
    """
    if root[:1] != TEXT_ROOT_PREFIX:
        raise MalformedEntryError("a root that no document has")
    check_field_name(root[1:])
    return root[1:]


def check_field_name(field: str) -> None:
    """Raise MalformedEntryError where ``field`` cannot name a field (an ASCII identifier of bounded length)."""
    if not (field.isascii() and field.isidentifier() and len(field) <= ENTRY_LIMITS.name_bytes_max):
        raise MalformedEntryError("a field name must be an ASCII identifier of bounded length")


def _rest_is_valid(key_class: KeyClass, rest: str) -> bool:
    if key_class in _ELEMENTS:
        return 0 < len(rest) <= ENTRY_LIMITS.element_chars_max
    if key_class is KeyClass.CAUSAL:
        return rest.isascii() and rest.isdigit() and rest[0] != "0" and len(rest) <= 10
    return not rest
