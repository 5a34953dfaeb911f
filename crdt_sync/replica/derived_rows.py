"""Rows of tables that are derived from documents: conflicts that were settled, and values that are to be unique."""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.core.content import Dot, RegisterValue
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.replica.rows import pack_values, unpack_values


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
        register: what was in conflict.
        paths: where the candidates overlapped, inside of the register's value.
        chosen: the write; it and the candidates come back without context and key.
        candidates: what it took the place of, latest first.
    """

    register: str
    paths: tuple[str, ...]
    chosen: RegisterValue
    candidates: tuple[RegisterValue, ...]

    @property
    def field(self) -> str:
        """The field that the register belongs to."""
        return self.register.partition(ENTRY_SEPARATOR)[0]

    def pack(self) -> bytes:
        """The row's bytes."""
        values = [(*item.dot, item.hlc, item.data) for item in (self.chosen, *self.candidates)]
        return pack_values(self.register, self.paths, values)


def unpack_settled_row(data: bytes) -> SettledRow:
    """Read a row of the table of settled conflicts."""
    register, paths, values = unpack_values(data, 3, "settled")
    chosen, *candidates = (
        RegisterValue(Dot(author, counter), hlc, value, {}, "") for author, counter, hlc, value in values
    )
    return SettledRow(register=register, paths=paths, chosen=chosen, candidates=tuple(candidates))


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
    shown, values, links = unpack_values(data, 3, "unique")
    return UniqueRow(shown=shown, values=values, links=links)
