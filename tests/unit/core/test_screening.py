from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from crdt_sync.core.blocks import Block, Bytes, Content, Deleted, DeleteRange, Format, String, UnitId, Update
from crdt_sync.core.content import Tombstone, write_register, write_tombstone
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, MapKey, map_key
from crdt_sync.core.screening import Screened, screen, screen_content
from crdt_sync.core.update import encode_update, map_insert_update
from crdt_sync.core.version import version, version_of_update
from crdt_sync.errors import MalformedEntryError, MissingCauseError, ScreeningError
from tests.unit.core.devices import TEXTS, Device, history, merge

A, B, C = Author(7), Author(9), Author(2**35 - 2)


def key(key_class: KeyClass, author: Author, *, field: str = "", rest: str = "") -> str:
    return map_key(key_class, author, field=field, rest=rest)


def block(
    author: Author,
    clock: int,
    content: Content,
    *,
    at: str | None = None,
    root: str | None = "m",
    origin: UnitId | None = None,
    right: UnitId | None = None,
    length: int = 1,
) -> Block:
    if origin is not None or right is not None:
        root = None
    return Block(author, clock, length, origin, right, root, at, content)


def text(author: Author, clock: int, piece: str, *, origin: UnitId | None = None, right: UnitId | None = None) -> Block:
    units = len(piece.encode("utf-16-le")) // 2
    return block(author, clock, String(piece), root="tnotes", origin=origin, right=right, length=units)


def update(*blocks: Block, deletes: tuple[tuple[int, int, int], ...] = ()) -> bytes:
    return encode_update(Update(blocks, tuple(DeleteRange(*item) for item in deletes)))


def judge(
    index: DocumentIndex, data: bytes, *, author: Author = A, operation: OperationType = OperationType.UPDATE
) -> Screened:
    """Screen and take over."""
    screened = screen(data, author=author, index=index, operation=operation)
    index.apply(screened)
    return screened


def refuse(index: DocumentIndex, data: bytes, *, author: Author = A, reason: str | None = None) -> None:
    before = index.to_bytes()
    with pytest.raises((ScreeningError, MalformedEntryError), match=reason):
        screen(data, author=author, index=index, operation=OperationType.UPDATE)
    assert index.to_bytes() == before


@pytest.fixture
def record() -> DocumentIndex:
    """A creation, a value of each class and a text by A; B has written nothing yet."""
    index = DocumentIndex()
    judge(index, map_insert_update(A, items=[(key(KeyClass.CREATION, A), b"c")]), operation=OperationType.CREATE)
    items = [
        (key(KeyClass.TOMBSTONE, A), b"v"),  # clock 1
        (key(KeyClass.TOUCH, A), b""),  # 2
        (key(KeyClass.PLAIN, A, field="title"), b"p"),  # 3
        (key(KeyClass.CAUSAL, A, field="state", rest="1"), b"q"),  # 4
        (key(KeyClass.COUNTER, A, field="votes"), b"1"),  # 5
        (key(KeyClass.SET, A, field="tags", rest="é"), b""),  # 6
    ]
    judge(index, map_insert_update(A, 1, items=items, texts=[("tnotes", "ab😀c")]))  # 7 to 11
    return index


class TestHonest:
    @pytest.mark.parametrize("seed", range(40))
    def test_what_the_engine_emits_is_accepted_and_indexed_like_the_whole_document(self, seed: int) -> None:
        devices = history(seed, devices=2 + seed % 4, edits=25)
        for device in devices:
            built = DocumentIndex.from_update(device.doc.get_update())
            assert built.pairs <= device.index.pairs
            device.index.pairs = built.pairs
            assert device.index == built
            assert {name: device.text_by_index(name) for name in TEXTS} == {
                name: str(root) for name, root in device.texts.items()
            }
        assert len({device.index.to_bytes() for device in devices}) == 1

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32))
    def test_several_updates_merged_into_one_are_accepted(self, seed: int) -> None:
        rng = random.Random(seed)
        device, other = Device(rng.randint(1, 2**35 - 1)), Device(6)
        device.create()
        other.pull(device)
        for _ in range(rng.randint(1, 5)):
            device.random_edit(rng)
        own = [entry[3] for entry in device.log[1:]]
        if own:
            other.receive((device.author, 1, OperationType.UPDATE, merge(*own)))
        other.index.pairs = device.index.pairs
        assert other.index == device.index

    def test_values_written_are_told(self, record: DocumentIndex) -> None:
        name = key(KeyClass.PLAIN, B, field="title")
        screened = judge(record, update(block(B, 0, Bytes(b"new"), at=name), deletes=((A, 3, 4),)), author=B)
        assert screened.written == ((MapKey(key_class=KeyClass.PLAIN, author=B, field="title"), b"new"),)
        assert screened.removed_keys == (MapKey(key_class=KeyClass.PLAIN, author=A, field="title"),)
        assert screened.text_fields == frozenset()
        assert record.last_of(name) == (B, 0)
        assert record.is_deleted(A, 3)
        assert not record.is_deleted(A, 4)

    def test_a_value_that_is_replaced_at_once_is_not_told(self, record: DocumentIndex) -> None:
        name = key(KeyClass.PLAIN, B, field="title")
        data = update(
            block(B, 0, Deleted(1), at=name),
            block(B, 1, Bytes(b"2"), origin=(B, 0)),
            deletes=((B, 0, 1),),
        )
        screened = judge(record, data, author=B)
        assert [value for _, value in screened.written] == [b"2"]
        assert screened.removed_keys == ()

    def test_texts_touched_are_told(self, record: DocumentIndex) -> None:
        assert judge(record, update(text(A, 12, "x", origin=(A, 11)))).text_fields == {"notes"}
        touch = block(B, 0, Bytes(b""), at=key(KeyClass.TOUCH, B))
        assert judge(record, update(touch, deletes=((A, 7, 8),)), author=B).text_fields == {"notes"}


class TestTombstones:
    @staticmethod
    def tombstone(vector: dict[Author, int], *, author: Author = B, clock: int = 0) -> bytes:
        return map_insert_update(
            author, clock, items=[(key(KeyClass.TOMBSTONE, author), write_tombstone(Tombstone(5, vector)))]
        )

    def test_what_it_saw_is_there_with_its_own_block(self, record: DocumentIndex) -> None:
        judge(record, self.tombstone({A: 12, B: 1}), author=B)

    def test_what_it_says_it_saw_and_is_not_here_may_only_be_missing(self, record: DocumentIndex) -> None:
        early = self.tombstone({A: 13, B: 1})
        for unseen in (early, self.tombstone({A: 12, B: 1, C: 1})):
            with pytest.raises(MissingCauseError):
                screen(unseen, author=B, index=record, operation=OperationType.DELETE)
        judge(record, update(text(A, 12, "x", origin=(A, 11))))
        judge(record, early, author=B)

    def test_its_authors_own_future_is_never_there(self, record: DocumentIndex) -> None:
        with pytest.raises(ScreeningError) as refusal:
            screen(self.tombstone({A: 12, B: 2}), author=B, index=record, operation=OperationType.DELETE)
        assert not isinstance(refusal.value, MissingCauseError)

    def test_one_that_nobody_can_read_hides_nothing(self, record: DocumentIndex) -> None:
        name = key(KeyClass.TOMBSTONE, B)
        judge(record, map_insert_update(B, items=[(name, bytes(8) + b"\x01\x09")]), author=B)

    def test_in_content_of_many_authors(self, record: DocumentIndex) -> None:
        with pytest.raises(ScreeningError):
            screen_content(self.tombstone({A: 13, B: 1}), index=record)
        screen_content(self.tombstone({A: 12, B: 1}), index=record)


class TestContexts:
    """Here A has made the creation and write 1 of `state`, and is at clock 12."""

    @staticmethod
    def value(
        context: dict[Author, int],
        *,
        key_class: KeyClass = KeyClass.CAUSAL,
        author: Author = B,
        clock: int = 0,
        rest: str = "1",
        field: str = "state",
    ) -> bytes:
        name = key(key_class, author, field=field, rest=rest if key_class is KeyClass.CAUSAL else "")
        return map_insert_update(author, clock, items=[(name, write_register(5, context, b"\x01"))])

    @pytest.mark.parametrize("context", [{}, {A: 0}, {A: 1}])
    def test_what_it_saw_is_there(self, record: DocumentIndex, context: dict[Author, int]) -> None:
        judge(record, self.value(context), author=B)

    def test_a_plain_register_saw_creations_only(self, record: DocumentIndex) -> None:
        judge(record, self.value({A: 0}, key_class=KeyClass.PLAIN), author=B)

    @pytest.mark.parametrize("key_class", [KeyClass.CAUSAL, KeyClass.PLAIN])
    @pytest.mark.parametrize("context", [{C: 0}, {A: 0, C: 0}, {A: 0, C: 9_999_999_999}])
    def test_a_creation_that_is_not_here_may_only_be_missing(
        self, record: DocumentIndex, key_class: KeyClass, context: dict[Author, int]
    ) -> None:
        with pytest.raises(MissingCauseError):
            judge(record, self.value(context, key_class=key_class), author=B)

    @pytest.mark.parametrize("context", [{A: 2}, {A: 12}, {A: 9_999_999_999}])
    def test_a_write_that_is_not_here_may_only_be_missing(
        self, record: DocumentIndex, context: dict[Author, int]
    ) -> None:
        """Otherwise it would hide what A writes next."""
        with pytest.raises(MissingCauseError):
            judge(record, self.value(context), author=B)

    def test_it_is_taken_once_that_is_here(self, record: DocumentIndex) -> None:
        early = self.value({A: 2})
        with pytest.raises(MissingCauseError):
            judge(record, early, author=B)
        judge(record, self.value({A: 1}, author=A, clock=12, rest="2"))
        judge(record, early, author=B)

    def test_a_write_that_was_removed_was_here(self, record: DocumentIndex) -> None:
        judge(
            record,
            update(
                block(A, 12, Bytes(b"2"), at=key(KeyClass.CAUSAL, A, field="state", rest="2")), deletes=((A, 4, 5),)
            ),
        )
        judge(record, self.value({A: 1}), author=B)

    def test_of_an_entry_of_a_map_numbers_follow_the_clock(self, record: DocumentIndex) -> None:
        """They have gaps; the next one that A gives there is above its clock, 12."""
        with pytest.raises(MissingCauseError):
            judge(record, self.value({A: 13}, field="prefs/x"), author=B)
        judge(record, self.value({A: 12}, field="prefs/x"), author=B)

    def test_its_authors_own_future_is_never_there(self, record: DocumentIndex) -> None:
        for context, field in (({A: 3}, "state"), ({A: 14}, "prefs/x")):
            refuse(record, self.value(context, author=A, clock=12, rest="2", field=field), reason="saw")
        judge(record, self.value({A: 1}, author=A, clock=12, rest="2"))

    def test_a_number_is_not_more_than_its_author_can_have_reached(self, record: DocumentIndex) -> None:
        """Whoever saw it says so in a context, which must not be refused then."""
        for field in ("state", "prefs/x"):
            refuse(record, self.value({}, rest="2", field=field), author=B, reason="number")
        judge(record, self.value({}, rest="1"), author=B)

    def test_one_that_nobody_can_read_hides_nothing(self, record: DocumentIndex) -> None:
        name = key(KeyClass.CAUSAL, B, field="state", rest="1")
        judge(record, map_insert_update(B, items=[(name, bytes(8) + b"\x01\x09")]), author=B)

    def test_in_content_of_many_authors(self, record: DocumentIndex) -> None:
        for unseen in (self.value({A: 2}), self.value({}, rest="2")):
            with pytest.raises(ScreeningError):
                screen_content(unseen, index=record)
        screen_content(self.value({A: 1}), index=record)


class TestAuthorship:
    def test_blocks_are_the_entrys_authors(self, record: DocumentIndex) -> None:
        data = map_insert_update(A, 12, items=[(key(KeyClass.PLAIN, A, field="due"), b"")])
        refuse(record, data, author=B, reason="another author")
        judge(record, data)

    def test_no_second_author_beside_ones_own(self, record: DocumentIndex) -> None:
        mine, other = (block(author, 0, Bytes(b""), at=key(KeyClass.TOUCH, author)) for author in (B, C))
        for blocks in ((mine, other), (other, mine)):
            refuse(record, update(*blocks), author=B, reason="another author")

    def test_keys_carry_their_author(self, record: DocumentIndex) -> None:
        for key_class in (KeyClass.CREATION, KeyClass.TOMBSTONE, KeyClass.TOUCH):
            refuse(record, map_insert_update(B, items=[(key(key_class, C), b"")]), author=B, reason="another author")
        refuse(record, map_insert_update(B, items=[(key(KeyClass.PLAIN, A, field="f"), b"")]), author=B)

    def test_nobody_goes_on_under_anothers_key(self, record: DocumentIndex) -> None:
        refuse(record, update(block(B, 0, Bytes(b""), origin=(A, 3))), author=B, reason="another author")

    @pytest.mark.parametrize("clock", [0, 11, 13])
    def test_clocks_go_on_where_they_ended(self, record: DocumentIndex, clock: int) -> None:
        refuse(record, map_insert_update(A, clock, items=[(key(KeyClass.PLAIN, A, field="f"), b"")]), reason="go on")

    def test_an_update_moves_the_vector(self, record: DocumentIndex) -> None:
        refuse(record, update(deletes=((A, 6, 7),)), reason="move")
        refuse(record, b"\0\0", reason="move")


class TestKeys:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "x",
            "!",
            "!AAAAA",
            "!AAAAAAx",
            "=AAAAAJ",
            "=1a:AAAAAJ",
            "=f:AAAAAJx",
            "?f:AAAAAJ",
            "?f:AAAAAJ01",
            "*f:AAAAAJ",
        ],
    )
    def test_outside_of_the_grammar(self, record: DocumentIndex, name: str) -> None:
        refuse(record, map_insert_update(B, items=[(name, b"")]), author=B)

    @pytest.mark.parametrize("root", ["", "n", "t", "t1", "tnotes:", "m2", "té", "t" + "x" * 65])
    def test_roots_outside_of_the_grammar(self, record: DocumentIndex, root: str) -> None:
        refuse(record, map_insert_update(B, items=[], texts=[(root, "x")]), author=B)

    def test_no_value_without_a_key(self, record: DocumentIndex) -> None:
        refuse(record, update(block(B, 0, Bytes(b""))), author=B, reason="without a key")

    @pytest.mark.parametrize("content", [String("x"), Format("bold", "true")])
    def test_the_map_holds_values_only(self, record: DocumentIndex, content: Content) -> None:
        refuse(record, update(block(B, 0, content, at=key(KeyClass.TOUCH, B))), author=B, reason="no value")

    def test_a_text_holds_text_only(self, record: DocumentIndex) -> None:
        refuse(record, update(block(B, 0, Bytes(b""), root="tnotes")), author=B, reason="no text")
        refuse(record, update(block(B, 0, Bytes(b""), origin=(A, 7))), author=B, reason="no text")
        refuse(record, update(block(B, 0, String("x"), root="tnotes", at="k")), author=B, reason="with a key")

    def test_a_value_follows_the_last_of_its_key(self, record: DocumentIndex) -> None:
        touch = key(KeyClass.TOUCH, A)
        refuse(record, map_insert_update(A, 12, items=[(touch, b"")]), reason="last value")
        judge(record, update(block(A, 12, Bytes(b""), origin=(A, 2)), deletes=((A, 2, 3),)))
        refuse(record, update(block(A, 13, Bytes(b""), origin=(A, 2))), reason="last value")
        refuse(
            record,
            update(block(A, 13, Bytes(b""), origin=(A, 12)), block(A, 14, Bytes(b""), origin=(A, 12))),
            reason="last value",
        )
        judge(record, update(block(A, 13, Bytes(b""), origin=(A, 12))))

    def test_a_value_has_no_right_neighbour(self, record: DocumentIndex) -> None:
        refuse(record, update(block(A, 12, Bytes(b""), origin=(A, 2), right=(A, 3))), reason="right neighbour")
        refuse(record, update(block(A, 12, Bytes(b""), right=(A, 3))), reason="last value")

    def test_one_creation_for_each_author(self, record: DocumentIndex) -> None:
        refuse(record, update(block(A, 12, Bytes(b""), origin=(A, 0))), reason="second creation")
        refuse(record, map_insert_update(A, 12, items=[(key(KeyClass.CREATION, A), b"")]))
        judge(record, map_insert_update(B, items=[(key(KeyClass.CREATION, B), b"")]), author=B)


class TestCreation:
    @pytest.mark.parametrize(
        "data", [map_insert_update(A, items=[(key(KeyClass.TOUCH, A), b"")]), update(text(A, 0, "x"))]
    )
    def test_a_document_begins_with_one(self, data: bytes) -> None:
        with pytest.raises(ScreeningError, match="creation"):
            screen(data, author=A, index=DocumentIndex(), operation=OperationType.CREATE)

    def test_not_a_deleted_one(self) -> None:
        data = update(block(A, 0, Deleted(1), at=key(KeyClass.CREATION, A)), deletes=((A, 0, 1),))
        with pytest.raises(ScreeningError, match="creation"):
            screen(data, author=A, index=DocumentIndex(), operation=OperationType.CREATE)

    def test_an_existing_document_needs_none(self, record: DocumentIndex) -> None:
        data = map_insert_update(B, items=[(key(KeyClass.TOUCH, B), b"")])
        judge(record, data, author=B, operation=OperationType.CREATE)


class TestRemoval:
    """B removes what A has written (clocks as in ``record``)."""

    def remove(self, *deletes: tuple[int, int, int], write: str = "") -> bytes:
        return update(block(B, 0, Bytes(b""), at=write or key(KeyClass.TOUCH, B)), deletes=deletes)

    @pytest.mark.parametrize(("clock", "what"), [(1, "tombstone"), (6, "set"), (7, "text"), (11, "text")])
    def test_by_anybody(self, record: DocumentIndex, clock: int, what: str) -> None:
        judge(record, self.remove((A, clock, clock + 1)), author=B)
        assert record.is_deleted(A, clock)

    @pytest.mark.parametrize(
        ("clock", "what"), [(0, "creation"), (2, "touch"), (3, "plain"), (4, "causal"), (5, "counter")]
    )
    def test_by_nobody_else(self, record: DocumentIndex, clock: int, what: str) -> None:
        refuse(record, self.remove((A, clock, clock + 1)), author=B, reason=what)
        for first, end in ((clock, 7), (0, clock + 1)):
            refuse(record, self.remove((A, first, end)), author=B)

    @pytest.mark.parametrize(("clock", "field"), [(3, "title"), (4, "state")])
    def test_of_a_register_by_a_write_of_the_field(self, record: DocumentIndex, clock: int, field: str) -> None:
        other = key(KeyClass.PLAIN, B, field="other")
        refuse(record, self.remove((A, clock, clock + 1), write=other), author=B)
        refuse(record, self.remove((A, clock, clock + 1), write=key(KeyClass.COUNTER, B, field=field)), author=B)
        judge(record, self.remove((A, clock, clock + 1), write=key(KeyClass.PLAIN, B, field=field)), author=B)

    def test_of_a_value_with_a_context_without_an_edit(self, record: DocumentIndex) -> None:
        """As compaction lets go of what nobody needs any more: nothing but a link cell, and no edit by it."""
        link = key(KeyClass.ALIAS, B)
        edited = dict(record.edited)
        for clock in (0, 2, 3, 5):
            refuse(record, self.remove((A, clock, clock + 1), write=link), author=B)
        judge(record, self.remove((A, 4, 5), write=link), author=B)
        assert record.is_deleted(A, 4)
        assert {author: clock for author, clock in record.edited.items() if clock} == edited

    def test_a_write_that_is_deleted_at_once_is_none(self, record: DocumentIndex) -> None:
        name = key(KeyClass.PLAIN, B, field="title")
        refuse(record, update(block(B, 0, Deleted(1), at=name), deletes=((A, 3, 4), (B, 0, 1))), author=B)
        refuse(record, update(block(B, 0, Bytes(b""), at=name), deletes=((A, 3, 4), (B, 0, 1))), author=B)

    @pytest.mark.parametrize("clock", [0, 2, 3, 4, 5])
    def test_of_an_own_value_without_another_one(self, record: DocumentIndex, clock: int) -> None:
        other = block(A, 12, Bytes(b""), at=key(KeyClass.PLAIN, A, field="other"))
        refuse(record, update(other, deletes=((A, clock, clock + 1),)))

    @pytest.mark.parametrize("clock", [1, 2, 3, 4, 5, 6])
    def test_of_an_own_value_by_the_next_one(self, record: DocumentIndex, clock: int) -> None:
        judge(record, update(block(A, 12, Bytes(b"2"), origin=(A, clock)), deletes=((A, clock, clock + 1),)))

    def test_a_replaced_value_counts_as_deleted_where_the_update_is_silent_about_it(
        self, record: DocumentIndex
    ) -> None:
        judge(record, update(block(A, 12, Bytes(b"2"), origin=(A, 5))))
        assert record.is_deleted(A, 5)

    def test_a_value_under_an_own_key_that_is_deleted_at_once(self, record: DocumentIndex) -> None:
        for key_class in (KeyClass.TOUCH, KeyClass.CREATION):
            refuse(record, update(block(B, 0, Deleted(1), at=key(key_class, B))), author=B)
        element = key(KeyClass.SET, B, field="tags", rest="x")
        assert judge(record, update(block(B, 0, Deleted(1), at=element)), author=B).written == ()
        assert record.is_deleted(B, 0)

    def test_what_others_replaced_long_ago_is_not_for_others_to_name(self, record: DocumentIndex) -> None:
        judge(record, update(block(A, 12, Bytes(b"2"), origin=(A, 5)), deletes=((A, 5, 6),)))
        refuse(record, self.remove((A, 5, 6)), author=B, reason="counter")

    @pytest.mark.parametrize("deletes", [(A, 12, 13), (A, 11, 13), (B, 1, 2), (C, 0, 1), (A, 2**30, 2**30 + 1)])
    def test_of_what_is_not_there(self, record: DocumentIndex, deletes: tuple[int, int, int]) -> None:
        refuse(record, self.remove(deletes), author=B, reason="not there")

    def test_whether_it_is_deleted_already_does_not_matter(self, record: DocumentIndex) -> None:
        judge(record, self.remove((A, 3, 4), write=key(KeyClass.PLAIN, B, field="title")), author=B)
        data = update(block(C, 0, Bytes(b""), at=key(KeyClass.TOUCH, C)), deletes=((A, 3, 4),))
        refuse(record, data, author=C, reason="plain")


class TestTextOrder:
    def test_origins_are_of_the_same_text(self, record: DocumentIndex) -> None:
        judge(record, update(block(A, 12, String("x"), root="tbody")))
        refuse(record, update(text(A, 13, "y", origin=(A, 12), right=(A, 8))), reason="of its root")
        refuse(record, update(text(A, 13, "y", origin=(A, 7), right=(A, 3))), reason="of its root")
        refuse(record, update(text(A, 13, "y", right=(A, 1))))
        refuse(record, update(text(A, 13, "y", origin=(A, 1))), reason="no value")

    @pytest.mark.parametrize(("origin", "right"), [((A, 8), (A, 7)), ((A, 7), (A, 7)), ((A, 11), (A, 7))])
    def test_origins_are_in_order(self, record: DocumentIndex, origin: UnitId, right: UnitId) -> None:
        refuse(record, update(text(A, 12, "y", origin=origin, right=right)), reason="not come after|side by side")

    def test_order_is_that_of_the_text_not_that_of_clocks(self, record: DocumentIndex) -> None:
        judge(record, update(text(A, 12, "X", right=(A, 7))))
        judge(record, update(text(A, 13, "y", origin=(A, 12), right=(A, 7))))
        refuse(record, update(text(A, 14, "z", origin=(A, 7), right=(A, 12))), reason="not come after|side by side")

    @pytest.mark.parametrize(
        ("author", "origin", "right"),
        [
            pytest.param(A, (A, 7), (A, 11), id="own units between"),
            pytest.param(A, None, (A, 11), id="own units before"),
            pytest.param(A, (A, 8), None, id="own units behind"),
            pytest.param(B, None, (A, 8), id="the right one's left origin"),
            pytest.param(B, (A, 12), (A, 8), id="the left one's right origin"),
        ],
    )
    def test_origins_stood_side_by_side(
        self, record: DocumentIndex, author: Author, origin: UnitId | None, right: UnitId | None
    ) -> None:
        """Otherwise the place would depend on the order in which blocks arrive."""
        judge(record, update(text(A, 12, "X", right=(A, 7))))
        clock = record.next_clock(author)
        refuse(
            record, update(text(author, clock, "y", origin=origin, right=right)), author=author, reason="side by side"
        )

    @pytest.mark.parametrize("unit", [(A, 12), (B, 0), (B, 5), (C, 0)])
    def test_origins_are_there(self, record: DocumentIndex, unit: UnitId) -> None:
        refuse(record, update(text(B, 0, "y", origin=unit)), author=B)
        refuse(record, update(text(B, 0, "y", origin=(A, 7), right=unit)), author=B)

    @pytest.mark.parametrize(
        ("origin", "right"), [((A, 9), None), ((A, 9), (A, 10)), (None, (A, 10)), ((A, 8), (A, 10)), ((A, 9), (A, 11))]
    )
    def test_nothing_comes_between_the_halves_of_a_character(
        self, record: DocumentIndex, origin: UnitId | None, right: UnitId | None
    ) -> None:
        refuse(record, update(text(A, 12, "y", origin=origin, right=right)), reason="halves")

    def test_nor_in_one_of_the_same_update(self, record: DocumentIndex) -> None:
        refuse(record, update(text(A, 12, "😀", origin=(A, 11)), text(A, 14, "y", origin=(A, 12))), reason="halves")

    @pytest.mark.parametrize("deletes", [(A, 9, 10), (A, 10, 11), (A, 7, 10), (A, 10, 12)])
    def test_no_half_of_a_character_is_deleted(self, record: DocumentIndex, deletes: tuple[int, int, int]) -> None:
        refuse(record, update(text(A, 12, "y", origin=(A, 11)), deletes=(deletes,)), reason="halves")

    def test_refusal_leaves_no_trace_of_the_texts_placed_before(self, record: DocumentIndex) -> None:
        places = [text(A, 12, "x", origin=(A, 7), right=(A, 8)), text(A, 13, "yz", origin=(A, 12), right=(A, 8))]
        places.append(text(A, 15, "v", origin=(A, 13), right=(A, 14)))
        refuse(record, update(*places, text(A, 16, "y", origin=(A, 9))))
        refuse(
            record, update(*places, block(A, 16, String("new"), root="tother", length=3), text(A, 19, "", right=(C, 1)))
        )
        judge(record, update(*places))
        assert [(run.start, run.end) for run in record.order.in_order("tnotes")] == [
            (7, 8), (12, 14), (15, 16), (14, 15), (8, 12),
        ]  # fmt: skip


class TestContent:
    """What one replica lacks of a document, by many authors."""

    @pytest.mark.parametrize("seed", range(30))
    def test_cut_by_a_state_vector_or_whole(self, seed: int) -> None:
        rng = random.Random(seed)
        devices = history(seed, devices=3, edits=6)
        for _ in range(12):
            device = rng.choice(devices)
            device.random_edit(rng)
        here, there = devices[0], devices[1]
        merged: Doc[Any] = Doc()
        merged.apply_update(here.doc.get_update())
        merged.apply_update(there.doc.get_update())
        expected = DocumentIndex.from_update(merged.get_update())
        for cut in (here.doc.get_state(), devices[2].doc.get_state(), b"\0"):
            index = here.index.copy()
            screened = screen_content(there.doc.get_update(cut), index=index)
            assert index.to_bytes() == here.index.to_bytes()
            index.apply(screened)
            index.pairs = expected.pairs
            assert index == expected
            assert version(index.state_vector, index.delete_set) == version_of_update(merged.get_update())

    @pytest.mark.parametrize("clock", [0, 2, 5])
    def test_what_nobody_may_remove_stays(self, record: DocumentIndex, clock: int) -> None:
        with pytest.raises(ScreeningError, match="nobody"):
            screen_content(update(deletes=((A, clock, clock + 1),)), index=record)

    def test_deletions_alone_are_content(self, record: DocumentIndex) -> None:
        screened = screen_content(update(deletes=((A, 3, 5),)), index=record)
        assert {name.key_class for name in screened.removed_keys} == {KeyClass.PLAIN, KeyClass.CAUSAL}

    def test_what_refers_to_nothing(self, record: DocumentIndex) -> None:
        circle = (text(B, 0, "x", origin=(C, 0)), text(C, 0, "y", origin=(B, 0)))
        for data in (update(*circle), update(text(B, 0, "x", origin=(C, 3))), update(deletes=((A, 12, 13),))):
            with pytest.raises(ScreeningError, match="not there"):
                screen_content(data, index=record)

    @pytest.mark.parametrize(
        "known",
        [
            block(A, 0, Bytes(b""), at=key(KeyClass.TOUCH, A)),
            block(A, 3, Bytes(b""), at=key(KeyClass.CAUSAL, A, field="title", rest="1")),
            block(A, 3, String("x"), root="tnotes"),
            block(A, 7, Bytes(b""), at=key(KeyClass.TOUCH, A)),
            block(A, 7, String("xyzxyz"), root="tbody", length=6),
            block(A, 6, Deleted(7), at=key(KeyClass.SET, A, field="tags", rest="é"), length=7),
            block(A, 8, String("xyzxyz"), origin=(A, 6), length=6),
            block(A, 8, String("xyzxyz"), origin=(A, 7), right=(A, 2), length=6),
            block(A, 8, String("xyzxyz"), origin=(A, 7), right=(C, 2), length=6),
            block(A, 6, String("xyzxyzxyz"), root="tnotes", length=9),
        ],
    )
    def test_what_is_here_already_is_of_the_same_kind(self, record: DocumentIndex, known: Block) -> None:
        with pytest.raises(ScreeningError):
            screen_content(update(known), index=record)

    def test_a_cut_halves_no_character(self, record: DocumentIndex) -> None:
        longer = text(A, 7, "abcd😀")
        with pytest.raises(ScreeningError, match="halves"):
            screen_content(update(longer), index=record)


class TestIndex:
    @pytest.mark.parametrize("seed", range(10))
    def test_is_stored_and_read_back(self, seed: int) -> None:
        index = history(seed, devices=3, edits=20)[0].index
        again = DocumentIndex.from_bytes(index.to_bytes())
        assert again == index
        assert again.tips == index.tips
        assert again.last == index.last
        assert again.ranges == index.ranges
        assert again.pairs == index.pairs

    def test_a_copy_is_apart(self, record: DocumentIndex) -> None:
        copy = record.copy()
        judge(copy, map_insert_update(B, items=[(key(KeyClass.TOUCH, B), b"")], texts=[("tbody", "x")]), author=B)
        assert copy != record
        assert B not in record.state_vector

    def test_finds_units(self, record: DocumentIndex) -> None:
        place = record.find(A, 3)
        assert place is not None
        assert (place.name, place.is_text) == (key(KeyClass.PLAIN, A, field="title"), False)
        place = record.find(A, 9)
        assert place is not None
        assert (place.name, place.end, place.is_text) == ("tnotes", 12, True)
        assert record.find(A, 12) is None
        assert record.find(B, 0) is None
        assert record.next_clock(A) == 12
        assert record.next_clock(B) == 0

    def test_deletions_are_joined(self) -> None:
        index = DocumentIndex()
        rng = random.Random(4)
        clocks: set[int] = set()
        for _ in range(300):
            start = rng.randrange(200)
            end = start + rng.randint(1, 4)
            index.delete(A, start, end)
            clocks.update(range(start, end))
            ranges = list(index.delete_set[A])
            assert {clock for pair in ranges for clock in range(*pair)} == clocks
            assert ranges == sorted(ranges)
            assert all(before[1] < after[0] for before, after in pairwise(ranges))

    @pytest.mark.parametrize(
        "data",
        [b"", b"\xc0", b"\x91\x00", b"\x97\x01\x90\x90\x90\x90\x90\x90", b"\x97\x00\x91\x07\x90\x90\x90\x90\x90"],
    )
    def test_other_bytes_are_no_index(self, data: bytes) -> None:
        with pytest.raises(MalformedEntryError):
            DocumentIndex.from_bytes(data)

    def test_of_a_state_that_deletes_what_is_not_there(self) -> None:
        with pytest.raises(ScreeningError):
            DocumentIndex.from_update(update(text(A, 0, "x"), deletes=((A, 0, 2),)))

    def test_is_one_readable_line(self, record: DocumentIndex) -> None:
        assert repr(record) == "<DocumentIndex 1 authors, 7 keys, 1 texts>"

    def test_a_long_text_typed_in_one_go_is_one_run(self) -> None:
        device = Device(5)
        device.create()
        for _ in range(200):
            with device.edit():
                device.insert("notes", 1.0, "ab")
        assert len(list(device.index.order.in_order("tnotes"))) == 1
        assert len(device.index.to_bytes()) < 80


def test_the_engine_and_we_agree_on_rivals_at_one_place() -> None:
    """Three devices type at the same place at once; every order of arrival gives one text, which is the index's."""
    for first in range(3):
        devices = [Device(author) for author in (3, 4, 5)]
        devices[0].create()
        for device in devices:
            device.pull(devices[0])
            for piece in ("a", "b", "c"):
                with device.edit():
                    device.insert("notes", 1.0, f"{device.author}{piece}")
        order = devices[first:] + devices[:first]
        for device in devices:
            for other in order:
                device.pull(other)
        texts = {str(device.doc.get("tnotes", type=Text)) for device in devices}
        assert texts == {device.text_by_index("notes") for device in devices}
        assert len(texts) == 1
