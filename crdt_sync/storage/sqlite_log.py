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

_ALONE: Final = "?immutable=1"
"""A file without the log beside it."""


def refuse_foreign_log(path: Path) -> None:
    """Compare who a file says it is with who it is together with the log beside it.

    The author that the file alone names is listed ever after, as one of the store's own or as one that it inherited,
    also where the store has become another replica. A repair of an earlier version may have left it out; the log is
    then the store's own where both name the same replica, and an author that it held. Nothing is said of files that do
    not tell: new or damaged ones.

    Args:
        path: of a store.

    Raises:
        CorruptStoreError: the log is another store's; nothing was changed.
    """
    place = path.resolve()
    beside = place.with_name(place.name + "-wal")
    if not beside.exists() or not beside.stat().st_size:
        return
    author, listed = _read(place, "author", parameters=_ALONE), _listed(place)
    if author is None or listed is None or int.from_bytes(author, "big") in listed:
        return
    if not _is_same_replica(place, listed):
        raise CorruptStoreError(
            f"{beside.name} belongs to another store than {place.name}",
            hint=f"Put the right {beside.name} there, or move this one away: commits that were in the right one are "
            "missing then, and a sync brings what was sent.",
        )


def _is_same_replica(place: Path, listed: set[object]) -> bool:
    """Whether file and log name the same replica, and an author in common.

    The name alone would not do: the page that it stands on may be the file's own, and another one the log's.
    """
    names = [_read(place, "replica_id", parameters=parameters) for parameters in (_ALONE, "")]
    return None not in names and names[0] == names[1] and bool(listed & (_listed(place, parameters=_ALONE) or set()))


def _listed(place: Path, *, parameters: str = "") -> set[object] | None:
    """The authors that a store held or inherited; None where it does not tell: damage is for a check to find."""
    held, inherited = (_read(place, name, parameters=parameters) for name in ("authors", "inherited"))
    if held is None:
        return None
    try:
        return {author for data in (held, inherited) if data is not None for author in msgpack.unpackb(data)}
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return None


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
