"""Choices take the place of what somebody saw, and of nothing that came since: the writes of such a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crdt_sync.core import codec
from crdt_sync.core.blocks import UnitId
from crdt_sync.core.content import Content, Creation, RegisterValue
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import CausalRegister, PlainRegister, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key


def shows_only(register: PlainRegister, content: Content, value: object) -> bool:
    """Whether a register has one value, and it is this one."""
    found = register.candidates(content)
    return len(found) == 1 and found[0].data == codec.encode(value)


class Sight:
    """What one reader had seen of a document.

    Args:
        seen: author → next clock, as it was read.
        own: the reader's author, whose later writes he knows.
        last: key → the last unit written under it (`DocumentIndex.last`).
    """

    def __init__(self, *, seen: Mapping[Author, int], own: Author, last: Mapping[str, UnitId]) -> None:
        self._seen = seen
        self._own = own
        self._last = last

    def choose(self, register: PlainRegister, content: Content, value: object, *, context: WriteContext) -> list[Write]:
        """The writes that put a value in the place of those of a register that were seen; others stay beside it.

        Args:
            register: a field's, or that of an entry of a map; no semilattice.
            content: the document's, as it is now.
            value: what was chosen.
            context: who writes, and when.
        """
        data = codec.encode(value)
        if not isinstance(register, CausalRegister):
            return register.put(self._of(content, register.stored), data, context=context)
        dots = {item.dot for item in register.kept(content) if self._has(item)}
        return register.supersede(content, data, dots=dots, context=context)

    def _of(self, content: Content, register: str) -> Content:
        """A content with those values of one register alone that were seen."""
        groups = (
            {register: list(filter(self._has, held.get(register, ())))} for held in (content.plain, content.causal)
        )
        plain, causal = ({name: values for name, values in group.items() if values} for group in groups)
        creations = [item for item in content.creations if self._saw(_creation_key(item), item.author)]
        return replace(content, plain=plain, causal=causal, creations=creations)

    def _has(self, item: RegisterValue) -> bool:
        return self._saw(item.key or map_key(KeyClass.CREATION, item.dot.author), item.dot.author)

    def _saw(self, key: str, author: Author) -> bool:
        return author == self._own or (key in self._last and self._last[key][1] < self._seen.get(author, 0))


def _creation_key(creation: Creation) -> str:
    return map_key(KeyClass.CREATION, creation.author)
