"""Registers with a causal context: concurrent values that differ are a conflict, with the true common ancestor.

Each write has its own key (field, author, counter) and carries what it saw; superseded values stay, hidden, so that the
ancestor of a later clash can be found (semantics: base).
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN, Unknown
from crdt_sync.core.content import Content, Dot, RegisterValue, write_register
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.base import Clash, Drop, Put, Write, WriteContext
from crdt_sync.core.kinds.plain import PlainRegister, latest_first
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS


class AskRegister(PlainRegister):
    """Shows the latest value provisionally and asks a person where concurrent values differ."""

    def read(self, content: Content) -> Any:
        if self.name not in content.causal and len(content.creations) == 1:
            return super().read(content)
        found = self.candidates(content)
        return self.decode(found[0].data) if found else self.default()

    def kept(self, content: Content) -> list[RegisterValue]:
        """All values in the document, hidden ones too."""
        return [*content.causal.get(self.name, []), *self.created(content)]

    def candidates(self, content: Content) -> list[RegisterValue]:
        values = self.kept(content)
        covered = _join(values)
        found = [item for item in values if covered.get(item.dot.author, -1) < item.dot.counter]
        found.sort(key=latest_first)
        return found

    def clashes(self, content: Content) -> list[Clash]:
        found = self.candidates(content)
        if len({item.data for item in found}) < 2:
            return []
        first, *others = (codec.decode(item.data) for item in found)
        if all(_alike(first, other) for other in others):
            return []
        base, value = self._base(content, found), self.decode(found[0].data)
        return [Clash(register=self.name, candidates=found, paths=("",), base=base, value=value)]

    def _base(self, content: Content, among: list[RegisterValue]) -> Any:
        found = _base(self.kept(content), among)
        if found is None:
            return self.default()
        return UNKNOWN if found is UNKNOWN else self.decode(found.data)

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        found = self.candidates(content)
        data = codec.encode(value)
        if len(found) == 1 and found[0].data == data:
            return []
        return self._write(content, data, seen=self.kept(content), context=context)

    def supersede(self, content: Content, value: Any, *, dots: set[Dot], context: WriteContext) -> list[Write]:
        """The writes that settle exactly the candidates ``dots``; later candidates stay."""
        seen = [item for item in self.kept(content) if item.dot in dots]
        return self._write(content, codec.encode(value), seen=seen, context=context)

    def _write(self, content: Content, data: bytes, *, seen: list[RegisterValue], context: WriteContext) -> list[Write]:
        values = self.kept(content)
        saw = _join(seen)
        for item in seen:
            saw[item.dot.author] = max(saw.get(item.dot.author, -1), item.dot.counter)
        known = max([0, _join(values).get(context.author, 0), *(_counter_of(item, context.author) for item in values)])
        key = map_key(KeyClass.CAUSAL, context.author, field=self.name, rest=str(known + 1))
        superseded = [item for item in values if item.key and saw.get(item.dot.author, -1) >= item.dot.counter]
        superseded.sort(key=latest_first)
        drops: list[Write] = [Drop(item.key) for item in superseded[ENTRY_LIMITS.hidden_values_max :]]
        return [*drops, Put(key, write_register(context.hlc, saw, data))]


def _alike(left: Any, right: Any) -> bool:
    """Whether values of different bytes are equal and of the same type, judged alike on every machine.

    Datetimes with a zone differ where their bytes do: their instant follows from the machine's own list of zones. And
    a datetime's fold, which `==` passes over, makes another one.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(_alike(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, datetime) and (left.tzinfo is not None or right.tzinfo is not None):
        return False
    if isinstance(left, datetime | time) and left.fold != right.fold:
        return False
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124  only NaN differs from itself


def _counter_of(item: RegisterValue, author: Author) -> int:
    return item.dot.counter if item.dot.author == author else 0


def _join(values: list[RegisterValue]) -> dict[Author, int]:
    """The pointwise maximum of causal contexts."""
    joined: dict[Author, int] = {}
    for item in values:
        for author, counter in item.context.items():
            if counter > joined.get(author, -1):
                joined[author] = counter
    return joined


def _base(kept: list[RegisterValue], among: list[RegisterValue]) -> RegisterValue | Unknown | None:
    """The greatest kept value in the past of all candidates; of several maximal ones, their own merge (the latest).

    UNKNOWN where a write that could be greater is no longer kept, None where there was none before. Only writes of an
    author that are the last one in everybody's past can be maximal, so it is enough to look at one dot for each author.
    """
    by_dot = {item.dot: item for item in kept}
    pasts = [item.context for item in among]  # not with the item's own dot: an author's sibling would be in it
    shared = {author: min(past[author] for past in pasts) for author in set[Author](pasts[0]).intersection(*pasts[1:])}
    present = [by_dot[dot] for dot in map(Dot._make, shared.items()) if dot in by_dot]
    for author, counter in shared.items():
        lost = counter > 0 and Dot(author, counter) not in by_dot
        if lost and not any(item.context.get(author, -1) >= counter for item in present):
            return UNKNOWN
    maximal = [
        item
        for item in present
        if not any(item.dot.counter <= other.context.get(item.dot.author, -1) for other in present)
    ]
    return min(maximal, key=latest_first, default=None)
