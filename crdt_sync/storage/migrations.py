"""The layout of a store's tables in SQLite, as the ordered steps that lead to it.

A step, once released, never changes: a store that took it must look like one that takes it today. So steps spell names
out instead of reading them from `base.Table`, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import apsw
from blake3 import blake3

APPLICATION_ID: Final = 0x43524454
"""`CRDT` in ASCII: marks a SQLite file as a store of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step from a schema version to the next.

    It runs inside the transaction of the whole upgrade, so it must not begin, commit or roll back.
    """

    name: str
    """What it does, in a few words; shown where it fails."""
    apply: Callable[[apsw.Connection], None]


def run_migrations(connection: apsw.Connection, migrations: tuple[Migration, ...], *, version: int) -> None:
    """Bring a store from a version to the last one; the caller holds the write transaction and commits.

    Args:
        connection: in a write transaction.
        migrations: all steps from version 0 (an empty file) on.
        version: the store's.
    """
    for migration in migrations[version:]:
        try:
            migration.apply(connection)
        except Exception as error:
            error.add_note(f"while upgrading the store: {migration.name}")
            raise
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", len(migrations))


def _create_tables(connection: apsw.Connection) -> None:
    names = (
        *("meta", "log", "chain", "touch", "document", "version", "dirty"),
        *("operation", "pending", "conflict", "record", "synclog", "holding", "local", "evidence"),
        "view",
    )
    for name in names:
        _create_table(connection, name)


def _create_settled(connection: apsw.Connection) -> None:
    _create_table(connection, "settled")


def _create_tables_of_compaction(connection: apsw.Connection) -> None:
    for name in ("base", "staged"):
        _create_table(connection, name)


def _create_unique(connection: apsw.Connection) -> None:
    _create_table(connection, "unique")


def _seal_tables(connection: apsw.Connection) -> None:
    """Note of each table how many rows it has, and the exclusive or of their checksums: both in 8 bytes."""
    _create_table(connection, "seal")
    names = "meta operation record synclog holding local evidence settled base staged"
    for name in names.split():
        rows = sums = 0
        # What cannot be read, or is gone, stays outside of the seal: a damaged store opens, and a check tells of it.
        with suppress(apsw.CorruptError, apsw.SQLError):
            for (kept,) in connection.execute(f'SELECT CAST(sum AS BLOB) FROM "_crdt_{name}"'):  # noqa: S608  a closed set
                rows, sums = rows + 1, sums ^ int.from_bytes((kept or b"")[:8], "big")
        if rows:
            key, value = name.encode(), rows.to_bytes(8, "big") + sums.to_bytes(8, "big")
            row = (key, value, blake3(key + value).digest(8))
            connection.execute('INSERT INTO "_crdt_seal" (key, value, sum) VALUES (?, ?, ?)', row)


def _create_table(connection: apsw.Connection, name: str) -> None:
    connection.execute(
        f'CREATE TABLE "_crdt_{name}" '
        "(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID"
    )


MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(name="make the tables", apply=_create_tables),
    Migration(name="make the table of settled conflicts", apply=_create_settled),
    Migration(name="make the tables of compaction", apply=_create_tables_of_compaction),
    Migration(name="make the table of unique values", apply=_create_unique),
    Migration(name="seal the tables that nothing else tells of", apply=_seal_tables),
)
"""Every step there ever was, in order: the first makes version 1 from an empty file."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
