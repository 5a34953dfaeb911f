"""What an operation wrote, as users see it: read from its update, and kept where its entry may go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.blocks import Bytes, Format, String
from crdt_sync.core.content import read_creation, read_register
from crdt_sync.core.entry import EntryOperation
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds.list_cells import read_cell
from crdt_sync.core.layout import KeyClass, parse_map_key, parse_text_root
from crdt_sync.core.update import parse_update
from crdt_sync.replica.packing import pack_values, unpack_shaped


def pack_written(data: Mapping[str, Any]) -> bytes:
    """The bytes of what an operation wrote, part by part: all together may be larger than a value may be."""
    return pack_values({name: _packed(value) for name, value in data.items()})


def unpack_written(data: bytes) -> dict[str, Any]:
    """What an operation wrote, as `pack_written` was given it."""
    (packed,) = unpack_shaped(data, ({str: object},), table="operation")
    return {name: _unpacked(value) for name, value in packed.items()}


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [_packed_part(item) for item in value]
    return (
        {name: _packed_part(item) for name, item in value.items()} if isinstance(value, dict) else _packed_part(value)
    )


def _packed_part(value: Any) -> str | bytes:
    return value if type(value) is str else codec.encode(value)


def _unpacked(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_unpacked(item) for item in value]
    if isinstance(value, dict):
        return {name: _unpacked(item) for name, item in value.items()}
    return codec.decode(value) if isinstance(value, bytes) else value


def written_data(operation: EntryOperation, *, index: DocumentIndex) -> dict[str, Any]:
    """What an operation wrote, read from its update: registers as values, counters as totals, the rest as pieces."""
    data: dict[str, Any] = {}
    for block in parse_update(operation.update).blocks:
        place = index.find(block.author, block.clock)  # a block that follows another one does not say where it belongs
        if place is None:
            continue
        if type(block.content) is Bytes and not place.is_text:
            _add_cell(data, place.name, block.content.value)
        elif type(block.content) is String and place.is_text:
            data.setdefault(parse_text_root(place.name), []).append(block.content.text)
        elif type(block.content) is Format and place.is_text and block.content.json != "null":
            attribute = {block.content.name: json.loads(block.content.json)}
            data.setdefault(parse_text_root(place.name), []).append(attribute)
    return data


def _add_cell(data: dict[str, Any], key: str, value: bytes) -> None:
    parsed = parse_map_key(key)
    match parsed.key_class:
        case KeyClass.CREATION:
            data.update(read_creation(parsed.author, value).values)
        case KeyClass.PLAIN | KeyClass.CAUSAL | KeyClass.LATTICE:
            written = codec.decode(read_register(value)[2])
            if parsed.entry is None:
                data[parsed.field] = written
            else:
                data.setdefault(parsed.field, {})[parsed.entry] = written
        case KeyClass.LIST:
            data.setdefault(parsed.field, []).append(codec.decode(read_cell(value).data))
        case KeyClass.COUNTER:
            data[parsed.field] = codec.decode(value)
        case KeyClass.SET:
            element = parsed.rest[1:].encode("latin-1", "replace") if parsed.rest[0] == "=" else value
            data.setdefault(parsed.field, []).append(codec.decode(element))
        case _:
            pass
