"""Compares apsw with the standard sqlite3 module at what a store does (docs/adr/0002-apsw.md).

Usage: python benchmarks/sqlite_modules.py [rows]
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import apsw

from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite_statements import STATEMENTS, checksum, table_name

ROWS = 50_000
VALUE_BYTES = 250
COMMITS = 2_000
ROUNDS = 3


def measured(connection: apsw.Connection | sqlite3.Connection, rows: list[tuple[bytes, bytes]]) -> dict[str, float]:
    """The best of some rounds, in microseconds a row or commit."""
    sql, best = STATEMENTS[Table.LOG], dict[str, float]()

    def timed(name: str, number: int, work: Callable[[], object]) -> None:
        start = perf_counter()
        work()
        best[name] = min(best.get(name, float("inf")), (perf_counter() - start) / number * 1e6)

    def commits() -> None:
        for key, value in rows[:COMMITS]:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(sql.put, (key, value, checksum(key, value)))
            connection.execute("COMMIT")

    def put_many() -> None:
        connection.executemany(sql.put, ((key, value, checksum(key, value)) for key, value in rows))

    for _ in range(ROUNDS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(sql.delete_from, (b"",))
        timed("put_many", len(rows), put_many)
        timed(
            "get in transaction", len(rows), lambda: [connection.execute(sql.get, row[:1]).fetchone() for row in rows]
        )
        connection.execute("COMMIT")
        timed("get", len(rows), lambda: [connection.execute(sql.get, row[:1]).fetchone() for row in rows])
        timed("scan", len(rows), lambda: list(connection.execute(sql.scan[False, False], (b"", -1))))
        timed("commit, synchronous=NORMAL", COMMITS, commits)
    return best


def prepared(connection: apsw.Connection | sqlite3.Connection) -> apsw.Connection | sqlite3.Connection:
    """Set up a file as a store is."""
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")
    connection.execute(
        f"CREATE TABLE {table_name(Table.LOG)} "
        "(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID"
    )
    return connection


def main() -> None:
    """Print a table of both."""
    generator = random.Random(1)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rows = [(index.to_bytes(8, "big"), generator.randbytes(VALUE_BYTES)) for index in range(number)]
    with tempfile.TemporaryDirectory() as directory:
        ours = prepared(apsw.Connection(str(Path(directory, "apsw"))))
        standard = prepared(sqlite3.connect(Path(directory, "standard"), isolation_level=None))
        one, other = measured(ours, rows), measured(standard, rows)
        ours.close()
        standard.close()
    print(f"{'microseconds':30} apsw ({apsw.sqlite_lib_version()}) sqlite3 ({sqlite3.sqlite_version})")
    for name in one:
        print(f"{name:30} {one[name]:13.2f} {other[name]:16.2f}")


if __name__ == "__main__":
    main()
