"""Rows of tables that are derived from documents: conflicts that were settled, and values that are to be unique."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.conflict import ConflictKind
from crdt_sync.core.content import Content, Dot, RegisterValue, parse_content
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.packing import Shape, has_shape, pack_values, unpack_shaped, unpack_values

GONE: Final = b""
"""Stands for the value of a deletion, in a row about the whole record ..."""
AS_IT_WAS: Final = b"+"
"""... and for that of an edit: the values that the record showed."""


_SETTLED: Final[Shape] = (str, [str], [(int, int, int, bytes)], str, bytes)
_KINDS: Final = frozenset(kind.value for kind in ConflictKind)


def settled_key(document: DocumentKey, conflict: str, chosen: Dot) -> bytes:
    """Key of the table of settled conflicts: one for each write that settled one."""
    return document + bytes.fromhex(conflict) + chosen.author.to_bytes(5, "big") + chosen.counter.to_bytes(8, "big")


def split_settled_key(key: bytes) -> tuple[DocumentKey, str]:
    """Document and conflict id of a key of the table of settled conflicts."""
    return DocumentKey(key[:-29]), key[-29:-13].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRow:
    """A write that settled a conflict.

    Args:
        kind: what clashed.
        register: what was in conflict; empty where it was the whole record.
        paths: where the candidates overlapped, inside of the register's value.
        chosen: the write; it and the candidates come back without context and key.
        candidates: what it took the place of, latest first. Where the whole record was in conflict, the values of
            these and of ``chosen`` are `GONE` or `AS_IT_WAS`.
        held: what the record held then (`write_held`); empty where it was not the whole record.
    """

    register: str
    paths: tuple[str, ...]
    chosen: RegisterValue
    candidates: tuple[RegisterValue, ...]
    kind: ConflictKind = ConflictKind.CONCURRENT_EDIT
    held: bytes = b""

    @property
    def field(self) -> str:
        """The field that the register belongs to."""
        return self.register.partition(ENTRY_SEPARATOR)[0]

    def pack(self) -> bytes:
        """The row's bytes."""
        values = [(*item.dot, item.hlc, item.data) for item in (self.chosen, *self.candidates)]
        if self.kind is ConflictKind.CONCURRENT_EDIT:
            return pack_values(self.register, self.paths, values)
        return pack_values(self.register, self.paths, values, self.kind.value, self.held)


def unpack_settled_row(data: bytes) -> SettledRow:
    """Read a row of the table of settled conflicts.

    Raises:
        CorruptStoreError: it is none.
    """
    row = unpack_values(data, (3, 5), "settled")
    register, paths, values, kind, held = row if len(row) > 3 else (*row, ConflictKind.CONCURRENT_EDIT.value, b"")
    if not has_shape((register, paths, values, kind, held), _SETTLED) or not values or kind not in _KINDS:
        raise CorruptStoreError("a row of table settled has the wrong shape", table="settled")
    chosen, *candidates = (
        RegisterValue(Dot(author, counter), hlc, value, {}, "") for author, counter, hlc, value in values
    )
    return SettledRow(
        kind=ConflictKind(kind),
        register=register,
        paths=paths,
        chosen=chosen,
        candidates=tuple(candidates),
        held=held,
    )


def write_held(cells: Mapping[str, bytes], texts: Mapping[str, str]) -> bytes:
    """The bytes of what a record held: the live cells of its map root, and its texts by field."""
    return pack_values(sorted(cells.items()), sorted(texts.items()))


def read_held(data: bytes) -> Content:
    """What a record held."""
    cells, texts = unpack_shaped(data, ([(str, bytes)], [(str, str)]), table="settled")
    return parse_content(dict(cells), dict(texts), {})


def unique_key(document: DocumentKey) -> bytes:
    """Key of what is known of a record for finding others like it."""
    return b"d" + document


def unique_value_key(model: bytes, values: bytes) -> bytes:
    """What the keys of the records of a model (its address prefix) with equal unique values begin with."""
    return b"v" + model + values


def unique_link_key(document: DocumentKey) -> bytes:
    """What the keys of the records that link to a document begin with."""
    return b"l" + document


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueRow:
    """What is known of a record for finding others like it, as of its last derivation.

    Args:
        shown: 0 where nobody sees it, 1 where it has a row in its table, 2 where it shows as part of another record.
        values: hash of the values of its unique fields; empty where it is not compared.
        links: the records that its document says it was merged with.
    """

    shown: int = 0
    values: bytes = b""
    links: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """The row's bytes."""
        return pack_values(self.shown, self.values, self.links)


def unpack_unique_row(data: bytes) -> UniqueRow:
    """Read a row of the table of unique values."""
    shown, values, links = unpack_shaped(data, (int, bytes, [str]), table="unique")
    return UniqueRow(shown=shown, values=values, links=links)
