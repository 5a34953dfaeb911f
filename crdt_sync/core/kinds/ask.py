"""Registers that ask: concurrent values that differ are a conflict."""

from __future__ import annotations

from crdt_sync.core.conflict import Unknown
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.merging import WHOLE, Merged


class AskRegister(CausalRegister):
    """Shows the latest value provisionally and asks a person where concurrent values differ."""

    merges_by_base = False

    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        return Merged(data=among[0].data, paths=WHOLE)
