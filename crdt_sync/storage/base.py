"""The narrow interface to durable storage: named tables of bytes, and materialised views that can be queried.

A store knows nothing of documents, logs or sessions. It keeps what the replica hands it, all of a transaction or
nothing, and gives it back unharmed or says that it cannot. `crdt_sync.testing.stores` is this interface's acceptance
suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum, unique
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

from crdt_sync.core.kinds.base import ColumnKind as ColumnKind  # noqa: PLC0414  re-exported: a store needs one module

Durability: TypeAlias = Literal["full", "normal"]
"""`full`: a commit survives power loss. `normal`: it survives the process's end, and power loss after `flush()`."""

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
ViewValue: TypeAlias = "bool | int | float | str | bytes | Decimal | JsonValue | None"
"""A value in a row of a view, or in a filter. What a column takes is said at `ColumnKind`."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (rows done, rows in total)."""


@unique
class Table(StrEnum):
    """Every table there is. A new one needs a migration."""

    META = "meta"
    LOG = "log"
    CHAIN = "chain"
    TOUCH = "touch"
    DOCUMENT = "document"
    VERSION = "version"
    DIRTY = "dirty"
    OPERATION = "operation"
    PENDING = "pending"
    CONFLICT = "conflict"
    RECORD = "record"
    SYNCLOG = "synclog"
    HOLDING = "holding"
    LOCAL = "local"
    EVIDENCE = "evidence"
    SETTLED = "settled"
    BASE = "base"
    STAGED = "staged"
    UNIQUE = "unique"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Bounds of what one call to a store may hold at a time."""

    page_rows_max: int = 512
    """Rows that a scan holds in memory at a time ..."""
    page_bytes_max: int = 1024 * 1024
    """... and the bytes of values after which a page ends, however few rows it has."""
    view_columns_max: int = 500
    view_indexes_max: int = 64
    name_chars_max: int = 64
    """Of the name of a view or column."""
    query_filters_max: int = 100
    filter_values_max: int = 10_000
    """Values of one filter with `FilterOp.IN` ..."""
    query_values_max: int = 30_000
    """... and of all filters of a query: SQLite takes 32,766 arguments."""


STORE_LIMITS = StoreLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a view, besides `id`."""

    name: str
    kind: ColumnKind = ColumnKind.VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A materialised view: one row for each record, `id` (str) first, then `columns` in order.

    In SQLite it is an ordinary table of this name, with ordinary values, that any tool can read.
    """

    name: str
    columns: tuple[Column, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    """Groups of columns (never `id`, which every index ends with) that are filtered or ordered by often."""


@unique
class FilterOp(Enum):
    """How a filter compares, with the meaning it has in Python.

    Values of different types (number, text, bytes) are unequal, and neither less nor greater than each other.
    """

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    IN = "in"
    """The value is a sequence; None in it matches None."""
    CONTAINS = "contains"
    """A substring of text or bytes; in a JSON column, an element of a list or a key of a mapping."""
    CONTAINS_ANY = "contains_any"
    """The value is a sequence: as `CONTAINS`, of one of its values at least."""
    IS_NULL = "is_null"
    """The value is True for None, False for anything but None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A condition on one column of a view, or on `id`."""

    column: str
    op: FilterOp
    value: ViewValue | Sequence[ViewValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One column to sort by: None first, or last where descending."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows of a view (all filters must hold), in which order (ties by id, ascending), and how many."""

    view: str
    filters: tuple[Filter, ...] = ()
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that `check` found."""

    table: str
    """Of the damaged row; empty where the damage is to the file's structure."""
    key: bytes
    reason: str


class Store(Protocol):
    """An ordered key-value store of named tables, with materialised views.

    Invariants:
        1. A transaction is kept whole or not at all, through exceptions, `kill -9` and, with durability `full` or
           after `flush()`, power loss.
        2. Every write happens in a transaction; reads see its writes at once.
        3. A row of a table comes back exactly as it was put, or as `CorruptStoreError`.
        4. Keys are ordered as bytes are.

    A store is used by one thread at a time. Every method raises `StoreClosedError` after `close()`, and may raise
    another `StoreError` where the medium fails: `StoreFullError`, `StoreInUseError`, `CorruptStoreError`.
    """

    @property
    def path(self) -> Path | None:
        """Where the store is; None where it is in memory only."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether every write raises `StoreReadOnlyError`."""
        ...

    @property
    def schema_version(self) -> int:
        """Version of the layout of the tables."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Bracket writes that belong together: kept when the block ends, rolled back whole when it raises anything.

        Raises:
            TransactionError: within another transaction; or at the end of a block that went on after a write had
                failed (everything is rolled back).
            StoreReadOnlyError: the store was opened read-only.
            StoreInUseError: somebody else is writing.
        """
        ...

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Read one value; None where there is none.

        Raises:
            CorruptStoreError: the row is damaged (`.table` and `.key` name it).
        """
        ...

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write one row, in place of one with this key.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def put_many(self, table: Table, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many rows, each in place of one with its key. `items` may read from this store.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def delete(self, table: Table, key: bytes) -> None:
        """Delete one row, where it exists.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def delete_many(self, table: Table, keys: Iterable[bytes]) -> None:
        """Delete many rows, where they exist.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def delete_range(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> None:
        """Delete the rows with start <= key < end.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def scan(
        self,
        table: Table,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Read the rows with start <= key < end in order of key, descending where `reverse`, at most `limit` of them.

        It reads in pages (`StoreLimits`) and holds nothing open between them, so the caller may write, commit and roll
        back meanwhile; what is written ahead of the page in hand is seen.

        Raises:
            CorruptStoreError: a row is damaged; the rows before it were given.
        """
        ...

    def count(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> int:
        """Count the rows with start <= key < end, without reading their values."""
        ...

    def define_view(self, view: View) -> bool:
        """Make a view, or give it this definition. True where it is empty now and its rows have to be put (again).

        Raises:
            TransactionError: outside of a transaction.
            SchemaError: a name that cannot be used, or that clashes with another one but for upper and lower case.
        """
        ...

    def drop_view(self, name: str) -> None:
        """Remove a view and its rows, where it exists.

        Raises:
            TransactionError: outside of a transaction.
        """
        ...

    def views(self) -> tuple[View, ...]:
        """The views there are, by name."""
        ...

    def put_rows(self, view: str, rows: Iterable[tuple[ViewValue, ...]]) -> None:
        """Write rows (id, then a value for each column), each in place of one with its id.

        Raises:
            TransactionError: outside of a transaction.
            UnknownModelError: there is no such view.
            InvalidValueError: a value that its column cannot keep, or a row of another length.
        """
        ...

    def delete_rows(self, view: str, ids: Iterable[str]) -> None:
        """Delete rows, where they exist.

        Raises:
            TransactionError: outside of a transaction.
            UnknownModelError: there is no such view.
        """
        ...

    def query(self, query: Query) -> list[str]:
        """The ids of the rows that a query asks for, in its order.

        Raises:
            UnknownModelError: there is no such view.
            UnknownFieldError: it has no such column.
            InvalidValueError: a value that the operation cannot compare with, or more of them than `StoreLimits` says.
            CorruptStoreError: a row of the view cannot be read; views have no checksums, as they can be made again.
        """
        ...

    def query_count(self, query: Query) -> int:
        """How many rows the filters of a query hold for, whatever its limit and offset. Raises what `query` raises."""
        ...

    def flush(self) -> None:
        """Make everything committed so far survive power loss; costs nothing where it does already.

        Raises:
            TransactionError: within a transaction.
        """
        ...

    def give_back(self) -> None:
        """Give the space of what was deleted back to the file system; takes time in proportion to what is left.

        Raises:
            TransactionError: within a transaction.
            StoreReadOnlyError: the store was opened read-only.
        """
        ...

    def backup(self, path: Path, *, without: Iterable[tuple[Table, bytes]] = ()) -> None:
        """Copy everything committed into a new file that `open_sqlite` opens; this store stays in use.

        Args:
            path: of the new file.
            without: rows that the copy does not get, by table and key.

        Raises:
            StoreError: something exists at `path`, or it cannot be written; nothing is left there.
            TransactionError: within a transaction.
        """
        ...

    def check(self, *, progress: Progress | None = None) -> Iterator[Damage]:
        """Read everything and give what is damaged; nothing where all is well. Changes nothing."""
        ...

    def close(self) -> None:
        """Let go of the store; an open transaction is rolled back. May be called again."""
        ...

    def __enter__(self) -> Self:
        """Use the store as a context manager that closes it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        ...
