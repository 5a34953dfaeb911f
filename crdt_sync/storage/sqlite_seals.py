"""A seal over each table that nothing else in a store repeats: how many rows it has, and their checksums as one number.

The checksum of a row shows damage to it. That a row is gone, or that an older one is back, shows only here.
"""

# ruff: noqa: S608  # names come from a closed set, everything else is bound

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import apsw

from crdt_sync.storage.base import Damage, Table
from crdt_sync.storage.sqlite_statements import HELD_SUM, READ, STATEMENTS, checksum, holds, table_name

SEALED: Final = frozenset(
    {
        Table.META,
        Table.OPERATION,
        Table.RECORD,
        Table.SYNCLOG,
        Table.HOLDING,
        Table.LOCAL,
        Table.EVIDENCE,
        Table.SETTLED,
        Table.BASE,
        Table.STAGED,
    }
)
"""The log and its indexes name each other, and what is derived is compared with them; these stand for themselves."""
TABLE_GONE: Final = "the table is gone"
_SEAL_DAMAGED: Final = "the seal of the table is damaged"
_NAME: Final = table_name("seal")
_SEALS: Final = _NAME.strip('"')
_GET: Final = f"SELECT {READ} FROM {_NAME} WHERE key = ?"
_PUT: Final = (
    f"INSERT INTO {_NAME} (key, value, sum) VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum"
)
_NUMBER_BYTES: Final = 8


class Seal(NamedTuple):
    """What a table has, or what a transaction did to it.

    Args:
        rows: how many there are, or how many more.
        sums: the checksums of all rows, joined by exclusive or, so that the order of writing does not matter.
    """

    rows: int = 0
    sums: int = 0

    def joined(self, other: Seal) -> Seal:
        """Both together."""
        return Seal(self.rows + other.rows, self.sums ^ other.sums)

    def pack(self) -> bytes:
        """As it is stored."""
        return self.rows.to_bytes(_NUMBER_BYTES, "big") + self.sums.to_bytes(_NUMBER_BYTES, "big")


class Seals:
    """Writes rows of sealed tables, and with each commit the seals that follow from that.

    Args:
        connection: of the store. Its errors are the caller's to translate.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._changed: dict[Table, Seal] = {}

    def put(self, table: Table, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write rows, each in place of one with its key."""
        statements, changed = STATEMENTS[table], self._changed.get(table, Seal())
        for key, value in items:
            made, before = checksum(key, value), self._connection.execute(statements.sum, (key,)).get
            self._connection.execute(statements.put, (key, value, made))
            held = Seal() if before is None else Seal(-1, _number(before))
            changed = changed.joined(held).joined(Seal(1, _number(made)))
        self._changed[table] = changed

    def delete(self, table: Table, sql: str, keys: Iterable[tuple[bytes, ...]]) -> None:
        """Delete rows.

        Args:
            table: whose.
            sql: a statement of `STATEMENTS` that deletes.
            keys: what is bound to it, time after time.
        """
        changed = self._changed.get(table, Seal())
        for bound in keys:
            for (before,) in self._connection.execute(f"{sql} RETURNING {HELD_SUM}", bound):
                changed = changed.joined(Seal(-1, _number(before)))
        self._changed[table] = changed

    def write(self) -> None:
        """Bring the seals up to date, before the commit.

        One that is damaged stays as it is, and one of fewer rows than were deleted: a check tells of it.
        """
        for table, changed in self._changed.items():
            held = _held(self._connection, table)
            made = None if held is None else held.joined(changed)
            if made is not None and made != held and made.rows >= 0:
                key, data = table.encode(), made.pack()
                self._connection.execute(_PUT, (key, data, checksum(key, data)))
        self._changed.clear()

    def forget(self) -> None:
        """A transaction was rolled back."""
        self._changed.clear()


def broken_seals(connection: apsw.Connection) -> Iterator[Damage]:
    """The tables whose rows are not those that were put, as of one moment; a table that cannot be read is left out."""
    found = []
    connection.execute("BEGIN")
    try:
        for table in sorted(SEALED):
            try:
                reason = _difference(_held(connection, table), _made(connection, table))
            except apsw.CorruptError:
                continue  # that was found with the rows
            except apsw.SQLError as error:
                reason = _SEAL_DAMAGED if _SEALS in str(error) else TABLE_GONE
            if reason:
                found.append(Damage(table=table, key=b"", reason=reason))
    finally:
        if connection.in_transaction:  # a page that cannot be read may have ended it
            connection.execute("ROLLBACK")
    yield from found


def _difference(held: Seal | None, made: Seal) -> str:
    if held is None:
        return _SEAL_DAMAGED
    if made.rows < held.rows:
        return f"{held.rows - made.rows} of {held.rows} rows are gone"
    if made.rows > held.rows:
        return f"there are {made.rows} rows, where {held.rows} were put"
    return "" if made.sums == held.sums else "a row is not the one that was put last: an older one is back"


def _held(connection: apsw.Connection, table: Table) -> Seal | None:
    """What is noted of a table; None where that is damaged."""
    key = table.encode()
    row = connection.execute(_GET, (key,)).get
    if row is None:
        return Seal()  # nothing was ever put into it
    data, kept = row
    if not holds(key, data, kept) or len(data) != 2 * _NUMBER_BYTES:
        return None
    return Seal(_number(data[:_NUMBER_BYTES]), _number(data[_NUMBER_BYTES:]))


def _made(connection: apsw.Connection, table: Table) -> Seal:
    made = Seal()
    for (kept,) in connection.execute(f"SELECT {HELD_SUM} FROM {table_name(table)}"):
        made = made.joined(Seal(1, _number(kept)))
    return made


def _number(kept: bytes) -> int:
    return int.from_bytes(kept[:_NUMBER_BYTES], "big")  # damage may have made it longer
