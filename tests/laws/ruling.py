"""What concurrent values of each kind of register come to, as the reference model has it.

The merge of dicts, lists and texts is the package's own (it has examples: tests/unit/core/test_merging.py); from which
ancestor it starts is what the laws are about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.merging import merge_values
from tests.laws.models import ASKING, MERGED, MUDDLED, UNANSWERED, entries_of
from tests.laws.reference import Choice, Rule

Ruled = tuple[Any, tuple[str, ...]]
WHOLE = ("",)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One rule."""

    by_base: bool
    rule: Callable[[Any, tuple[Choice, ...]], Ruled]

    def __call__(self, base: Any, found: tuple[Choice, ...]) -> Ruled:
        return self.rule(base, found)


def ask(base: Any, found: tuple[Choice, ...]) -> Ruled:
    """The latest is shown until somebody chooses."""
    return found[0].value, WHOLE


def merge(base: Any, found: tuple[Choice, ...]) -> Ruled:
    """Every change against the base is made; where they overlap the latest stands."""
    merged = merge_values(codec.encode(base), [codec.encode(item.value) for item in found])
    return codec.decode(merged.data), merged.paths


def add_up(base: Any, found: tuple[Choice, ...]) -> Ruled:
    """All steps from the base together; where the function would not tell, somebody is asked."""
    values = [item.value for item in sorted(found, key=lambda item: item.id)]
    if UNANSWERED in values or (MUDDLED in values and values[0] != values[-1]):
        return found[0].value, WHOLE
    if MUDDLED in values:
        return values[0], ()
    if base is None:  # of an entry that nobody had before: the function raises
        return found[0].value, WHOLE
    return base + sum(value - base for value in values), ()


RULES: dict[str, Rule] = {
    **dict.fromkeys((*ASKING, *entries_of("days")), Ruling(False, ask)),
    **dict.fromkeys((*MERGED, *entries_of("homes")), Ruling(True, merge)),
    **dict.fromkeys(("stage", *entries_of("ranks")), Ruling(True, add_up)),
}
