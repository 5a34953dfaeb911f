"""A spike: can a branch be ended, and what was written on it be written again, under other authors?

Not by each author for itself: it can write again only what refers to nothing of another author that is void as well.
In the order of causes, under one new author, all of it can (docs/adr/0018-forks-that-others-built-on.md).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, DocumentKey, RecordId, document_key
from crdt_sync.core.rewrite import Rewriting
from crdt_sync.errors import EntryError
from tests.unit.core.branching import Node, Past, Settled, Shown
from tests.unit.replica.devices import ACTS
from tests.unit.replica.test_branches import Branches, nodes_of, totals_of

HISTORIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An update that its author wrote again."""

    author: Author
    type: OperationType
    document: DocumentKey
    update: bytes


class Ended:
    """A past of two branches, one of which is ended: what rests on it counts for nothing until it is written again.

    Args:
        past: all entries.
        ended: the first entry of the branch that is ended.
    """

    def __init__(self, past: Past, *, ended: bytes) -> None:
        order = past.ordered(random.Random(0))
        self.void = [node for node in order if ended in past.view(node)]
        self.kept = [node for node in order if ended not in past.view(node)]
        self.branch = Settled(past, {})
        """What those who hold the branch saw."""
        self.branch.take(node for node in order if not past.view(node) - {ended})
        self.authors = sorted({node.author for node in self.void})
        self.shared = [node for node in self.kept if not past.view(node)]
        self.stays = [node for node in self.kept if past.view(node)]
        """Of what is kept, what both branches have, and what the one that stays has alone."""

    def rest(self) -> dict[DocumentKey, Shown]:
        """The documents without what is void."""
        documents: dict[DocumentKey, Shown] = {}
        take(documents, as_written(self.kept))
        return documents

    def write_again(self, author: Author, nodes: Iterable[Node], *, under: Author) -> Iterator[Again]:
        """What one author makes of its own void entries, by itself, on its own device.

        Raises:
            EntryError: one refers to what is not there.
        """
        yield from written(
            [node for node in nodes if node.author == author], self.rest(), seen=self.branch.documents, under=under
        )

    def write_all_again(self, *, under: Author) -> dict[DocumentKey, Shown]:
        """The documents of the branch, with every void entry written again in the order of causes.

        The branch that stays comes in behind that, as it does today for one's own unsent branch.
        """
        documents: dict[DocumentKey, Shown] = {}
        take(documents, as_written(self.shared))
        for _ in written(self.void, documents, seen=self.branch.documents, under=under):
            continue
        return documents


def written(
    nodes: Iterable[Node], documents: dict[DocumentKey, Shown], *, seen: Mapping[DocumentKey, Shown], under: Author
) -> Iterator[Again]:
    """Write entries again into documents, one after the other."""
    rewritings: dict[DocumentKey, Rewriting] = {}
    for node in nodes:
        for item in node.entry.operations:
            key = item.document
            shown = documents.setdefault(key, Shown())
            if key not in rewritings:
                rewritings[key] = Rewriting(under, seen=seen[key].index, content=shown.content())
            update = rewritings[key].rewrite(item.update, index=shown.index)
            shown.take(update, author=under, operation=item.type)
            yield Again(author=under, type=item.type, document=key, update=update)


def as_written(nodes: Iterable[Node]) -> Iterator[Again]:
    for node in nodes:
        for item in node.entry.operations:
            yield Again(author=node.author, type=item.type, document=item.document, update=item.update)


def take(documents: dict[DocumentKey, Shown], updates: Iterable[Again]) -> None:
    for item in updates:
        shown = documents.setdefault(item.document, Shown())
        shown.take(item.update, author=item.author, operation=item.type)


def ended(world: Branches) -> Ended:
    """A world's second branch, given up."""
    past = Past([node for replica in world.everybody for node in nodes_of(replica)])
    (fork,) = past.forks
    held = {node.name for node in nodes_of(world.peers[1][0])}
    return Ended(past, ended=next(branch for branch in fork.branches if branch in held))


def written_again(world: Branches) -> tuple[dict[Author, list[Again]], dict[Author, str]]:
    """What each author has written again, and why those who could not did not, by the old author."""
    given_up = ended(world)
    again: dict[Author, list[Again]] = {}
    stuck: dict[Author, str] = {}
    for at, author in enumerate(given_up.authors):
        try:
            again[author] = list(given_up.write_again(author, given_up.void, under=Author(1000 + at)))
        except EntryError as error:
            stuck[author] = error.message
    return again, stuck


def test_an_author_alone_writes_again_all_that_it_wrote(tmp_path: Path) -> None:
    """As a device does today with what it has sent to nobody."""
    with Branches(tmp_path, count=2) as world:
        name = world.start()
        world.branch(0, name, [])
        world.branch(1, name, [(0, "insert"), (0, "cut"), (0, "due 1"), (0, "add"), (0, "count"), (0, "discard")])
        again, stuck = written_again(world)
        assert not stuck
        documents = ended(world).rest()
        take(documents, [item for items in again.values() for item in items])
        key = document_key(DEFAULT_PARTITION, "Task", RecordId(name))
        shown, before = documents[key].content("notes"), ended(world).branch.documents[key].content("notes")
        assert shown.texts == before.texts
        assert shown.sets.keys() == before.sets.keys()


@pytest.mark.parametrize("item", ["cut", "due 2", "discard", "delete"])
def test_what_refers_to_a_void_entry_of_another_author_cannot_be_written_again(tmp_path: Path, item: str) -> None:
    """It waits for that author: until it returns, or for ever, those who showed it show it no more."""
    with Branches(tmp_path, count=2) as world:
        name = world.start()
        world.branch(0, name, [])
        world.branch(1, name, [(6, "insert"), (6, "due 1"), (6, "add"), (1, item)])
        _, stuck = written_again(world)
        assert set(stuck.values()) & {
            "an update that refers to content which is not there",
            "a causal that says it saw what is not there",
            "a tombstone that says it saw what is not there",
        }


def test_every_other_short_history_comes_to_this_unless_it_is_written_in_the_order_of_causes(tmp_path: Path) -> None:
    """Three devices and eight steps on the branch that is ended, three on the other; figures are in the decision."""
    dice = random.Random(1)
    acts = [*sorted(ACTS), "undo", "create"]
    came = 0
    for at in range(HISTORIES):
        place = tmp_path / str(at)
        place.mkdir()
        with Branches(place, count=2) as world:
            name = world.start()
            for branch, count in enumerate((3, 8)):
                world.branch(branch, name, [(dice.randrange(9), dice.choice(acts)) for _ in range(count)])
            came += bool(written_again(world)[1])
            given_up = ended(world)
            documents = given_up.write_all_again(under=Author(1000))
            for key, before in given_up.branch.documents.items():
                content, again = before.content("notes"), documents[key].content("notes")
                assert again.texts == content.texts
                assert totals_of(again) == totals_of(content)
                assert again.is_live("edit_wins") == content.is_live("edit_wins")
            take(documents, as_written(given_up.stays))
            assert all(shown.picture("notes") for shown in documents.values())
    assert came >= HISTORIES // 3
