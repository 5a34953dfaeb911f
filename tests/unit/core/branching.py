"""Branches of one author told apart: a spike, not part of the package (docs/adr/0018-forks-that-others-built-on.md).

Entries stay as they were signed. What changes is how their engine updates are read: the units that a branch of a forked
author wrote get another engine id, and whatever refers to them follows, also in the entries of others. Which branch an
entry means is told by its causal past alone, since nobody held two branches when it was written.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from crdt_sync.core.blocks import Block, Bytes, DeleteRange, Update
from crdt_sync.core.content import (
    Content,
    parse_content,
    read_register,
    read_tombstone,
    write_register,
    write_tombstone,
)
from crdt_sync.core.document import Document
from crdt_sync.core.entry import SHORT_HASH_BYTES, Entry, EntryOperation, OperationType
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, parsed_key
from crdt_sync.core.placing import Placer
from crdt_sync.core.rewrite import Rewriting, _Spans
from crdt_sync.core.screening import screen, screen_content
from crdt_sync.core.update import encode_update, parse_update
from crdt_sync.core.version import Version, version, version_of_update

Name = bytes
"""An entry, by its chain hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An entry with its place in its author's chain."""

    author: Author
    sequence: int
    name: Name
    before: Name
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Where one author's chain parts.

    Args:
        author: whose.
        at: the last entry that the branches share.
        branches: the first entry of each, in order.
    """

    author: Author
    at: Name
    branches: tuple[Name, ...]


class Past:
    """Entries of any number of branches, and what each of them had seen."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._short = {(node.author, node.sequence, node.name[:SHORT_HASH_BYTES]): node.name for node in nodes}
        self._views: dict[Name, frozenset[Name]] = {}
        followers: dict[tuple[Author, Name], set[Name]] = {}
        for node in self.nodes.values():
            followers.setdefault((node.author, node.before), set()).add(node.name)
        self.forks = [
            Fork(author=author, at=at, branches=tuple(sorted(names)))
            for (author, at), names in sorted(followers.items())
            if len(names) > 1
        ]
        self._starts = {name for fork in self.forks for name in fork.branches}

    def causes(self, node: Node) -> list[Name]:
        """The entries that one says it saw, and the one before it."""
        seen = [self._short[head.author, head.sequence, head.short_hash] for head in node.entry.heads]
        return [name for name in (node.before, *seen) if name in self.nodes]

    def view(self, node: Node) -> frozenset[Name]:
        """The branches (their first entries) in the past of an entry, itself included."""
        found = self._views.get(node.name)
        if found is None:
            found = frozenset((node.name,)) & self._starts
            for cause in self.causes(node):
                found |= self.view(self.nodes[cause])
            self._views[node.name] = found
        return found

    def ordered(self, dice: random.Random) -> list[Node]:
        """All entries in a random order that extends causality."""
        waiting = dict(self.nodes)
        order: list[Node] = []
        while waiting:
            ready = [node for node in waiting.values() if not any(name in waiting for name in self.causes(node))]
            chosen = dice.choice(sorted(ready, key=lambda node: node.name))
            order.append(waiting.pop(chosen.name))
        return order


class Branch(Rewriting):
    """How one branch's units are called in one document, as its entries come in their order.

    Unlike its parent this looks at nothing but what the branch holds, so the outcome is the same wherever it is found.
    """

    def __init__(self, old: Author, new: Author, *, seen: DocumentIndex, prefix: Content) -> None:
        super().__init__(new, seen=seen, content=prefix)
        self._old = old

    def own(self, update: bytes, *, before: DocumentIndex) -> bytes:
        """An update that the forked author wrote on this branch.

        Args:
            update: as it was signed.
            before: what the rewritten updates of the branch, and all that it saw, have made of the document.
        """
        parsed = parse_update(update)
        placer = Placer(before)
        try:
            first, last = parsed.blocks[0], parsed.blocks[-1]
            spans = self._clocks.setdefault(self._old, _Spans())
            spans.add(first.clock, last.clock + last.length, to=placer.next_clock(self._new))
            blocks = tuple([self._own_block(block, placer) for block in parsed.blocks])
            deletes = tuple(sorted(self._deletes(parsed.deletes, placer)))
        finally:
            placer.withdraw()
        return encode_update(Update(blocks, deletes))

    def of_others(self, update: bytes) -> bytes:
        """An update of somebody else who had seen the branch: the same, with its units as they are called now."""
        parsed = parse_update(update)
        blocks = tuple([self._foreign_block(block) for block in parsed.blocks])
        deletes = tuple(sorted(part for item in parsed.deletes for part in self._parts(item)))
        return encode_update(Update(blocks, deletes))

    def _own_block(self, block: Block, placer: Placer) -> Block:
        place = self._seen.find(block.author, block.clock)
        assert place is not None
        if not place.is_text:
            renamed = self._value(block, place.name, placer)
        else:
            origin, right = self._unit(block.origin), self._unit(block.right_origin)
            clock = placer.next_clock(self._new)
            renamed = block._replace(author=self._new, clock=clock, origin=origin, right_origin=right)
        assert placer.place(renamed)
        return renamed

    def _foreign_block(self, block: Block) -> Block:
        place = self._seen.find(block.author, block.clock)
        assert place is not None
        content = block.content
        if not place.is_text and isinstance(content, Bytes):
            key = parsed_key(place.name)
            content = Bytes(self._seen_by_others(key.key_class, key.register, content.value))
        return block._replace(
            origin=self._unit(block.origin), right_origin=self._unit(block.right_origin), content=content
        )

    def _seen_by_others(self, key_class: KeyClass, register: str, data: bytes) -> bytes:
        match key_class:
            case KeyClass.PLAIN | KeyClass.CAUSAL:
                hlc, context, value = read_register(data)
                return write_register(hlc, self._dots.context(register, context), value)
            case KeyClass.TOMBSTONE:
                tombstone = read_tombstone(data)
                return write_tombstone(tombstone._replace(vector=self._vector(tombstone.vector)))
            case KeyClass.TOUCH:
                return self._touch(data)
            case _:
                return data

    def _parts(self, item: DeleteRange) -> Iterable[DeleteRange]:
        spans = self._clocks[self._old].spans if item.author == self._old and self._old in self._clocks else []
        cuts = sorted({item.start, item.end, *(edge for span in spans for edge in span[:2])})
        for start, end in pairwise(cuts):
            if item.start <= start and end <= item.end:
                author, first = self.renamed((item.author, start))
                yield DeleteRange(author, first, first + end - start)


class Shown:
    """A document under construction: on the engine, and as screening sees it.

    Args:
        folded: what was folded of it, if anything was.
    """

    def __init__(self, folded: bytes | None = None) -> None:
        self.index = DocumentIndex()
        self._engine = Document(Author(1))
        if folded is not None:
            self.index.apply(screen_content(folded, index=self.index))
            self._engine.apply(folded)

    def take(self, update: bytes, *, author: Author, operation: OperationType) -> None:
        """Apply an update, if screening lets it through as it would from a stranger."""
        self.index.apply(screen(update, author=author, index=self.index, operation=operation))
        self._engine.apply(update)

    def version(self) -> Version:
        """Names the content."""
        return version(self.index.state_vector, self.index.delete_set)

    def picture(self, *texts: str) -> tuple[object, ...]:
        """All of it; equal documents have equal pictures."""
        assert version_of_update(self._engine.encode()) == self.version()
        cells = sorted(self._engine.cells().items())
        return self.version(), cells, [self._engine.text(name) for name in texts]

    def content(self, *texts: str) -> Content:
        """What it holds."""
        shown = {name: self._engine.text(name) for name in texts}
        return parse_content(self._engine.cells(), shown, self.index.edited)


class Settled:
    """The documents of a past in which branches are told apart.

    Args:
        past: the entries.
        called: the new author of each branch, by its first entry; a branch that is not in it keeps its author.
        folded: documents as they were where the entries begin, none of which is on a branch.
    """

    def __init__(
        self, past: Past, called: Mapping[Name, Author], *, folded: Mapping[DocumentKey, bytes] | None = None
    ) -> None:
        self._past = past
        self._called = called
        self._folded = folded or {}
        self._forked = {branch: fork for fork in past.forks for branch in fork.branches}
        self._branches: dict[tuple[Name, DocumentKey], Branch] = {}
        self._worlds: dict[tuple[Name, DocumentKey], Shown] = {}
        self.documents = {key: Shown(data) for key, data in self._folded.items()}

    def take(self, nodes: Iterable[Node]) -> None:
        """Take entries in, causes before effects."""
        for node in nodes:
            view = self._past.view(node)
            for operation in node.entry.operations:
                self._take(node, operation, view)

    def _take(self, node: Node, operation: EntryOperation, view: frozenset[Name]) -> None:
        key, author, update = operation.document, node.author, operation.update
        shown = self.documents.setdefault(key, Shown())
        for branch in self._called if not view else view & self._called.keys():
            fork = self._forked[branch]
            is_own = bool(view) and author == fork.author
            world = self._worlds.setdefault((branch, key), Shown(self._folded.get(key)))
            before = world.content() if is_own and (branch, key) not in self._branches else None
            world.take(operation.update, author=node.author, operation=operation.type)
            if not view:
                continue
            if before is not None:
                called = self._called[branch]
                self._branches[branch, key] = Branch(fork.author, called, seen=world.index, prefix=before)
            told_apart = self._branches.get((branch, key))
            if told_apart is not None and is_own:
                author, update = self._called[branch], told_apart.own(update, before=shown.index)
            elif told_apart is not None:
                update = told_apart.of_others(update)
        shown.take(update, author=author, operation=operation.type)
