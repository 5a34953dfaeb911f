"""Updates known to crash, hang or mislead the engine, and mutations of honest ones. None of them reaches the engine."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync.core.blocks import Block, Bytes, Content, Deleted, DeleteRange, Format, String, UnitId, Update
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.screening import Screened, screen, screen_content
from crdt_sync.core.update import encode_update, map_insert_update, parse_update
from crdt_sync.core.version import squash
from crdt_sync.errors import LimitError, MalformedEntryError, ScreeningError
from tests.fuzz.entries import claimed_author
from tests.fuzz.kept import kept
from tests.unit.core.devices import Device
from tests.unit.core.hostile import check_engine_agrees, document

REFUSALS = (MalformedEntryError, ScreeningError, LimitError)

KNOWN = kept("updates", files="known.hex")
"""Found by feeding the engine millions of mutated updates; each claims to be of its first block's author."""


def record() -> DocumentIndex:
    """A record of author 7 with a text of 20 units at clocks 1 to 20."""
    index = DocumentIndex()
    data = map_insert_update(
        Author(7), items=[(map_key(KeyClass.CREATION, Author(7)), b"c")], texts=[("tnotes", "twenty units of text")]
    )
    index.apply(screen(data, author=Author(7), index=index, operation=OperationType.CREATE))
    return index


def judge(data: bytes, *, author: int, index: DocumentIndex) -> Screened:
    return screen(data, author=Author(author), index=index, operation=OperationType.UPDATE)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("index", [DocumentIndex(), record()], ids=["empty", "record"])
def test_known_hostile_updates_are_refused(name: str, index: DocumentIndex) -> None:
    data = KNOWN[name]
    author = claimed_author(data)
    before = index.to_bytes()
    with pytest.raises(REFUSALS):
        judge(data, author=author, index=index)
    with pytest.raises(REFUSALS):
        screen_content(data, index=index)
    assert index.to_bytes() == before


def test_twenty_thousand_nested_arrays_are_refused() -> None:
    key = map_key(KeyClass.TOUCH, Author(7)).encode()
    data = b"\x01\x01\x07\x00\x28\x01\x01m" + bytes((len(key),)) + key + b"\x01" + b"\x75\x01" * 20_000 + b"\x7e\x00"
    with pytest.raises(MalformedEntryError):
        judge(data, author=7, index=DocumentIndex())


def test_a_hundred_thousand_authors_of_one_key_are_refused() -> None:
    key = map_key(KeyClass.TOUCH, Author(7))
    blocks = tuple(Block(author, 0, 1, None, None, "m", key, Bytes(b"")) for author in range(1, 100_001))
    data = encode_update(Update(blocks, ()))
    with pytest.raises(LimitError):
        judge(data, author=7, index=DocumentIndex())
    with pytest.raises(ScreeningError):
        screen_content(data, index=DocumentIndex())


def test_a_deletion_of_everything_by_somebody_else_is_refused() -> None:
    touch = Block(9, 0, 1, None, None, "m", map_key(KeyClass.TOUCH, Author(9)), Bytes(b""))
    with pytest.raises(ScreeningError, match="creation"):
        judge(encode_update(Update((touch,), (DeleteRange(7, 0, 21),))), author=9, index=record())


@pytest.mark.parametrize("right", [(7, 1), None], ids=["to a right neighbour", "past rivals"])
def test_blocks_that_each_walk_over_a_scattered_text_cost_bounded_time(right: UnitId | None) -> None:
    index = DocumentIndex()
    blocks = [Block(7, 0, 1, None, None, "m", map_key(KeyClass.CREATION, Author(7)), Bytes(b""))]
    blocks.append(Block(7, 1, 1, None, None, "tnotes", None, String("x")))
    blocks += [Block(7, clock, 1, None, (7, clock - 1), None, None, String("x")) for clock in range(2, 12_000)]
    data = encode_update(Update(tuple(blocks), ()))
    index.apply(screen(data, author=Author(7), index=index, operation=OperationType.CREATE))
    first = Block(5, 0, 1, None, right, None if right else "tnotes", None, String("y"))
    greedy = (first, *(Block(5, clock, 1, (5, clock - 1), right, None, None, String("y")) for clock in range(1, 2_000)))
    before = index.to_bytes()
    with pytest.raises(LimitError):
        judge(encode_update(Update(greedy, ())), author=5, index=index)
    assert index.to_bytes() == before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_give_a_documented_error_or_an_update(data: bytes) -> None:
    index = record()
    for author in (3, 7):
        try:
            judge(data, author=author, index=index)
        except REFUSALS:
            assert index.to_bytes() == record().to_bytes()
    try:
        screen_content(data, index=index)
    except REFUSALS:
        assert index.to_bytes() == record().to_bytes()
    for read in (DocumentIndex.from_bytes, DocumentIndex.from_update, parse_update):
        with suppress(*REFUSALS):
            read(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_accepted_of_mutated_updates_does_the_engine_no_harm(seed: int) -> None:
    rng = random.Random(seed)
    base, author = _two_devices(rng)
    state = base.doc.get_update()
    honest = author.log[-1][3]
    for _ in range(25):
        data = _mutated_bytes(honest, rng) if rng.random() < 0.4 else _mutated_blocks(honest, rng, index=base.index)
        try:
            screened = judge(data, author=author.author, index=base.index)
        except REFUSALS:
            continue
        index = base.index.copy()
        index.apply(screened)
        check_engine_agrees(state, data, index)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_accepted_of_mutated_updates_commutes_with_an_honest_one(seed: int) -> None:
    rng = random.Random(seed)
    base, author = _two_devices(rng)
    other = Device(rng.randint(1, 2**35 - 1))
    for entry in base.log:
        other.receive(entry)
    with other.edit():
        other.insert("notes", rng.random(), "other")
        other.erase("body", rng.random(), 2)
        other.write_plain("title", b"other")
    rival = other.log[-1]
    beside = base.index.copy()
    beside.apply(judge(rival[3], author=rival[0], index=beside))
    state = base.doc.get_update()
    for _ in range(25):
        data = _mutated_blocks(author.log[-1][3], rng, index=base.index)
        try:
            first = judge(data, author=author.author, index=base.index)
        except REFUSALS:
            continue
        alone = base.index.copy()
        alone.apply(first)
        alone.apply(judge(rival[3], author=rival[0], index=alone))
        both = beside.copy()
        both.apply(judge(data, author=author.author, index=both))
        assert both == alone
        assert _texts(state, data, rival[3]) == _texts(state, rival[3], data)


def _two_devices(rng: random.Random) -> tuple[Device, Device]:
    """A device, and another one that is some edits ahead by one entry."""
    base, author = Device(rng.randint(1, 2**34)), Device(rng.randint(2**34 + 1, 2**35 - 1))
    base.create()
    author.pull(base)
    for _ in range(rng.randint(1, 6)):
        base.random_edit(rng)
        author.random_edit(rng)
        base.pull(author)
        author.pull(base)
    with author.edit():
        author.insert("notes", rng.random(), rng.choice(("a", "😀b", "cd")))
        author.insert("notes", rng.random(), "e")
        author.erase("body", rng.random(), 1)
        author.write_plain("title", b"1")
        author.count("votes")
    return base, author


def _mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed.insert(at, rng.randrange(256))
            case _ if len(changed) > 2:
                del changed[at]
            case _:
                pass
    return bytes(changed)


def _mutated_blocks(data: bytes, rng: random.Random, *, index: DocumentIndex) -> bytes:
    def unit() -> UnitId:
        author = rng.choice(list(index.state_vector))
        return author, rng.randrange(index.next_clock(author))

    def mutated(block: Block) -> Block:
        contents: list[Content] = [Deleted(block.length), String("q" * block.length)]
        if block.length == 1:
            contents += [Bytes(b"x"), Format("bold", "true")]
        match rng.randrange(8):
            case 0 | 1 if type(block.content) is not Bytes:
                origin, right = rng.choice((None, unit())), rng.choice((None, unit()))
                root = None if origin or right else "tnotes"
                return block._replace(origin=origin, right_origin=right, root=root, key=None)
            case 2:
                return block._replace(content=rng.choice(contents))
            case 3 if block.root is not None:
                return block._replace(root=rng.choice(("m", "tnotes", "tbody")), key=rng.choice((None, block.key)))
            case _:
                return block

    update = parse_update(data)
    deletes: dict[int, list[tuple[int, int]]] = {}
    for author, start, end in update.deletes:
        deletes.setdefault(author, []).append((start, end))
    for _ in range(rng.randrange(3)):
        author, clock = unit()
        deletes.setdefault(author, []).append((clock, clock + rng.randint(1, 3)))
    ranges = [DeleteRange(author, *pair) for author, pairs in deletes.items() for pair in squash(pairs)]
    return encode_update(Update(tuple(mutated(block) for block in update.blocks), tuple(ranges)))


def _texts(*updates: bytes) -> list[str]:
    return document(*updates)[2]
