"""What makes a new record: the writes that its document begins with."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from typing import Any, Final

from crdt_sync.core import codec
from crdt_sync.core.clock import HLC_BYTES
from crdt_sync.core.content import Content, Creation, write_creation
from crdt_sync.core.kinds import Put, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.model import ModelSpec
from crdt_sync.errors import LimitError

_HEAD_BYTES: Final = 5
"""What stands in front of a map, or of a text, in value bytes at most."""


def creation_writes(
    spec: ModelSpec, checked: Mapping[str, Any], context: WriteContext, *, given: Container[str]
) -> list[Write]:
    """The writes of a new record: one value for all registers, then what other kinds begin with.

    Registers that are too large for one value together are written beside it, the largest first, as if they had been
    assigned at once.

    Args:
        spec: of the record's model.
        checked: field → value.
        context: who creates it, and when.
        given: the fields that somebody gave; the values of others are defaults.

    Raises:
        LimitError: a value is too large by itself.
    """
    kinds = spec.fields
    registers = {kinds[name].stored: value for name, value in checked.items() if kinds[name].in_creation}
    key = map_key(KeyClass.CREATION, context.author)
    defaults = {kinds[name].stored for name in checked if name not in given}
    created = _created(context.hlc, registers, defaults)
    writes: list[Write] = [] if created is None else [Put(key, created)]
    if created is None:
        fitting = _as_far_as_they_fit(registers)
        writes.append(Put(key, write_creation(context.hlc, fitting, defaults=defaults)))
        content = Content(
            creations=[Creation(context.author, context.hlc, fitting, frozenset(defaults & fitting.keys()))]
        )
        for name, value in checked.items():
            if kinds[name].stored in registers.keys() - fitting.keys():
                writes.extend(kinds[name].assign(content, value, context=context))
    for name, value in checked.items():
        writes.extend(kinds[name].create(value, context=context))
    return writes


def _created(hlc: int, registers: Mapping[str, Any], defaults: Collection[str]) -> bytes | None:
    """The bytes of a creation of all registers; None where that is more than one value can be."""
    try:
        data = write_creation(hlc, registers, defaults=defaults)
    except LimitError:
        return None
    return data if len(data) <= ENTRY_LIMITS.value_bytes_max else None


def _as_far_as_they_fit(registers: Mapping[str, Any]) -> dict[str, Any]:
    """The registers, smallest first, that are no more than one value can be."""
    sizes = {name: _HEAD_BYTES + len(name) + len(codec.encode(value)) for name, value in registers.items()}
    defaults_bytes = 2 * _HEAD_BYTES + len(registers)  # a name and a number of a bit for each, and more than that
    room = ENTRY_LIMITS.value_bytes_max - HLC_BYTES - _HEAD_BYTES - defaults_bytes
    found: dict[str, Any] = {}
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if room < 0:
            break
        found[name] = registers[name]
    return found
