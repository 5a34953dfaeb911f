"""What makes a new record: the writes that its document begins with."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from crdt_sync.core.content import write_creation
from crdt_sync.core.kinds import Put, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.model import ModelSpec


def creation_writes(
    spec: ModelSpec, checked: Mapping[str, Any], context: WriteContext, *, given: Container[str]
) -> list[Write]:
    """The writes of a new record: one value for all registers, then what other kinds begin with.

    Args:
        spec: of the record's model.
        checked: field → value.
        context: who creates it, and when.
        given: the fields that somebody gave; the values of others are defaults.
    """
    kinds = spec.fields
    registers = {kinds[name].stored: value for name, value in checked.items() if kinds[name].in_creation}
    key = map_key(KeyClass.CREATION, context.author)
    defaults = {kinds[name].stored for name in checked if name not in given}
    writes: list[Write] = [Put(key, write_creation(context.hlc, registers, defaults=defaults))]
    for name, value in checked.items():
        writes.extend(kinds[name].create(value, context=context))
    return writes
