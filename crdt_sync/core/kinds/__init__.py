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
    Mark,
    Put,
    TextRun,
    Write,
    WriteContext,
)
from crdt_sync.core.kinds.causal import CausalRegister, Settling
from crdt_sync.core.kinds.counter import Counter, CounterKind
from crdt_sync.core.kinds.declare import (
    ask,
    field,
    first,
    holds_live_kind,
    kind_of,
    max_,
    merge_with,
    min_,
    three_way,
)
from crdt_sync.core.kinds.lattice import First, Greatest, Lattice, Least
from crdt_sync.core.kinds.list import List, ListKind
from crdt_sync.core.kinds.map import Map, MapKind
from crdt_sync.core.kinds.merge_with import ASK, MergeWithRegister, always_ask
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.kinds.set import Set, SetKind
from crdt_sync.core.kinds.text import Text, TextKind
from crdt_sync.core.kinds.three_way import ThreeWayRegister

__all__ = [
    "ASK",
    "AskRegister",
    "CausalRegister",
    "Clash",
    "ColumnKind",
    "Counter",
    "CounterKind",
    "Cut",
    "Drop",
    "FieldKind",
    "First",
    "Greatest",
    "Insert",
    "Lattice",
    "Least",
    "List",
    "ListKind",
    "Map",
    "MapKind",
    "Mark",
    "MergeWithRegister",
    "PlainRegister",
    "Put",
    "Set",
    "SetKind",
    "Settling",
    "Text",
    "TextKind",
    "TextRun",
    "ThreeWayRegister",
    "Write",
    "WriteContext",
    "always_ask",
    "ask",
    "field",
    "first",
    "holds_live_kind",
    "kind_of",
    "max_",
    "merge_with",
    "min_",
    "three_way",
]
