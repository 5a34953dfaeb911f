"""What goes through a whole SQLite store: the copy of one in use, a smaller file, and the search for damage."""

# ruff: noqa: S608  # names are checked and quoted, values bound

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import apsw

from crdt_sync.errors import StoreError, StoreFullError
from crdt_sync.storage.base import STORE_LIMITS, Damage, Durability, Progress, Table
from crdt_sync.storage.file_modes import make_empty
from crdt_sync.storage.sqlite_file import refused, translated
from crdt_sync.storage.sqlite_schema import ALTERED, altered_tables
from crdt_sync.storage.sqlite_seals import SEALED, TABLE_GONE, Seals, broken_seals
from crdt_sync.storage.sqlite_statements import BYTES, READ, STATEMENTS, holds
from crdt_sync.storage.swapping import sync_directory

_PARTIAL_SUFFIX = ".partial"


def back_up(
    source_connection: apsw.Connection, *, source: Path, target: Path, without: Sequence[tuple[Table, bytes]] = ()
) -> None:
    """Copy a store in use, page by page in one read transaction, to a name that appears only when all is there.

    Args:
        source_connection: of the store.
        source: of the store.
        target: of the copy.
        without: rows that the copy does not get, by table and key.

    Raises:
        StoreError: `target` exists, or cannot be written; nothing is left there.
    """
    if target.exists():
        raise StoreError(f"{target} exists already", hint="Choose another path; nothing was overwritten.")
    partial = target.with_name(target.name + _PARTIAL_SUFFIX)
    try:
        make_empty(partial, like=source)  # in place of one that was left by a backup that was killed
        copy = apsw.Connection(str(partial))
        try:
            with copy.backup("main", source_connection, "main") as backup:
                backup.step()
            if without:
                _leave_out(copy, without)
            # One file without a log beside it, so that it can be moved, and read where nothing can be written.
            copy.pragma("journal_mode", "delete")
        except apsw.CantOpenError:
            raise
        except apsw.Error as error:
            found = translated(error, path=target, system_errno=copy.system_errno)
            # Of the source nothing is written, so that there is no room says nothing of it; all else may.
            raise found if isinstance(found, StoreFullError) else translated(error, path=source) from error
        finally:
            copy.close()
        partial.rename(target)
        sync_directory(target.parent)
    except BaseException as error:
        for suffix in ("", "-journal", "-wal", "-shm"):
            # What cannot be removed either is removed by the next backup; the first error is the one to tell.
            with suppress(OSError):
                partial.with_name(partial.name + suffix).unlink(missing_ok=True)
        if isinstance(error, apsw.Error):
            raise StoreError(f"{target} cannot be written: {error}", hint="Check its directory.") from error
        if isinstance(error, OSError):
            raise refused(error, f"{target} cannot be written", hint="Check its directory.") from error
        raise


def _leave_out(copy: apsw.Connection, rows: Sequence[tuple[Table, bytes]]) -> None:
    seals = Seals(copy)
    with copy:
        for table, key in rows:
            if table in SEALED:
                seals.delete(table, STATEMENTS[table].delete, ((key,),))
            else:
                copy.execute(STATEMENTS[table].delete, (key,))
        seals.write()


def flush(connection: apsw.Connection, *, path: Path, version: int, durability: Durability) -> None:
    """Make what was committed survive power loss.

    A commit that is synced takes all commits before it along. It has to write something: the version, as it is.

    Raises:
        StoreError: it cannot be done.
    """
    try:
        connection.pragma("synchronous", "full")
        try:
            connection.pragma("user_version", version)
        finally:
            connection.pragma("synchronous", durability)
    except apsw.Error as error:
        raise translated(error, path=path) from error


def give_back(connection: apsw.Connection, *, path: Path) -> None:
    """Rewrite the file without the pages that are free, then bring the write-ahead log into it.

    Raises:
        StoreError: it cannot be done; the file is as it was.
    """
    try:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except apsw.Error as error:
        raise translated(error, path=path) from error


def damages(
    connection: apsw.Connection, *, path: Path, tables: Mapping[str, str], progress: Progress | None
) -> Iterator[Damage]:
    """Check the structure of the file, then the checksum of every row, then the seals.

    Args:
        connection: of the store.
        path: of the store.
        tables: quoted name in SQL of each table, by its name.
        progress: told of every page of rows.

    Raises:
        StoreError: the file cannot be read at all.
    """
    try:
        yield from _structure(connection)
        altered = altered_tables(connection)
        yield from (Damage(table=name, key=b"", reason=ALTERED) for name in altered)
        totals, gone = {}, set()
        for table, name in tables.items():
            try:
                totals[table] = connection.execute(f"SELECT COUNT(*) FROM {name}").get
            except apsw.CorruptError:
                totals[table] = 0  # the rows are tried one page at a time below
            except apsw.SQLError:
                gone.add(table)
                yield Damage(table=table, key=b"", reason=TABLE_GONE)
        done, total = 0, sum(totals.values())
        if progress is not None:
            progress(done, total)
        for table, name in tables.items():
            if table in gone:
                continue
            with suppress(apsw.SQLError) if table in altered else nullcontext():  # it may lack a column
                for rows, damage in _rows(connection, table=table, name=name):
                    yield from damage
                    done += rows
                    if progress is not None:
                        progress(done, total)
        yield from (damage for damage in broken_seals(connection) if damage.table not in gone)
    except apsw.Error as error:
        raise translated(error, path=path) from error


def _structure(connection: apsw.Connection) -> Iterator[Damage]:
    try:
        for (report,) in connection.execute("PRAGMA integrity_check").fetchall():
            if report != "ok":
                yield Damage(table="", key=b"", reason=str(report))
    except apsw.CorruptError as error:
        yield Damage(table="", key=b"", reason=str(error))


def _rows(connection: apsw.Connection, *, table: str, name: str) -> Iterator[tuple[int, list[Damage]]]:
    """Read a table in pages; give the number of rows in each and what is damaged.

    A page of the file that got here from elsewhere brings any types, in any order. So a read begins behind the last key
    of the one before, and where none is behind that, the rest cannot be found.
    """
    limit = STORE_LIMITS.page_rows_max
    sql = f"SELECT {BYTES.format('key')}, {READ} FROM {name} WHERE key >= ? ORDER BY key LIMIT {limit}"
    start: bytes | None = b""
    while start is not None:
        damage, number, last = [], 0, b""
        is_end, reason = False, ""
        try:
            for key, value, kept in connection.execute(sql, (start,)):
                number += 1
                last = max(last, key or b"")
                if not holds(key, value, kept):
                    wrong = "its key is no bytes" if key is None else "the checksum does not hold"
                    damage.append(Damage(table=table, key=key or b"", reason=wrong))
            is_end = number < limit
            reason = "" if is_end or last >= start else "the rows are not in order"
        except apsw.CorruptError as error:
            reason = str(error)
        if reason:
            told = f"the table cannot be read past this row: {reason}"
            damage.append(Damage(table=table, key=max(last, start), reason=told))
        yield number, damage
        start = None if is_end or reason else last + b"\x00"
    yield 0, _strange_keys(connection, table=table, name=name)


def _strange_keys(connection: apsw.Connection, *, table: str, name: str) -> list[Damage]:
    """Rows that no range of keys finds: in SQLite, whatever is no bytes comes before what is."""
    with suppress(apsw.CorruptError):  # that was found with the rows
        kind = connection.execute(f"SELECT typeof(key) FROM {name} ORDER BY key LIMIT 1").get
        if kind not in (None, "blob"):
            return [Damage(table=table, key=b"", reason=f"the key of a row became a {kind}")]
    return []
