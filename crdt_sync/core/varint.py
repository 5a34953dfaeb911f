"""Numbers as unsigned LEB128 in their shortest form: one encoding for each number, wherever we read one."""

from __future__ import annotations

from functools import lru_cache

from crdt_sync.errors import MalformedEntryError


def write_varint(out: bytearray, value: int) -> None:
    """Append a number from 0."""
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


@lru_cache(maxsize=8192)
def varint(value: int) -> bytes:
    """A number from 0, encoded by itself; remembered, as authors, clocks and lengths come again and again."""
    out = bytearray()
    write_varint(out, value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a number of at most 35 bits; returns it with the position behind it.

    Raises:
        MalformedEntryError: more than five bytes, not in its shortest form, or cut off by the end of the data.
    """
    try:
        value = data[position]
        position += 1
        if value < 128:  # most are
            return value, position
        value &= 127
        shift = 7
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 28:  # five bytes hold every author, and no clock, counter or length needs more
                raise MalformedEntryError("a number of more than 35 bits")
    except IndexError:
        raise MalformedEntryError("a number that ends too early") from None
    if byte == 0:
        raise MalformedEntryError("a number that is not in its shortest form")
    return value, position
