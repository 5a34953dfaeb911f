"""Registers whose concurrent values merge against their common ancestor."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from crdt_sync.core.conflict import Unknown
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.kinds.answers import Answers
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.merging import WHOLE, Choices, Merged, merge_values


class ThreeWayRegister(CausalRegister):
    """Dicts and lists merge by path, texts by line; a person is asked only where changes overlap.

    What values merged to is kept for the next reading.
    """

    def __init__(self, name: str, info: FieldInfo) -> None:
        super().__init__(name, info)
        self._answers = Answers()

    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        question = (b"" if isinstance(base, Unknown) else base, *(item.data for item in among))  # no value has no bytes
        return self._answers.get(question, lambda: merge_values(base, question[1:]))

    def merge_chosen(self, base: bytes | Unknown, among: list[RegisterValue], choices: Choices) -> Merged:
        if self.merge(base, among).paths == WHOLE:
            return super().merge_chosen(base, among, choices)
        return merge_values(base, [item.data for item in among], choices=choices)
