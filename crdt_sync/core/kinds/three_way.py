"""Registers whose concurrent values merge against their common ancestor."""

from __future__ import annotations

from crdt_sync.core.conflict import Unknown
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.merging import Choices, Merged, merge_values


class ThreeWayRegister(CausalRegister):
    """Dicts and lists merge by path, texts by line; a person is asked only where changes overlap."""

    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        return merge_values(base, [item.data for item in among])

    def merge_chosen(self, base: bytes | Unknown, among: list[RegisterValue], choices: Choices) -> Merged:
        return merge_values(base, [item.data for item in among], choices=choices)
