"""Registers with a causal context: what concurrent values come to is judged against their true common ancestor.

Each write has its own key (field, author, counter) and carries what it saw; superseded values stay, hidden, so that the
ancestor of a later clash can be found (semantics: base). Merging is derived on reading: a replica that merely receives
writes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN, Unknown
from crdt_sync.core.content import CREATION_COUNTER, PLAIN_PAST, Content, Dot, RegisterValue, write_register
from crdt_sync.core.equality import alike
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.base import Clash, Drop, Put, Write, WriteContext
from crdt_sync.core.kinds.contexts import (
    beside_causal,
    is_plain,
    join,
    maximal,
    may_share_plain,
    saw,
    shared_past,
)
from crdt_sync.core.kinds.hidden import is_whole
from crdt_sync.core.kinds.plain import PlainRegister, latest_first, offered
from crdt_sync.core.layout import ENTRY_SEPARATOR, KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.merging import WHOLE, Choices, Given, Merged
from crdt_sync.errors import LimitError, UnrepresentableValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A write that took the place of values that clashed.

    Args:
        chosen: the write.
        clash: what it settled, as it was before.
    """

    chosen: RegisterValue
    clash: Clash


class CausalRegister(PlainRegister):
    """What all registers with a causal context share; a kind says how it merges."""

    merges_by_base: ClassVar[bool] = True
    """Whether what is shown depends on the ancestor."""

    @abstractmethod
    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        """What concurrent values that are not all alike come to.

        Args:
            base: the common ancestor's value bytes, or `UNKNOWN`.
            among: the values, latest first; two at least.
        """

    def merge_chosen(self, base: bytes | Unknown, among: list[RegisterValue], choices: Choices) -> Merged:
        """As `merge`, with a choice for each of the paths where the values overlap."""
        choice = choices.get(WHOLE[0], 0)
        return Merged(data=choice.data if isinstance(choice, Given) else among[choice].data, paths=WHOLE)

    def read(self, content: Content) -> Any:
        if self._is_as_created(content):
            return super().read(content)
        data = self.stored_data(content)
        return self.default() if data is None else self.decode(data)

    def stored_data(self, content: Content) -> bytes | None:
        found = self.candidates(content)
        return self._shown(self.kept(content), found).data if found else None

    def kept(self, content: Content) -> list[RegisterValue]:
        """All values in the document, hidden ones too."""
        plain = map(beside_causal, content.plain.get(self.stored, ()))
        return [*content.causal.get(self.stored, ()), *plain, *self.created(content)]

    def candidates(self, content: Content) -> list[RegisterValue]:
        return offered(maximal(self.kept(content)))

    def clashes(self, content: Content) -> list[Clash]:
        if self._is_as_created(content):
            return []
        clash = self._clash(self.kept(content))
        return [] if clash is None else [clash]

    def base_data(self, content: Content, among: list[RegisterValue]) -> bytes | Unknown:
        """Value bytes of the common ancestor of concurrent values."""
        return self._base(self.kept(content), among)

    def settlings(self, content: Content) -> Iterator[Settling]:
        """The writes that settled a clash, as far as what they saw is still kept."""
        kept = self.kept(content)
        found = (self.settlement(item, kept) for item in kept)
        yield from (settling for settling in found if settling is not None)

    def settlement(self, item: RegisterValue, kept: list[RegisterValue]) -> Settling | None:
        """What a write settled, as far as what it saw is among the kept values; None where that was no clash."""
        seen = _seen_by(item, kept)
        if len(seen) < 2 or PLAIN_PAST in item.context or _lacks(seen, item.context, kept=kept):
            return None
        clash = self._clash(seen)
        return None if clash is None else Settling(chosen=item, clash=clash)

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        found = self.candidates(content)
        data = codec.encode(value)
        if len(found) == 1 and found[0].data == data:
            return []
        return self._write(content, data, seen=self.kept(content), context=context)

    def supersede(self, content: Content, data: bytes, *, dots: set[Dot], context: WriteContext) -> list[Write]:
        """The writes that settle exactly the candidates ``dots`` by value bytes; later candidates stay."""
        seen = [item for item in self.kept(content) if item.dot in dots]
        return self._write(content, data, seen=seen, context=context)

    def _is_as_created(self, content: Content) -> bool:
        """Whether nobody wrote since the one creation: the common case."""
        return self.stored not in content.causal and self.stored not in content.plain and len(content.creations) == 1

    def _clash(self, kept: list[RegisterValue]) -> Clash | None:
        found = offered(maximal(kept))
        if _agree(found):
            return None
        base = self._base(kept, found)
        merged = self.merge(base, found)
        if not merged.paths:
            return None
        return Clash(
            register=self.stored,
            candidates=found,
            paths=merged.paths,
            base=UNKNOWN if isinstance(base, Unknown) else self.decode(base),
            value=self.decode(merged.data),
        )

    def _shown(self, kept: list[RegisterValue], among: list[RegisterValue]) -> Merged:
        if _agree(among):
            return Merged(data=among[0].data, paths=())
        return self.merge(self._base(kept, among) if self.merges_by_base else UNKNOWN, among)

    def _base(self, kept: list[RegisterValue], among: list[RegisterValue], *, depth: int = 0) -> bytes | Unknown:
        """The greatest kept value in the past of all; of several maximal ones, their own merge, recursively."""
        found = ancestors(kept, among)
        if isinstance(found, Unknown) or may_share_plain(kept, among):
            return UNKNOWN
        if not found:
            return self._default_data()
        found.sort(key=latest_first)
        if _agree(found):
            return found[0].data
        if not self.merges_by_base:
            return self.merge(UNKNOWN, found).data
        below = UNKNOWN if depth == ENTRY_LIMITS.hidden_values_max else self._base(kept, found, depth=depth + 1)
        merged = None if isinstance(below, Unknown) else self.merge(below, found)
        return UNKNOWN if merged is None or merged.too_large else merged.data

    def _default_data(self) -> bytes:
        try:
            return codec.encode(self.default())
        except (UnrepresentableValueError, LimitError):
            return codec.encode(None)  # such as an empty set, which no field can hold

    def _write(self, content: Content, data: bytes, *, seen: list[RegisterValue], context: WriteContext) -> list[Write]:
        values = self.kept(content)
        past = saw(seen)
        known = max(self._floor(content, context.author), saw(values).get(context.author, 0))
        key = map_key(KeyClass.CAUSAL, context.author, field=self.stored, rest=str(known + 1))
        superseded = [item for item in values if item.key and past.get(item.dot.author, -1) >= item.dot.counter]
        superseded.sort(key=latest_first)
        plain, old = [item for item in seen if is_plain(item)], superseded[ENTRY_LIMITS.hidden_values_max :]
        if plain or any(PLAIN_PAST in item.context for item in old):
            past[PLAIN_PAST] = CREATION_COUNTER
        drops: list[Write] = [Drop(item.key) for item in (*plain, *old)]
        return [*drops, Put(key, write_register(context.hlc, past, data))]

    def _floor(self, content: Content, author: Author) -> int:
        """A number that no write of the author's has passed yet, though its values be gone: entries can be removed."""
        return content.state_vector.get(author, 0) if ENTRY_SEPARATOR in self.stored else 0


def may_settle(item: RegisterValue, kept: list[RegisterValue]) -> bool:
    """Whether a write took the place of several values, or of some that are not among the kept ones."""
    seen = _seen_by(item, kept)
    return len(maximal(seen)) > 1 or _lacks(seen, item.context, kept=[*kept, item])


def ancestors(kept: list[RegisterValue], among: list[RegisterValue]) -> list[RegisterValue] | Unknown:
    """The maximal kept values in the past of all candidates; none where nobody wrote before.

    `UNKNOWN` where a write that could be one of them is no longer kept.
    """
    shared = shared_past(among)
    past = [item for item in kept if shared.get(item.dot.author, -1) >= item.dot.counter]
    if _lacks(past, shared, kept=kept):
        return UNKNOWN
    return maximal(past)


def _seen_by(item: RegisterValue, kept: list[RegisterValue]) -> list[RegisterValue]:
    return [other for other in kept if item.context.get(other.dot.author, -1) >= other.dot.counter]


def _lacks(past: list[RegisterValue], shared: Mapping[Author, int], *, kept: list[RegisterValue]) -> bool:
    """Whether a maximal write of a past is no longer kept.

    An author's last write there is one, unless another one saw it; and so may be those before it, since who settles an
    old conflict writes beside what he wrote meanwhile. Where nothing was ever removed that the kept ones did not see,
    numbers that are not there were never given (a device that had to change its author counts on from the old one's).

    Args:
        past: what is kept of it.
        shared: the past, as author → highest counter. Creations, number 0, are never removed.
        kept: all values in the document.
    """
    covered = join(past)
    here: dict[Author, list[int]] = {}
    for item in past:
        here.setdefault(item.dot.author, []).append(item.dot.counter)
    for author, counter in shared.items():
        seen = max(covered.get(author, 0), 0)
        held = [number for number in here.get(author, ()) if number > seen]
        if counter > seen and (counter not in held or (len(held) < counter - seen and not is_whole(kept, covered))):
            return True
    return False


def _agree(values: list[RegisterValue]) -> bool:
    if len({item.data for item in values}) < 2:
        return True
    first, *others = (codec.decode(item.data, named_zones=False) for item in values)
    return all(alike(first, other) for other in others)
