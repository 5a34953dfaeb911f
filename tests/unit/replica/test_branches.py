"""A spike: can branches of one author, on which others have built, be told apart alike by everybody?"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.core.content import Content, RegisterValue
from crdt_sync.core.entry import decode_entry, next_hash, split_entries
from crdt_sync.core.ids import AUTHOR_MAX, DEFAULT_PARTITION, Author, DocumentKey, RecordId, document_key
from crdt_sync.core.model import bind
from crdt_sync.errors import RecordDeletedError, ScreeningError
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import unpack_log_row
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.core.branching import Name, Node, Past, Settled
from tests.unit.replica.devices import ACTS, Task, memory, state_of, store_of
from tests.unit.replica.test_forks import Machine, author_of


def nodes_of(replica: Replica) -> Iterator[Node]:
    for _, data in store_of(replica).scan(Table.LOG):
        row = unpack_log_row(data)
        assert row.author != CONTENT_AUTHOR
        before = state_of(replica).ledger.hash_at(row.partition, row.author, row.first - 1)
        for sequence, entry in enumerate(split_entries(row.body), row.first):
            assert before is not None
            name = next_hash(before, entry)
            yield Node(author=row.author, sequence=sequence, name=name, before=before, entry=decode_entry(entry))
            before = name


def act(replica: Replica, name: str, *acts: str) -> None:
    for item in acts:
        with contextlib.suppress(RecordDeletedError):
            key = document_key(DEFAULT_PARTITION, "Task", RecordId(name))
            if item == "undo":
                replica.undo()
            elif item == "create":
                replica.create(Task, title="more", notes="more", votes=1, due="2025-03-03")
            else:
                ACTS[item](replica, bind(Task, replica._records, key))


class Branches:
    """A machine that is taken back again and again, with two peers for each of its branches."""

    def __init__(self, place: Path, *, count: int) -> None:
        self.machine = Machine(place)
        self.peers = [(memory(60 + 2 * at), memory(61 + 2 * at)) for at in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.everybody:
            replica.close()

    @property
    def everybody(self) -> list[Replica]:
        return [replica for pair in self.peers for replica in pair]

    def start(self, *acts: str) -> str:
        with self.machine.on() as replica:
            name = replica.create(Task, title="t", notes="n😀n", tags=["x"], votes=1).id
            act(replica, name, *acts)
            for peer in self.everybody:
                exchange(replica, peer)
            self.author = author_of(replica)
            self.shared = {node.name for node in nodes_of(replica)}
            key = document_key(DEFAULT_PARTITION, "Task", RecordId(name))
            self.folded = {key: state_of(replica).documents.get(key).encode()}
        self.machine.remember()
        return name

    def branch(self, at: int, name: str, steps: list[tuple[int, str]]) -> None:
        """Write on one branch.

        Args:
            at: whose peers hold it.
            name: of the record.
            steps: who (0 the machine, 1 and 2 its peers; from 3 and 6 on, telling the next ones) does what.
        """
        self.machine.rewind()
        near, far = self.peers[at]
        with self.machine.on() as replica:
            who = (replica, near, far)
            replica.create(Task, title=f"branch {at}")
            for writer, item in steps:
                act(who[writer % 3], name, item)
                if writer >= 3:
                    exchange(replica, near)
                if writer >= 6:
                    exchange(near, far)
            for _ in range(2):
                exchange(replica, near)
                exchange(near, far)


def picture_of(settled: Settled) -> dict[DocumentKey, object]:
    return {key: shown.picture("notes") for key, shown in settled.documents.items()}


def clocks_of(settled: Settled, key: DocumentKey) -> dict[int, int]:
    shown = settled.documents.get(key)
    return {} if shown is None else dict(shown.index.state_vector)


STEPS = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([*sorted(ACTS), "undo", "create"])), max_size=8)


@settings(max_examples=25, deadline=None)
@given(
    shared=st.lists(st.sampled_from(sorted(ACTS)), max_size=4),
    branches=st.lists(STEPS, min_size=2, max_size=3),
    seed=st.integers(0, 2**32),
    all_renamed=st.booleans(),
)
def test_branches_on_which_others_built_are_told_apart_alike(
    *, shared: list[str], branches: list[list[tuple[int, str]]], seed: int, all_renamed: bool
) -> None:
    """Whatever the order, what was signed reads the same; one branch may keep its author's name, or none."""
    with tempfile.TemporaryDirectory() as place, Branches(Path(place), count=len(branches)) as world:
        name = world.start(*shared)
        for at, steps in enumerate(branches):
            world.branch(at, name, steps)
        past = Past([node for replica in world.everybody for node in nodes_of(replica)])
        (fork,) = past.forks
        assert fork.author == world.author
        assert len(fork.branches) == len(branches)
        called = {branch: Author(fork.author + at) for at, branch in enumerate(fork.branches, all_renamed) if at}
        dice = random.Random(seed)
        settled = Settled(past, called)
        settled.take(past.ordered(dice))
        assert pictures_of(settled) == pictures_of(after(past.ordered(dice), past, called))
        branched = [node for node in past.ordered(dice) if node.name not in world.shared]
        folded = after(branched, past, called, world.folded)
        assert pictures_of(settled) == pictures_of(folded)
        alone = [settled_alone(past, called, near) for near, _ in world.peers]
        for (near, _), branch in zip(world.peers, alone, strict=True):
            shows_the_same(branch, near)
        nothing_lost_or_doubled(settled, alone, document_key(DEFAULT_PARTITION, "Task", RecordId(name)))


def after(
    nodes: Iterable[Node], past: Past, called: Mapping[Name, Author], folded: Mapping[DocumentKey, bytes] | None = None
) -> Settled:
    settled = Settled(past, called, folded=folded)
    settled.take(nodes)
    return settled


def pictures_of(settled: Settled) -> dict[DocumentKey, object]:
    return {key: shown.picture("notes") for key, shown in settled.documents.items()}


def settled_alone(past: Past, called: Mapping[Name, Author], peer: Replica) -> Settled:
    return after(nodes_of(peer), past, called)


def shows_the_same(settled: Settled, peer: Replica) -> None:
    """One branch without the others looks as it did to those who hold it, whatever it is called."""
    for key, shown in settled.documents.items():
        held = state_of(peer).documents.get(key).content(("notes",))
        content = shown.content("notes")
        assert content.texts == held.texts
        assert totals_of(content) == totals_of(held)
        assert content.is_live("edit_wins") == held.is_live("edit_wins")
        assert {field: items.keys() for field, items in content.sets.items()} == {
            field: items.keys() for field, items in held.sets.items()
        }
        for ours, theirs in ((content.plain, held.plain), (content.causal, held.causal)):
            assert values_of(ours) == values_of(theirs)


def totals_of(content: Content) -> dict[str, int]:
    return {field: sum(totals.values()) for field, totals in content.counters.items()}


def values_of(registers: dict[str, list[RegisterValue]]) -> dict[str, list[tuple[int, bytes]]]:
    return {field: sorted((value.hlc, value.data) for value in values) for field, values in registers.items()}


def nothing_lost_or_doubled(settled: Settled, alone: list[Settled], key: DocumentKey) -> None:
    """Every unit of every branch is there, once: each author's clocks end where they ended."""
    ends: dict[int, int] = {}
    for branch in alone:
        for author, clock in clocks_of(branch, key).items():
            ends[author] = max(clock, ends.get(author, 0))
    assert clocks_of(settled, key) == ends
    assert len(settled.documents) == len({key for branch in alone for key in branch.documents})


def test_only_a_neighbouring_name_keeps_texts_as_they_were(tmp_path: Path) -> None:
    """Rivals at one place stand in the order of their authors, and others have written between them since."""
    with Branches(tmp_path, count=2) as world:
        name = world.start()
        near, _ = world.peers[0]
        with world.machine.on() as replica:
            replica.get(Task, name).notes.insert(1, "mine")
            near.get(Task, name).notes.insert(1, "theirs")
            exchange(replica, near)
            near.get(Task, name).notes.insert(1 + min(len(part) for part in ("mine", "theirs")), "|")
            near.get(Task, name).notes.insert(str(near.get(Task, name).notes).index("mine") + 1, "-")
        world.branch(1, name, [])
        before = str(near.get(Task, name).notes)
        past = Past([node for replica in world.everybody for node in nodes_of(replica)])
        (fork,) = past.forks
        assert text_as(past, near, name, Author(fork.author + 1)) == before
        assert text_as(past, near, name, Author(fork.author - 1)) == before
        others = {text_as(past, near, name, author) for author in (Author(1), Author(AUTHOR_MAX - 1))}
        assert others != {before}


def text_as(past: Past, peer: Replica, name: str, author: Author) -> str:
    """The text of a branch if it is called so; empty where screening refuses what others wrote on it."""
    names = {node.name for node in nodes_of(peer)}
    called = {branch: author for fork in past.forks for branch in fork.branches if branch in names}
    try:
        settled = settled_alone(past, called, peer)
    except ScreeningError:
        return ""
    return settled.documents[document_key(DEFAULT_PARTITION, "Task", RecordId(name))].content("notes").texts["notes"]
