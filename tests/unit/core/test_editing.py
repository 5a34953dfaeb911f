"""Changes of the map root that are made without the engine are those that the engine would make."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

import pytest
from pycrdt import Doc, Map

from crdt_sync.core import codec
from crdt_sync.core.blocks import CLOCK_MAX, DOCUMENT_BOUNDS, Update
from crdt_sync.core.content import Content, edited_content, parse_content, write_context, write_creation, write_register
from crdt_sync.core.editing import edit_map, merge_map
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds.base import Drop, Put
from crdt_sync.core.layout import KeyClass, map_key, parse_map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.screening import screen
from crdt_sync.core.update import encode_update, map_insert_update, parse_update
from crdt_sync.core.version import version, version_of_update
from crdt_sync.errors import EntryError, LimitError, MalformedEntryError, ScreeningError
from tests.unit.core.devices import FIELDS, Device

AUTHOR = Author(7)
UPDATE, CREATE, DELETE = OperationType.UPDATE, OperationType.CREATE, OperationType.DELETE


class Twin:
    """A device that edits on the engine, and beside it the same document as it is merged without the engine."""

    def __init__(self, author: int) -> None:
        self.device = Device(author)
        self.state = Update((), ())
        self.content = Content()

    def write(self, writes: list[Put | Drop], *, operation: OperationType) -> None:
        index = self.device.index.copy()
        before = index.to_bytes()
        made = edit_map(writes, author=self.device.author, index=index, operation=operation)
        assert index.to_bytes() == before, "an edit leaves the index as it is"
        with self.device.edit(operation):
            for write in writes:
                if isinstance(write, Put):
                    self.device.map[write.key] = write.data
                else:
                    del self.device.map[write.key]
        update, screened = self.device.log[-1][3], self.device.screened[-1]
        assert parse_update(made.update) == parse_update(update)._replace(deletes=tuple(made.placed.deletes))
        assert sorted(parse_update(update).deletes) == list(made.placed.deletes)
        assert made.blocks == parse_update(update).blocks
        assert made.placed.clocks == screened.placed.clocks
        assert made.placed.items == screened.placed.items
        index.take_over(made.placed)
        assert index == self.device.index
        self.state = merge_map(self.state, made.blocks, index=index)
        cells = {write.key: write.data if isinstance(write, Put) else None for write in writes}
        self.content = edited_content(self.content, cells, self.device.index.state_vector)
        self.check()

    def receive(self, entry: Any) -> None:
        self.device.receive(entry)
        if self.device.screened[-1].text_fields:
            self.state = parse_update(self.device.doc.get_update(), bounds=DOCUMENT_BOUNDS)
        else:
            self.state = merge_map(self.state, parse_update(entry[3]).blocks, index=self.device.index)
        self.content = self.parsed()
        self.check()

    def check(self) -> None:
        """The merged document is the engine's, for the engine and for the index."""
        state, index = encode_update(self.state), self.device.index
        assert parse_update(state, bounds=DOCUMENT_BOUNDS) == self.state._replace(
            blocks=tuple(block._replace(key=None) if block.origin else block for block in self.state.blocks)
        )
        doc: Doc[Any] = Doc()
        doc.apply_update(state)
        assert dict(doc.get("m", type=Map)) == dict(self.device.map)
        assert version_of_update(state) == version_of_update(self.device.doc.get_update())
        assert version_of_update(doc.get_update()) == version(index.state_vector, index.delete_set)
        assert DocumentIndex.from_update(state) == index
        assert len(self.state.blocks) <= len(parse_update(self.device.doc.get_update()).blocks)
        assert plain(self.content) == plain(self.parsed())

    def parsed(self) -> Content:
        cells = {key: bytes(value) for key, value in self.device.map.items()}
        return parse_content(cells, {}, dict(self.device.index.state_vector))

    def random_writes(self, rng: random.Random) -> list[Put | Drop]:
        """What the kinds of fields do: two to five of it at once, each key once."""
        writes: dict[str, Put | Drop] = {}
        for _ in range(rng.randint(1, 4)):
            for write in self._random_change(rng):
                writes.setdefault(write.key, write)
        if not any(isinstance(write, Put) for write in writes.values()):
            writes[self.device.key(KeyClass.TOUCH)] = Put(self.device.key(KeyClass.TOUCH), b"")
        return list(writes.values())

    def _random_change(self, rng: random.Random) -> list[Put | Drop]:
        key, field, element = self.device.key, rng.choice(FIELDS), rng.choice("pqr😀")
        held = {name: parse_map_key(name) for name in self.device.map}
        value = write_register(rng.randrange(9), {}, codec.encode(rng.randrange(99)))
        match rng.randrange(7):
            case 0:
                own = key(KeyClass.PLAIN, field=field)
                others = [n for n, item in held.items() if item.key_class is KeyClass.PLAIN and item.field == field]
                return [*(Drop(name) for name in others if name != own), Put(own, value)]
            case 1:
                kept = [n for n, item in held.items() if item.key_class is KeyClass.CAUSAL and item.field == field]
                taken = {int(held[name].rest) for name in kept if held[name].author == self.device.author}
                name = key(KeyClass.CAUSAL, field=field, rest=str(max(taken, default=0) + 1))
                return [*(Drop(name) for name in kept[:-1]), Put(name, value)]
            case 2:
                return [Put(key(KeyClass.COUNTER, field=field), codec.encode(rng.randrange(9)))]
            case 3:
                return [Put(key(KeyClass.SET, field="tags", rest=element), b"e")]
            case 4:
                return [Drop(n) for n, item in held.items() if item.key_class is KeyClass.SET and item.rest == element]
            case 5:
                own = key(KeyClass.TOMBSTONE)
                return [*self._restore(held, but=own), Put(own, write_context({self.device.author: 1}))]
            case _:
                return self._restore(held, but="")

    def _restore(self, held: dict[str, Any], *, but: str) -> list[Put | Drop]:
        return [Drop(n) for n, item in held.items() if item.key_class is KeyClass.TOMBSTONE and n != but]


def plain(content: Content) -> dict[str, Any]:
    """A content that can be compared: the order of what stands in lists is of no matter."""
    return {item.name: ordered(getattr(content, item.name)) for item in fields(content)}


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: ordered(item) for name, item in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(25))
def test_a_history_of_several_devices_is_what_the_engine_makes_of_it(seed: int) -> None:
    rng = random.Random(seed)
    twins = [Twin(author) for author in rng.sample(range(1, 2**35), 3)]
    first = twins[0]
    first.write([Put(first.device.key(KeyClass.CREATION), write_creation(1, {"title": "a"}))], operation=CREATE)
    if seed % 2:
        with first.device.edit():
            first.device.insert("notes", 0.0, "some 😀 text")
        first.state = parse_update(first.device.doc.get_update())
        first.content = first.parsed()
    for _ in range(25):
        twin, other = rng.sample(twins, 2)
        for entry in list(other.device.log):
            if entry[:2] not in {(author, sequence) for author, sequence, *_ in twin.device.log}:
                twin.receive(entry)
        if twin.device.log:
            twin.write(twin.random_writes(rng), operation=UPDATE)


def test_what_replaces_itself_again_and_again_stays_small() -> None:
    twin = Twin(AUTHOR)
    twin.write([Put(twin.device.key(KeyClass.CREATION), write_creation(1, {}))], operation=CREATE)
    for number in range(50):
        twin.write([Put(twin.device.key(KeyClass.COUNTER, field="votes"), codec.encode(number))], operation=UPDATE)
    assert len(twin.state.blocks) == 3
    assert len(encode_update(twin.state)) < 60 + 2 * ENTRY_LIMITS.hidden_values_max


def key(key_class: KeyClass, *, author: int = AUTHOR, field: str = "", rest: str = "") -> str:
    return map_key(key_class, Author(author), field=field, rest=rest)


def created(*more: Put) -> DocumentIndex:
    """The index of a document that another author and this one have written to."""
    index = DocumentIndex()
    first = map_insert_update(Author(9), items=[(key(KeyClass.CREATION, author=9), b"c")])
    index.apply(screen(first, author=Author(9), index=index, operation=CREATE))
    theirs = [(key(KeyClass.PLAIN, author=9, field="title"), b"v"), (key(KeyClass.COUNTER, author=9, field="n"), b"1")]
    index.apply(screen(map_insert_update(Author(9), 1, items=theirs), author=Author(9), index=index, operation=UPDATE))
    if more:
        index.take_over(edit_map(more, author=AUTHOR, index=index, operation=UPDATE).placed)
    return index


REFUSED: list[tuple[str, list[Put | Drop], OperationType, type[EntryError]]] = [
    ("nothing but a deletion", [Drop(key(KeyClass.PLAIN, author=9, field="title"))], UPDATE, ScreeningError),
    ("another author's key", [Put(key(KeyClass.PLAIN, author=9, field="title"), b"v")], UPDATE, ScreeningError),
    ("a key of no known class", [Put("title", b"v")], UPDATE, MalformedEntryError),
    (
        "a register value without another one",
        [Drop(key(KeyClass.PLAIN, author=9, field="title")), Put(key(KeyClass.TOUCH), b"")],
        UPDATE,
        ScreeningError,
    ),
    (
        "another author's counter",
        [Drop(key(KeyClass.COUNTER, author=9, field="n")), Put(key(KeyClass.TOUCH), b"")],
        UPDATE,
        ScreeningError,
    ),
    (
        "the creation",
        [Drop(key(KeyClass.CREATION, author=9)), Put(key(KeyClass.TOUCH), b"")],
        UPDATE,
        ScreeningError,
    ),
    ("what is not there", [Drop(key(KeyClass.TOMBSTONE)), Put(key(KeyClass.TOUCH), b"")], UPDATE, ScreeningError),
    (
        "a value that is too large",
        [Put(key(KeyClass.TOUCH), bytes(ENTRY_LIMITS.value_bytes_max + 1))],
        UPDATE,
        LimitError,
    ),
    (
        "too many bytes",
        [Put(key(KeyClass.SET, field="tags", rest=name), bytes(2**20)) for name in "abcdefgh"],
        UPDATE,
        LimitError,
    ),
    ("too many values", [Put(key(KeyClass.TOUCH), b"")] * (ENTRY_LIMITS.blocks_max + 1), UPDATE, LimitError),
]


@pytest.mark.parametrize(("writes", "operation", "error"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_screening_would_refuse_is_not_made(
    writes: list[Put | Drop], operation: OperationType, error: type[EntryError]
) -> None:
    index = created()
    before = index.to_bytes()
    with pytest.raises(error):
        edit_map(writes, author=AUTHOR, index=index, operation=operation)
    assert index.to_bytes() == before


def test_a_document_begins_with_a_creation_and_has_one_of_each_author() -> None:
    with pytest.raises(ScreeningError):
        edit_map([Put(key(KeyClass.TOUCH), b"")], author=AUTHOR, index=DocumentIndex(), operation=CREATE)
    creation = Put(key(KeyClass.CREATION), b"c")
    with pytest.raises(ScreeningError):
        edit_map([creation], author=AUTHOR, index=created(creation), operation=UPDATE)


def test_a_clock_ends_where_a_document_cannot_count_on() -> None:
    index = created(Put(key(KeyClass.TOUCH), b""))
    index.clocks[AUTHOR] = CLOCK_MAX
    with pytest.raises(MalformedEntryError):
        edit_map([Put(key(KeyClass.COUNTER, field="n"), b"")], author=AUTHOR, index=index, operation=UPDATE)


def test_deletions_of_more_authors_than_an_update_may_name_are_refused() -> None:
    index = DocumentIndex()
    authors = range(10, 11 + ENTRY_LIMITS.authors_max)
    for author in authors:
        own = key(KeyClass.SET, author=author, field="tags", rest="a")
        update = map_insert_update(Author(author), items=[(own, b"")])
        index.apply(screen(update, author=Author(author), index=index, operation=UPDATE))
    drops = [Drop(key(KeyClass.SET, author=author, field="tags", rest="a")) for author in authors]
    with pytest.raises(LimitError):
        edit_map([*drops, Put(key(KeyClass.TOUCH), b"")], author=AUTHOR, index=index, operation=UPDATE)
    made = edit_map([*drops[1:], Put(key(KeyClass.TOUCH), b"")], author=AUTHOR, index=index, operation=UPDATE)
    assert screen(made.update, author=AUTHOR, index=index, operation=UPDATE).placed.deletes == made.placed.deletes
