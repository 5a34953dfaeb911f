"""Rows that are arrays of values: their bytes, and reading them without trust in what a store holds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import msgpack

from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.errors import CorruptStoreError
from crdt_sync.storage.base import Table

Shape: TypeAlias = "type | tuple[Shape, ...] | list[Shape] | dict[type, Shape]"
"""What a value is to be: of a type, where `int` is a number from 0 on and `object` is anything; a tuple of so many of
these; a list of any number of one; a dict from a type to one."""

_AUTHOR_BYTES = 5


def pack_values(*values: Any) -> bytes:
    """The bytes of a row that is an array of values."""
    packed: bytes = msgpack.packb(values)
    return packed


def unpack_values(data: bytes, count: int | tuple[int, ...], table: str) -> tuple[Any, ...]:
    """Read a row that is an array of so many values, or of one of these numbers of them.

    Raises:
        CorruptStoreError: it is no such array.
    """
    values = _unpacked(data, table)
    if not isinstance(values, tuple) or len(values) not in (count if isinstance(count, tuple) else (count,)):
        raise CorruptStoreError(f"a row of table {table} has the wrong shape", table=table)
    return values


def unpack_shaped(data: bytes, shape: Shape, *, table: str, key: bytes = b"") -> Any:
    """Read a row that has a shape; lists come as tuples.

    Raises:
        CorruptStoreError: it has another one.
    """
    value = _unpacked(data, table)
    if not has_shape(value, shape):
        named = f"the row {key.decode(errors='replace')}" if key else "a row"
        raise CorruptStoreError(f"{named} of table {table} has values of other types", table=table, key=key)
    return value


def has_shape(value: object, shape: Shape) -> bool:
    """Whether a value is what it is to be."""
    if isinstance(shape, type):
        if shape is int:
            return type(value) is int and value >= 0
        return shape is object or type(value) is shape
    if isinstance(shape, dict):
        ((of, inner),) = shape.items()
        return type(value) is dict and all(has_shape(key, of) and has_shape(value[key], inner) for key in value)
    if type(value) is not tuple:
        return False
    if isinstance(shape, list):
        return all(has_shape(item, shape[0]) for item in value)
    return len(value) == len(shape) and all(map(has_shape, value, shape))


def unpack_author(data: bytes, *, key: bytes) -> Author:
    """Read a row of the meta table that is an author.

    Raises:
        CorruptStoreError: it is none.
    """
    author = int.from_bytes(data, "big")
    if len(data) != _AUTHOR_BYTES or not 0 < author <= AUTHOR_MAX:
        raise CorruptStoreError(f"the row {key.decode()} of table meta names no author", table=Table.META, key=key)
    return Author(author)


def unpack_authors(data: bytes | None, *, key: bytes) -> list[Author]:
    """Read a row of the meta table that is a list of authors; None where there is no row.

    Raises:
        CorruptStoreError: it is none.
    """
    return [] if data is None else list(_authors(data, key))


@lru_cache(maxsize=64)
def _authors(data: bytes, key: bytes) -> tuple[Author, ...]:
    """They change seldom, and are asked for with every message."""
    authors: tuple[int, ...] = unpack_shaped(data, [int], table=Table.META, key=key)
    if any(not 0 < author <= AUTHOR_MAX for author in authors):
        raise CorruptStoreError(f"the row {key.decode()} of table meta names no author", table=Table.META, key=key)
    return tuple(map(Author, authors))


def unpack_sized(data: bytes, size: int, *, key: bytes) -> bytes:
    """Read a row of the meta table that has so many bytes.

    Raises:
        CorruptStoreError: it has not.
    """
    if len(data) != size:
        raise CorruptStoreError(f"the row {key.decode()} of table meta has the wrong length", table=Table.META, key=key)
    return data


def _unpacked(data: bytes, table: str) -> Any:
    try:
        return msgpack.unpackb(data, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):  # TypeError: a map whose key is a map
        raise CorruptStoreError(f"a row of table {table} cannot be read", table=table) from None
