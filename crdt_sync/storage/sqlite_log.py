"""Refusing a write-ahead log that belongs to another store, before SQLite writes it over this one.

A log has no name of the file that it belongs to: SQLite would replay it page by page, and the store would be gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw
import msgpack

from crdt_sync.errors import CorruptStoreError

_READ: Final = 'SELECT value FROM "_crdt_meta" WHERE key = CAST(? AS BLOB)'


def refuse_foreign_log(path: Path) -> None:
    """Compare who a file says it is with who it is together with the log beside it.

    The author that the file alone names is listed ever after, as one of the store's own or as one that it inherited,
    also where the store has become another replica. Nothing is said of files that do not tell: new or damaged ones.

    Args:
        path: of a store.

    Raises:
        CorruptStoreError: the log is another store's; nothing was changed.
    """
    place = path.resolve()
    beside = place.with_name(place.name + "-wal")
    if not beside.exists() or not beside.stat().st_size:
        return
    author = _read(place, "author", parameters="?immutable=1")
    listed = [_read(place, name) for name in ("authors", "inherited")]
    if author is None or listed[0] is None:
        return
    known: set[object] = set()
    for data in listed:
        try:
            known.update(() if data is None else msgpack.unpackb(data))
        except (ValueError, TypeError, msgpack.exceptions.UnpackException):
            return  # what is damaged is for a check to tell
    if int.from_bytes(author, "big") not in known:
        raise CorruptStoreError(
            f"{beside.name} belongs to another store than {place.name}",
            hint=f"Put the right {beside.name} there, or move this one away: commits that were in the right one are "
            "missing then, and a sync brings what was sent.",
        )


def _read(path: Path, name: str, *, parameters: str = "") -> bytes | None:
    """A row of a file, with the log beside it unless the file is opened as immutable; None where it cannot be read."""
    try:
        connection = apsw.Connection(path.as_uri() + parameters, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # a planted file must not run anything
            value = connection.execute(_READ, (name,)).get
        finally:
            connection.close()
    except (apsw.Error, UnicodeDecodeError):
        return None
    return value if isinstance(value, bytes) else None
