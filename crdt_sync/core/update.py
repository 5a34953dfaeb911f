"""Reads and writes engine updates (Yjs update format, version 1) without the engine.

Only what a document of ours can hold is known here: byte-string values, text, its attributes, and what remains of
deleted content. Everything else that the format allows (nested types, embeds, arrays of values, gaps, collected
ranges) is refused, so that no foreign bytes reach the engine unread.

    update  = sections, deletions
    section = count, author, first clock, that many blocks
    block   = flags and kind (one byte), origins, or root and key where there is no origin, content

All numbers are unsigned LEB128 in their shortest form; strings are UTF-8 with their length in bytes in front. The
flag that says "has a key" is redundant where a block has an origin, encoders disagree about it, and it is ignored.
Source of the format: the Yjs documentation and the engine's own output, which the tests compare with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final, NoReturn

from crdt_sync.core.blocks import (
    CLOCK_MAX,
    ENTRY_BOUNDS,
    Block,
    Bytes,
    Deleted,
    DeleteRange,
    Format,
    String,
    UnitId,
    Update,
    UpdateBounds,
    utf16_length,
)
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.limits import ENTRY_LIMITS, TOO_LARGE_HINT
from crdt_sync.core.varint import read_varint, varint
from crdt_sync.errors import LimitError, MalformedEntryError

FORMAT_CHARS_MAX: Final = 1024
"""Characters of a text attribute's JSON value."""

_DELETED, _STRING, _FORMAT, _ANY = 1, 4, 6, 8
_KIND, _KEY, _RIGHT, _ORIGIN = 0x1F, 0x20, 0x40, 0x80
_ANY_BYTES = 116


def parse_update(data: bytes, *, bounds: UpdateBounds = ENTRY_BOUNDS) -> Update:
    """Read an update, checking its form; what it may do is for `screening` to judge.

    Raises:
        MalformedEntryError: not an update, or one with content that no document of ours holds.
        LimitError: larger than ``bounds``.
    """
    if len(data) > bounds.bytes_max:
        raise LimitError("an update larger than the space allows")
    try:
        blocks, position = _read_blocks(data, bounds)
        if data[position]:
            deletes, position = _read_deletes(data, position, bounds)
        else:
            deletes = ()
            position += 1
    except IndexError:
        raise MalformedEntryError("an update that ends too early") from None
    except UnicodeDecodeError:
        raise MalformedEntryError("an update with text that is not UTF-8") from None
    if position != len(data):
        raise MalformedEntryError("an update with trailing bytes")
    return Update(blocks, deletes)


def encode_update(update: Update) -> bytes:
    """Write an update. Blocks of one author must follow each other, as `parse_update` returns them."""
    sections: list[list[Block]] = []
    for block in update.blocks:
        if sections and sections[-1][0].author == block.author:
            sections[-1].append(block)
        else:
            sections.append([block])
    out = bytearray()
    out += varint(len(sections))
    for section in sections:
        out += varint(len(section))
        out += varint(section[0].author)
        out += varint(section[0].clock)
        for block in section:
            _write_block(out, block)
    _write_deletes(out, update.deletes)
    return bytes(out)


def map_insert_update(
    author: Author,
    clock: int = 0,
    *,
    items: Sequence[tuple[str, bytes]],
    texts: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The update that a new document would emit for one transaction that only inserts.

    Args:
        author: who writes.
        clock: the author's next clock in the document.
        items: keys of the map root, none of which the document holds, with their values.
        texts: names of text roots that are still empty, with their first text; empty texts are left out.
    """
    filled = [text for text in texts if text[1]]
    out = bytearray(b"\x01")
    out += varint(len(items) + len(filled))
    out += varint(author)
    out += varint(clock)
    for key, value in items:
        out += b"\x28\x01\x01m"
        _write_text(out, key)
        out += b"\x01\x74"
        out += varint(len(value))
        out += value
    for root, text in filled:
        out += b"\x04\x01"
        _write_text(out, root)
        _write_text(out, text)
    out.append(0)
    return bytes(out)


def _refuse(message: str) -> NoReturn:
    raise MalformedEntryError(message)


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    length, position = read_varint(data, position)
    end = position + length
    if end > len(data):
        _refuse("an update that ends too early")
    return data[position:end].decode(), end


def _read_blocks(data: bytes, bounds: UpdateBounds) -> tuple[tuple[Block, ...], int]:
    sections, position = read_varint(data, 0)
    if sections > bounds.authors_max:
        raise LimitError("an update with more authors than the space allows")
    blocks: list[Block] = []
    authors: set[int] = set()
    for _ in range(sections):
        count, position = read_varint(data, position)
        author, position = read_varint(data, position)
        clock, position = read_varint(data, position)
        if not count or not 1 <= author <= AUTHOR_MAX or author in authors:
            _refuse("an update with a section that is empty, repeated, or of no author")
        if len(blocks) + count > bounds.blocks_max:
            raise LimitError("an update with more blocks than the space allows")
        authors.add(author)
        for _ in range(count):
            block, position = _read_block(data, position, author, clock)
            clock += block[2]
            if clock > CLOCK_MAX:
                _refuse("an update with a clock beyond what a document can count")
            blocks.append(block)
    return tuple(blocks), position


def _read_block(data: bytes, position: int, author: int, clock: int) -> tuple[Block, int]:
    info = data[position]
    position += 1
    root = key = origin = right = None
    if info & 0xC0:
        if info & _ORIGIN:
            origin, position = _read_unit_id(data, position)
        if info & _RIGHT:
            right, position = _read_unit_id(data, position)
    else:
        if data[position] != 1:
            _refuse("an update with a block inside another")
        root, position = _read_text(data, position + 1)
        if info & _KEY:
            key, position = _read_text(data, position)
    kind = info & _KIND
    if kind == _ANY:
        value, position = _read_bytes(data, position)
        return Block(author, clock, 1, origin, right, root, key, Bytes(value)), position
    if kind == _STRING:
        text, position = _read_text(data, position)
        if not text:
            _refuse("an update with an empty block")
        return Block(author, clock, utf16_length(text), origin, right, root, key, String(text)), position
    if kind == _DELETED:
        length, position = read_varint(data, position)
        if not length:
            _refuse("an update with an empty block")
        return Block(author, clock, length, origin, right, root, key, Deleted(length)), position
    if kind == _FORMAT:
        content, position = _read_format(data, position)
        return Block(author, clock, 1, origin, right, root, key, content), position
    _refuse("an update with content that no document holds")


def _read_unit_id(data: bytes, position: int) -> tuple[UnitId, int]:
    author, position = read_varint(data, position)
    clock, position = read_varint(data, position)
    return (author, clock), position


def _read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    if data[position] != 1 or data[position + 1] != _ANY_BYTES:
        _refuse("an update with a value that is not one byte string")
    length, position = read_varint(data, position + 2)
    end = position + length
    if length > ENTRY_LIMITS.value_bytes_max:
        raise LimitError("an update with a value larger than the space allows", hint=TOO_LARGE_HINT)
    if end > len(data):
        _refuse("an update that ends too early")
    return data[position:end], end


def _read_format(data: bytes, position: int) -> tuple[Format, int]:
    name, position = _read_text(data, position)
    value, position = _read_text(data, position)
    if not 0 < len(name) <= ENTRY_LIMITS.name_bytes_max or len(value) > FORMAT_CHARS_MAX:
        raise LimitError("a text attribute larger than the space allows")
    if value not in ("null", "true", "false"):
        try:
            parsed = json.loads(value, parse_constant=_refuse)
            encodable = isinstance(parsed, str) and parsed.encode() is not None
        except ValueError:  # also text with half a surrogate pair
            _refuse("a text attribute that is not JSON")
        except RecursionError:
            _refuse("a text attribute that nests")
        # What the engine's own JSON reader would take differently is refused: long integers, infinities.
        if not (encodable or (type(parsed) is int and abs(parsed) < 2**53) or _is_finite(parsed)):
            _refuse("a text attribute that is not a scalar")
    return Format(name, value), position


def _is_finite(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _read_deletes(data: bytes, position: int, bounds: UpdateBounds) -> tuple[tuple[DeleteRange, ...], int]:
    authors, position = read_varint(data, position)
    if authors > bounds.authors_max:
        raise LimitError("an update that deletes from more authors than the space allows")
    deletes: list[DeleteRange] = []
    seen: set[int] = set()
    for _ in range(authors):
        author, position = read_varint(data, position)
        count, position = read_varint(data, position)
        if not count or not 1 <= author <= AUTHOR_MAX or author in seen:
            _refuse("an update with deletions that are empty, repeated, or of no author")
        if len(deletes) + count > bounds.delete_ranges_max:
            raise LimitError("an update with more deletions than the space allows")
        seen.add(author)
        end = 0
        for _ in range(count):
            start, position = read_varint(data, position)
            length, position = read_varint(data, position)
            if not length or start < end:
                _refuse("an update with deletions out of order")
            end = start + length
            if end > CLOCK_MAX:
                _refuse("an update with a clock beyond what a document can count")
            deletes.append(DeleteRange(author, start, end))
    return tuple(deletes), position


def _write_text(out: bytearray, text: str) -> None:
    raw = text.encode()
    out += varint(len(raw))
    out += raw


def _write_block(out: bytearray, block: Block) -> None:
    content = block.content
    kind = _KINDS[type(content)]
    if block.origin is None and block.right_origin is None:
        if block.root is None:
            raise ValueError("a block without origins needs a root")
        out.append(kind if block.key is None else kind | _KEY)
        out.append(1)
        _write_text(out, block.root)
        if block.key is not None:
            _write_text(out, block.key)
    else:
        out.append(kind | (_ORIGIN if block.origin else 0) | (_RIGHT if block.right_origin else 0))
        for dot in (block.origin, block.right_origin):
            if dot is not None:
                out += varint(dot[0])
                out += varint(dot[1])
    if isinstance(content, Bytes):
        out += b"\x01\x74"
        out += varint(len(content.value))
        out += content.value
    elif isinstance(content, String):
        _write_text(out, content.text)
    elif isinstance(content, Deleted):
        out += varint(content.length)
    else:
        _write_text(out, content.name)
        _write_text(out, content.json)


_KINDS = {Bytes: _ANY, String: _STRING, Deleted: _DELETED, Format: _FORMAT}


def _write_deletes(out: bytearray, deletes: Sequence[DeleteRange]) -> None:
    by_author: dict[int, list[DeleteRange]] = {}
    for item in deletes:
        by_author.setdefault(item.author, []).append(item)
    out += varint(len(by_author))
    for author, ranges in by_author.items():
        out += varint(author)
        out += varint(len(ranges))
        for item in ranges:
            out += varint(item.start)
            out += varint(item.end - item.start)
