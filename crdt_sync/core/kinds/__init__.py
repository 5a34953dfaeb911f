"""Field kinds, by how they merge. To add one: a module with a `FieldKind`, and a line in `kind_of`."""

from __future__ import annotations

from crdt_sync.core.kinds.ask import AskRegister
from crdt_sync.core.kinds.base import (
    Clash,
    ColumnKind,
    Cut,
    Drop,
    FieldKind,
    Insert,
    Put,
    Write,
    WriteContext,
)
from crdt_sync.core.kinds.counter import Counter, CounterKind
from crdt_sync.core.kinds.declare import ask, holds_live_kind, kind_of
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.kinds.set import Set, SetKind
from crdt_sync.core.kinds.text import Text, TextKind

__all__ = [
    "AskRegister",
    "Clash",
    "ColumnKind",
    "Counter",
    "CounterKind",
    "Cut",
    "Drop",
    "FieldKind",
    "Insert",
    "PlainRegister",
    "Put",
    "Set",
    "SetKind",
    "Text",
    "TextKind",
    "Write",
    "WriteContext",
    "ask",
    "holds_live_kind",
    "kind_of",
]
