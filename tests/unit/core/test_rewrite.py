"""Updates of several authors of one's own brought under one new author: acceptable, and the same to look at."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync import Counter, Model, Set, Text, ask
from crdt_sync.core import codec
from crdt_sync.core.blocks import Bytes, DeleteRange
from crdt_sync.core.content import Content, Tombstone, parse_content, read_tombstone, write_creation, write_tombstone
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds import CounterKind, Drop, Put, SetKind, Write, WriteContext
from crdt_sync.core.layout import KeyClass, MapKey, parse_map_key
from crdt_sync.core.model import spec_of
from crdt_sync.core.rewrite import Rewriting
from crdt_sync.core.update import encode_update, parse_update
from crdt_sync.errors import MalformedEntryError, ScreeningError
from tests.unit.core.devices import TEXTS, Device, Entry

NEW = Author(2**35 - 5)


class Note(Model):
    title: str = "untitled"
    state: str | None = ask(default=None)
    votes: Counter
    tags: Set[str]
    notes: Text
    body: Text


KINDS = spec_of(Note).fields
VOTES, TAGS = CounterKind("votes"), SetKind("tags", str)


class Writer(Device):
    """A device whose values are those that the field kinds write."""

    def __init__(self, author: int, *, ticks: Iterator[int]) -> None:
        super().__init__(author)
        self._ticks = ticks

    @property
    def content(self) -> Content:
        cells = {key: bytes(value) for key, value in self.map.items()}
        texts = {name: str(self.texts[name]) for name in TEXTS}
        return parse_content(cells, texts, self.index.state_vector)

    def view(self) -> dict[str, Any]:
        """All that a user sees, and what a conflict would show."""
        content = self.content
        seen: dict[str, Any] = {name: kind.read(content) for name, kind in KINDS.items()}
        for name in ("title", "state"):
            kind = KINDS[name]
            candidates = kind.candidates(content)
            seen[f"candidates of {name}"] = [(item.hlc, item.data) for item in candidates]
            clashes = kind.clashes(content)
            seen[f"clash of {name}"] = [item.data for clash in clashes for item in clash.candidates]
            seen[f"base of {name}"] = [clash.base for clash in clashes]
        return {**seen, "live": content.is_live("edit_wins")}

    def create(self) -> None:
        with self.edit(OperationType.CREATE):
            self.map[self.key(KeyClass.CREATION)] = write_creation(next(self._ticks), {"title": "t", "state": None})

    def write_plain(self, field: str, value: bytes) -> None:
        del field
        self._write(KINDS["title"].assign(self.content, value.hex(), context=self._context()))

    def write_causal(self, field: str, value: bytes, *, keep: int = 1) -> None:
        del field, keep
        self._write(KINDS["state"].assign(self.content, value.hex(), context=self._context()))

    def count(self, field: str) -> None:
        self._write(VOTES.add(self.content, 1 + len(field), context=self._context()))

    def add(self, field: str, element: str) -> None:
        self._write(TAGS.add([element], context=self._context()))

    def remove(self, field: str, element: str) -> None:
        self._write(TAGS.remove(self.content, [element]))

    def delete_record(self) -> None:
        self.restore()
        vector = {Author(author): clock for author, clock in self.index.state_vector.items()}
        vector[self.author] = vector.get(self.author, 0) + 1
        self.map[self.key(KeyClass.TOMBSTONE)] = write_tombstone(Tombstone(next(self._ticks), vector))

    def random_edit(self, rng: random.Random) -> None:
        """One transaction: a value, or up to three changes of texts."""
        for _ in range(20):
            with self.edit():
                match rng.randrange(8):
                    case 0:
                        self.write_plain("title", rng.randbytes(1))
                    case 1:
                        self.write_causal("state", rng.randbytes(1))
                    case 2:
                        self.count("votes")
                    case 3:
                        self.add("tags", rng.choice("pq"))
                    case 4:
                        self.remove("tags", rng.choice("pq"))
                    case 5:
                        self.restore() if rng.random() < 0.7 else self.delete_record()
                    case _:
                        for _ in range(rng.randint(1, 3)):
                            self._random_text(rng)
            if self.log and self.log[-1][0] == self.author:
                return

    def _random_text(self, rng: random.Random) -> None:
        name = rng.choice(TEXTS)
        match rng.randrange(4):
            case 0:
                self.format(name, rng.random(), rng.randint(1, 4), {"bold": True})
            case 1:
                self.erase(name, rng.random(), rng.randint(1, 4))
            case _:
                self.insert(name, rng.choice((0.0, 0.5, 1.0)), rng.choice(("a", "bc", "é😀", "def")))

    def _context(self) -> WriteContext:
        return WriteContext(author=self.author, hlc=next(self._ticks))

    def _write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            if isinstance(write, Put):
                self.map[write.key] = write.data
            elif isinstance(write, Drop):
                del self.map[write.key]


class Rotation:
    """What others get of a device after its unsent entries, of several authors of its own, went under a new one."""

    def __init__(self, device: Writer, *, own: set[Author], sent: int) -> None:
        self.there = Writer(5, ticks=itertools.count())
        unsent: list[Entry] = []
        for entry in device.log:
            if entry[0] in own and (entry[0] != device.log[0][0] or entry[1] >= sent):
                unsent.append(entry)
            else:
                self.there.receive(entry)
        rewriting = Rewriting(NEW, seen=device.index, content=self.there.content)
        for number, (_, _, operation, update) in enumerate(unsent):
            rewritten = rewriting.rewrite(update, index=self.there.index)
            self.there.receive((NEW, number, operation, rewritten))


@pytest.fixture
def ticks() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def device(ticks: Iterator[int]) -> Writer:
    made = Writer(7, ticks=ticks)
    made.create()
    with made.edit():
        made.insert("notes", 0, "shared ")
        made.write_plain("title", b"sent")
        made.count("votes")
        made.add("tags", "p")
    return made


def rotated(device: Writer, *, own: Iterable[int] = (7,)) -> Writer:
    """The document at others, where they had the first two entries; it looks as it did."""
    there = Rotation(device, own={Author(author) for author in own}, sent=2).there
    assert there.view() == device.view()
    return there


def cells(device: Writer) -> list[tuple[MapKey, bytes]]:
    return [(parse_map_key(key), bytes(value)) for key, value in device.map.items()]


def keys(device: Writer, key_class: KeyClass) -> list[tuple[str, Author]]:
    return sorted((key.rest, key.author) for key, _ in cells(device) if key.key_class is key_class)


def following(device: Writer, author: int) -> Writer:
    """The same store under its next author."""
    after = Writer(author, ticks=device._ticks)
    after.pull(device)
    return after


def test_text_keeps_its_place(device: Writer) -> None:
    with device.edit():
        device.insert("notes", 1.0, "😀 unsent")
        device.insert("notes", 0.0, ">")
    device = following(device, 8)
    with device.edit():
        device.insert("notes", 1.0, " more")
        device.erase("notes", 0.0, 3)
        device.format("notes", 0.5, 3, {"bold": True})
    there = rotated(device, own=(7, 8))
    assert {block.author for entry in there.log[2:] for block in parse_update(entry[3]).blocks} == {NEW}


def test_a_rival_at_the_same_place_does_not_move_what_was_seen(device: Writer, ticks: Iterator[int]) -> None:
    rival = following(device, 9)
    with rival.edit():
        rival.insert("notes", 0.0, "rival")
    with device.edit():
        device.insert("notes", 0.0, "own")
    device.pull(rival)
    assert str(device.texts["notes"]) == "ownrivalshared ", "the smaller author stands first, and the new one is larger"
    device = following(device, 8)
    with device.edit():
        device.insert("notes", 3 / 15, "|")
        device.insert("notes", 0.0, "^")
    assert str(rotated(device, own=(7, 8)).texts["notes"]) == "^own|rivalshared "


def test_values_move_to_the_new_authors_keys(device: Writer) -> None:
    with device.edit():
        device.write_plain("title", b"unsent")
        device.add("tags", "p")
        device.add("tags", "q")
    device = following(device, 8)
    with device.edit():
        device.write_plain("title", b"later")
        device.add("tags", "q")
    with device.edit():
        device.delete_record()
    there = rotated(device, own=(7, 8))
    assert keys(there, KeyClass.PLAIN) == [("", NEW)]
    assert {author for _, author in keys(there, KeyClass.SET)} == {NEW}
    assert keys(there, KeyClass.TOMBSTONE) == [("", NEW)]
    (tombstone,) = (read_tombstone(value) for key, value in cells(there) if key.key_class is KeyClass.TOMBSTONE)
    assert tombstone.vector == there.index.state_vector


def test_totals_of_several_authors_add_up_and_what_was_sent_stays(device: Writer) -> None:
    sent = VOTES.read(device.content)
    for author in (7, 8, 11):
        device = device if author == 7 else following(device, author)
        for _ in range(2):
            with device.edit():
                device.count("votes")
    there = rotated(device, own=(7, 8, 11))
    assert there.content.counters["votes"] == {7: sent, NEW: 6 * sent}


def test_writes_of_a_register_with_a_context_are_counted_anew(device: Writer) -> None:
    for author in (7, 8):
        device = device if author == 7 else following(device, author)
        for _ in range(2):
            with device.edit():
                device.write_causal("state", bytes((author,)) * 2)
                device.write_causal("state", bytes((author,)))
    there = rotated(device, own=(7, 8))
    found = {item.dot.counter: dict(item.context) for item in there.content.causal["state"]}
    assert found == {counter: {7: 0} if counter == 1 else {7: 0, NEW: counter - 1} for counter in range(1, 9)}


def test_a_creation_moves_with_what_was_written_after_it(ticks: Iterator[int]) -> None:
    device = Writer(7, ticks=ticks)
    device.create()
    with device.edit():
        device.write_plain("title", b"1")
    device = following(device, 8)
    with device.edit():
        device.write_plain("title", b"2")
        device.write_causal("state", b"2")
    there = Rotation(device, own={Author(7), Author(8)}, sent=0).there
    assert there.view() == device.view()
    assert keys(there, KeyClass.CREATION) == [("", NEW)]
    ((item,), (asked,)) = there.content.plain["title"], there.content.causal["state"]
    assert item.context == asked.context == {NEW: 0}
    assert there.log[0][2] is OperationType.CREATE


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), authors=st.integers(1, 3), created_before=st.booleans(), rivals=st.booleans())
def test_any_history_is_acceptable_and_looks_the_same(
    seed: int, authors: int, created_before: bool, rivals: bool
) -> None:
    rng, ticks = random.Random(seed), itertools.count(1)
    own = [Author(rng.randint(1, 2**35 - 9)) for _ in range(authors)]
    device, rival = Writer(own[0], ticks=ticks), Writer(rng.randint(1, 2**35 - 9), ticks=ticks)
    device.create()
    sent = 0
    if created_before:
        for _ in range(rng.randint(0, 5)):
            device.random_edit(rng)
            rival.pull(device)
            rival.random_edit(rng)
            device.pull(rival)
        sent = sum(entry[0] == own[0] for entry in device.log)
    met = bool(rival.log) and rivals
    for number, author in enumerate(own):
        device = device if number == 0 else following(device, author)
        for _ in range(rng.randint(1, 5)):
            device.random_edit(rng)
            if met and rng.random() < 0.5:
                rival.random_edit(rng)
                device.pull(rival)
    there = Rotation(device, own=set(own), sent=sent).there
    assert there.view() == device.view()
    built = DocumentIndex.from_update(there.doc.get_update())
    there.index.pairs = built.pairs
    assert there.index == built
    blocks = [block for entry in there.log if entry[0] == NEW for block in parse_update(entry[3]).blocks]
    assert {block.author for block in blocks} <= {NEW}
    if met:
        rival.random_edit(rng)
        there.pull(rival)
        rival.pull(there)
        assert there.view() == rival.view()


def test_deletions_are_joined_again(device: Writer) -> None:
    with device.edit():
        device.insert("notes", 1.0, "abc")
    with device.edit():
        device.erase("notes", 0.5, 9)
    deletes = parse_update(rotated(device).log[-1][3]).deletes
    assert all(isinstance(item, DeleteRange) for item in deletes)
    assert deletes == tuple(sorted(set(deletes)))
    assert {item.author for item in deletes} == {device.author, NEW}


def test_only_updates_that_go_on_where_the_last_one_ended(device: Writer) -> None:
    for _ in range(2):
        with device.edit():
            device.insert("notes", 1.0, "x")
    before = following(device, 3)
    rewriting = Rewriting(NEW, seen=device.index, content=device.content)
    with pytest.raises(ScreeningError, match="go on"):
        rewriting.rewrite(device.log[3][3], index=DocumentIndex())
    with pytest.raises(ScreeningError, match="earlier authors"):
        Rewriting(device.author, seen=device.index, content=before.content).rewrite(
            device.log[0][3], index=DocumentIndex()
        )


def test_an_update_that_refers_to_what_is_not_there(device: Writer) -> None:
    with device.edit():
        device.insert("notes", 1.0, "x")
    here = Writer(5, ticks=itertools.count())
    here.receive(device.log[0])
    rewriting = Rewriting(NEW, seen=here.index, content=here.content)
    with pytest.raises(ScreeningError):
        rewriting.rewrite(device.log[1][3], index=here.index)


def test_a_total_that_is_no_number(device: Writer) -> None:
    with device.edit():
        device.count("votes")
    update = parse_update(device.log[2][3])
    block = update.blocks[0]._replace(content=Bytes(codec.encode("three")))
    there = Writer(5, ticks=itertools.count())
    for entry in device.log[:2]:
        there.receive(entry)
    rewriting = Rewriting(NEW, seen=device.index, content=there.content)
    with pytest.raises(MalformedEntryError, match="total"):
        rewriting.rewrite(encode_update(update._replace(blocks=(block,))), index=there.index)
