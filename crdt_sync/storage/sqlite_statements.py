"""The SQL of the tables, and the checksum of their rows."""

# ruff: noqa: S608  # names come from a closed set, everything else is bound

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from crdt_sync.storage.base import Table

_CHECKSUM_BYTES: Final = 8
HELD_SUM: Final = "CAST(COALESCE(sum, x'') AS BLOB)"
"""The checksum that a row has as bytes, whatever became of it: a sector of zeros makes a NULL of it."""

BYTES: Final = "CASE typeof({0}) WHEN 'blob' THEN {0} END"
"""A column as bytes, or None: bytes that damage made a text may not even be Unicode."""
READ: Final = f"{BYTES.format('value')}, {BYTES.format('sum')}"
"""A value and its checksum, so that reading them raises nothing, and the row can be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The SQL of one table, written once so that SQLite's statement cache finds it."""

    get: str
    put: str
    sum: str
    """The checksum that a row has, as `HELD_SUM`."""
    delete: str
    delete_range: str
    delete_from: str
    scan: dict[tuple[bool, bool], str]
    """By (has an end, descending)."""
    count: dict[bool, str]
    """By has an end."""


def table_name(table: str) -> str:
    """The quoted name in SQL of a table."""
    return f'"_crdt_{table}"'


def _statements(table: Table) -> Statements:
    name = table_name(table)
    ranges = {False: "key >= ?", True: "key >= ? AND key < ?"}
    return Statements(
        get=f"SELECT {READ} FROM {name} WHERE key = ?",
        put=f"INSERT INTO {name} (key, value, sum) VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
        sum=f"SELECT {HELD_SUM} FROM {name} WHERE key = ?",
        delete=f"DELETE FROM {name} WHERE key = ?",
        delete_range=f"DELETE FROM {name} WHERE {ranges[True]}",
        delete_from=f"DELETE FROM {name} WHERE {ranges[False]}",
        scan={
            (has_end, descending): f"SELECT key, {READ} FROM {name} WHERE {condition} "
            f"ORDER BY key{' DESC' if descending else ''} LIMIT ?"
            for has_end, condition in ranges.items()
            for descending in (False, True)
        },
        count={has_end: f"SELECT COUNT(*) FROM {name} WHERE {condition}" for has_end, condition in ranges.items()},
    )


STATEMENTS: Final = {table: _statements(table) for table in Table}


def checksum(key: bytes, value: bytes) -> bytes:
    """What is kept beside a row to notice damage to it: SQLite looks after its pages' structure, not their content."""
    return blake3(key + value).digest(_CHECKSUM_BYTES)


def holds(key: object, value: object, kept: object) -> bool:
    """Whether a row is as it was put; damage may have changed the types too."""
    return isinstance(key, bytes) and isinstance(value, bytes) and checksum(key, value) == kept
