"""Opens SQLite files as stores, or refuses to and leaves them as they are; and translates what SQLite reports."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

import apsw

from crdt_sync.core.logs import told
from crdt_sync.errors import (
    CorruptStoreError,
    NotAStoreError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreVersionError,
)
from crdt_sync.storage.base import Durability
from crdt_sync.storage.migrations import APPLICATION_ID, Migration, run_migrations
from crdt_sync.storage.query_sql import FUNCTIONS
from crdt_sync.storage.sqlite_log import refuse_foreign_log
from crdt_sync.storage.swapping import end_swap, refuse_swapped, unused

log = logging.getLogger("crdt_sync.storage")

BUSY_TIMEOUT_MS: Final = 2_000
"""How long to wait for a reader that checkpoints, or for another process that is about to close the store."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""A full disk, a quota, and the largest file that this process may have."""
_LOST: Final = ("no such table: _crdt_", "no such column: key", "no such column: value", "no such column: sum")
"""How SQLite says that a table of ours is gone, or not as it was made."""
_HEADER_BYTES = 100
_HEADER_START = b"SQLite format 3\0"
_APPLICATION_ID = slice(68, 72)
"""Where SQLite's file format keeps it."""
_JOURNAL_HEADER_BYTES = 28
_JOURNAL_START = bytes.fromhex("d9d505f920a163d7")
_JOURNAL_PAGES_BEFORE = slice(16, 20)
"""As SQLite's file format has them: how many pages the file had when the transaction began."""
_CACHE_KIB = 16 * 1024
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_STATEMENTS_CACHED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How a file is to be opened; see `sqlite.open_sqlite`."""

    create: bool
    read_only: bool
    durability: Durability
    busy_timeout_ms: int
    migrations: tuple[Migration, ...]
    upgrade: bool = True


def translated(error: apsw.Error, *, path: Path, system_errno: int = 0) -> StoreError:
    """The error of ours for one of SQLite's.

    Args:
        error: what was raised.
        path: of the store.
        system_errno: what the system said last, where a write failed. SQLite knows one way of having no room.
    """
    match error:
        case apsw.ConnectionClosedError() | apsw.CursorClosedError():
            return StoreClosedError(f"{path} was closed")
        case apsw.BusyError() | apsw.LockedError():
            return StoreInUseError(f"{path} is being written by another process")
        case apsw.FullError():
            return StoreFullError(f"{path}: the disk is full")
        case apsw.IOError() if system_errno in _NO_ROOM:
            return StoreFullError(f"{path}: the system gives it no more room ({os.strerror(system_errno)})")
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            return StoreFullError(f"{path}: there is no room for what its readers and writers share")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return StoreReadOnlyError(f"{path} cannot be written")
        case apsw.CorruptError() if "malformed database schema" in str(error):
            hint = "`crdt-sync repair` makes the tables anew. Where it cannot, put a backup back, or begin anew."
            return CorruptStoreError(f"{path} is damaged: {error}", hint=hint)
        case apsw.SQLError() if str(error).startswith(_LOST):
            return CorruptStoreError(f"{path} is damaged: {error}")
        case apsw.CorruptError() | apsw.NotADBError():
            return CorruptStoreError(f"{path} is damaged: {error}")
        case _:
            return StoreError(f"{path}: {error}", hint="The operating system or SQLite refused; see the message.")


def refused(error: OSError, message: str, *, hint: str) -> StoreError:
    """The error of ours for one of the system's at a file beside a store: there is no room, or another.

    Args:
        error: what was raised.
        message: what could not be done.
        hint: what to do where there is room.
    """
    if error.errno in _NO_ROOM:
        return StoreFullError(f"{message}: {error.strerror}")
    return StoreError(f"{message}: {error}", hint=hint)


def open_connection(path: Path, *, options: OpenOptions) -> apsw.Connection:
    """Open, or create, a store's file, and bring it to the newest schema version.

    Raises:
        StoreError: what `sqlite.open_sqlite` says; the disk is as it was.
    """
    try:
        if options.read_only:
            refuse_swapped(path.resolve(), path=path)
        else:
            end_swap(path.resolve())
        if _is_empty(path, options=options):
            return _create(path, options=options)
        _refuse_foreign(path, options=options)
        _refuse_other_name(path, options=options)
        refuse_foreign_log(path)
        return _open_read_only(path, options=options) if options.read_only else _open_writable(path, options=options)
    except apsw.Error as error:
        raise translated(error, path=path) from error
    except OSError as error:
        raise refused(error, f"{path} cannot be opened", hint="Check the path and its permissions.") from error


def _is_empty(path: Path, *, options: OpenOptions) -> bool:
    """Whether a store is to be made here: nothing is, or an empty file (a creation that was cut short)."""
    if path.is_dir():
        raise NotAStoreError(f"{path} is a directory", hint="Name a file in it.")
    try:
        size_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            raise StoreNotFoundError(f"there is no directory {path.parent}", hint="Make the directory first.") from None
        if not options.create or options.read_only:
            raise StoreNotFoundError(f"there is no store at {path}") from None
        return True
    if not path.is_file():
        raise NotAStoreError(f"{path} is not a regular file")
    is_empty = size_bytes == 0 or _begins_from_nothing(path)
    if is_empty and (not options.create or options.read_only):
        raise StoreNotFoundError(
            f"there is no store at {path} yet: the file is empty",
            hint="A creation was cut short, or it is no store. Opened for writing, with create=True, it becomes one.",
        )
    return is_empty


def _begins_from_nothing(path: Path) -> bool:
    """Whether a rollback journal beside a file takes it back to an empty one: its creation was killed half way."""
    journal = path.resolve()
    try:
        header = journal.with_name(journal.name + "-journal").read_bytes()[:_JOURNAL_HEADER_BYTES]
    except OSError:
        return False
    is_journal = header.startswith(_JOURNAL_START) and len(header) == _JOURNAL_HEADER_BYTES
    return is_journal and not any(header[_JOURNAL_PAGES_BEFORE])


def _refuse_foreign(path: Path, *, options: OpenOptions) -> None:
    """Look at the header alone. SQLite reads it, since closing a file of ours would drop the locks SQLite has on it."""
    try:
        probe = _connect(path, flags=apsw.SQLITE_OPEN_READONLY, parameters="?immutable=1")
        try:
            application, version = probe.pragma("application_id"), probe.pragma("user_version")
        finally:
            probe.close()
    except (apsw.NotADBError, apsw.CorruptError) as error:
        if _begins_as_ours(path):
            if _has_log(path):
                return  # its first page may be half written here and whole in the log: it is judged when both are open
            is_read = isinstance(error, apsw.CorruptError)  # by a repair, from a copy
            hint = "`crdt-sync repair` takes over what can be read. Where it cannot, put" if is_read else "Put"
            hint += " a backup back, or begin a new store and sync it with a peer."
            raise CorruptStoreError(f"{path} is a damaged store: {error}", hint=hint) from None
        raise NotAStoreError(f"{path} is not a SQLite file") from None
    if application != APPLICATION_ID:
        raise NotAStoreError(f"{path} is a SQLite file of another application")
    _refuse_newer(path, version=version, options=options)


def _refuse_other_name(path: Path, *, options: OpenOptions) -> None:
    """Refuse a file with several names (hard links) that is open by another one.

    SQLite keeps a log beside each name, so two names in use at once overwrite each other's commits. Whoever has the
    file open by any name holds a lock on it. A reader may join whoever opened it by the reader's own name: then the log
    is beside that.
    """
    if path.stat().st_nlink < 2 or (options.read_only and _log_of(path.resolve()).exists()):
        return
    try:
        with unused(path):
            return
    except StoreInUseError:
        raise StoreInUseError(
            f"{path} is open by another name that the file has (a hard link)",
            hint="Close it there, or open it by that name. A store should have one name; make copies of it instead.",
        ) from None


def _log_of(path: Path) -> Path:
    """SQLite's write-ahead log."""
    return path.with_name(path.name + "-wal")


def _has_log(path: Path) -> bool:
    log_path = _log_of(path.resolve())
    return log_path.exists() and log_path.stat().st_size > 0


def remove_empty_log(path: Path) -> None:
    """Remove what a reader had to make beside the store, where nobody uses it; called when the reader has closed.

    SQLite does it, under its locks, at the close of the last connection that may write.
    """
    wal = _log_of(path)
    try:
        if not wal.exists() or wal.stat().st_size:
            return  # nothing was made, or somebody's commits are in it
        connection = _connect(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.pragma("user_version")  # it takes part in the log from the first read on
        finally:
            connection.close()
    except (apsw.Error, OSError) as error:
        told(log, logging.DEBUG, "a file stays beside the store", name=wal.name, reason=str(error))


def _begins_as_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read, one that was cut short for example, begins with the header of a store."""
    file = apsw.VFSFile("", str(path.resolve()), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    try:
        header = file.xRead(_HEADER_BYTES, 0)
    except apsw.IOError:
        return False  # shorter than a header
    finally:
        file.xClose()
    return header.startswith(_HEADER_START) and header[_APPLICATION_ID] == APPLICATION_ID.to_bytes(4, "big")


def _refuse_newer(path: Path, *, version: int, options: OpenOptions) -> None:
    newest = len(options.migrations)
    if version > newest or version < 1:
        raise StoreVersionError(f"{path} has schema version {version}, this program knows versions up to {newest}")
    if version < newest and options.read_only and options.upgrade:
        raise StoreVersionError(
            f"{path} has schema version {version} and must be upgraded to {newest} first",
            hint="Open it once for writing. Leave a backup as it is: `crdt-sync put-back` takes one of any version.",
        )


def _connect(path: Path, *, flags: int, parameters: str = "") -> apsw.Connection:
    uri = path.absolute().as_uri() + parameters
    return apsw.Connection(uri, flags=flags | apsw.SQLITE_OPEN_URI, statementcachesize=_STATEMENTS_CACHED)


def _configure(connection: apsw.Connection, *, options: OpenOptions) -> None:
    connection.set_busy_timeout(options.busy_timeout_ms)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # a planted file must not run our functions
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.pragma("cell_size_check", True)  # noqa: FBT003  # a pragma's value
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.pragma("temp_store", "memory")
    for name, arguments, function in FUNCTIONS:
        connection.create_scalar_function(name, function, arguments, deterministic=True)


def _configure_writable(connection: apsw.Connection, *, options: OpenOptions) -> None:
    connection.pragma("journal_mode", "wal")
    connection.pragma("journal_size_limit", _WAL_KEPT_BYTES)
    connection.pragma("fullfsync", True)  # noqa: FBT003  # on macOS, fsync alone leaves data in the drive's cache
    connection.pragma("checkpoint_fullfsync", True)  # noqa: FBT003  # as above
    match options.durability:
        case "full":
            connection.pragma("synchronous", "full")
        case "normal":
            connection.pragma("synchronous", "normal")
        case _:
            assert_never(options.durability)


def _open_writable(path: Path, *, options: OpenOptions) -> apsw.Connection:
    connection = _connect(path, flags=apsw.SQLITE_OPEN_READWRITE)
    with _used(connection, path=path):
        if connection.readonly("main"):
            raise StoreReadOnlyError(f"{path} is a read-only file", hint="Change its permissions, or open read-only.")
        _configure(connection, options=options)
        # The header alone does not show an upgrade that is still in the write-ahead log.
        version = connection.pragma("user_version")
        _refuse_newer(path, version=version, options=options)
        _configure_writable(connection, options=options)
        if version < len(options.migrations) and options.upgrade:
            _migrate(connection, options=options)
    return connection


@contextmanager
def _used(connection: apsw.Connection, *, path: Path) -> Iterator[None]:
    """Close a connection at which something fails, which alone knows what the system said."""
    try:
        yield
    except apsw.Error as error:
        found = translated(error, path=path, system_errno=connection.system_errno)
        connection.close()
        raise found from error
    except BaseException:
        connection.close()
        raise


def _open_read_only(path: Path, *, options: OpenOptions) -> apsw.Connection:
    connection = _connect(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        _configure(connection, options=options)
        version = connection.pragma("user_version")
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        # A directory where SQLite cannot make the files that readers and writers share. Nobody can write there, so the
        # file alone is read, unless that would leave out what is in a log beside it.
        connection.close()
        wal = _log_of(path)
        if wal.exists() and wal.stat().st_size:
            raise StoreReadOnlyError(
                f"{path} was not closed cleanly and its directory cannot be written",
                hint="Copy the store, with the files beside it, to where it can be written, and open the copy.",
            ) from None
        connection = _connect(path, flags=apsw.SQLITE_OPEN_READONLY, parameters="?immutable=1")
        _configure(connection, options=options)
        version = connection.pragma("user_version")
    except BaseException:
        connection.close()
        raise
    try:
        _refuse_newer(path, version=version, options=options)
    except StoreVersionError:
        connection.close()
        raise
    return connection


def _create(path: Path, *, options: OpenOptions) -> apsw.Connection:
    """Make a store in one transaction of the rollback journal, so that the file is empty or complete at any time."""
    ours = not path.exists()
    connection = _connect(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        with _used(connection, path=path):
            if connection.readonly("main"):
                raise StoreReadOnlyError(f"{path} is a read-only file", hint="Change its permissions.")
            _configure(connection, options=options)
            _migrate(connection, options=options)
            _configure_writable(connection, options=options)
            connection.pragma("user_version")  # the first read makes the log, where that can be done
    except BaseException:
        # Whatever went wrong, it is told of, not that the file was never made.
        with suppress(FileNotFoundError):
            if ours and path.stat().st_size == 0:
                path.unlink()
        raise
    return connection


def _migrate(connection: apsw.Connection, *, options: OpenOptions) -> None:
    """Upgrade in one transaction: an upgrade that fails leaves the store at the version it had."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have upgraded, or created, the store while this one waited.
        version = connection.pragma("user_version")
        if version < len(options.migrations):
            run_migrations(connection, options.migrations, version=version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
