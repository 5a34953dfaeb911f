from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text, TransactionEvent

from crdt_sync.core.blocks import (
    CLOCK_MAX,
    DOCUMENT_BOUNDS,
    ENTRY_BOUNDS,
    Block,
    Bytes,
    Deleted,
    DeleteRange,
    Format,
    String,
    Update,
    utf16_length,
)
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.update import encode_update, map_insert_update, parse_update
from crdt_sync.core.varint import varint
from crdt_sync.errors import LimitError, MalformedEntryError
from tests.unit.core.devices import history

AUTHOR = Author(7)


def engine_update(author: int, items: list[tuple[str, bytes]], texts: list[tuple[str, str]]) -> bytes:
    doc: Doc[Any] = Doc(client_id=author)
    root = doc.get("m", type=Map)
    pieces = [(doc.get(name, type=Text), text) for name, text in texts]
    emitted: list[bytes] = []

    def observed(event: TransactionEvent) -> None:
        emitted.append(event.update)

    subscription = doc.observe(observed)
    with doc.transaction():
        for key, value in items:
            root[key] = value
        for piece, text in pieces:
            piece.insert(0, text)
    doc.unobserve(subscription)
    return emitted[0]


class TestParse:
    def test_one_value(self) -> None:
        update = parse_update(engine_update(7, [("!AAAAAH", b"xyz")], []))
        assert update == Update((Block(7, 0, 1, None, None, "m", "!AAAAAH", Bytes(b"xyz")),), ())

    def test_text_counts_utf16_units(self) -> None:
        update = parse_update(engine_update(7, [], [("tnotes", "a😀é")]))
        assert update.blocks == (Block(7, 0, 4, None, None, "tnotes", None, String("a😀é")),)

    def test_every_truncation_is_malformed(self) -> None:
        for device in history(1, devices=2, edits=10):
            for _, _, _, update in device.log:
                for length in range(len(update)):
                    with pytest.raises((MalformedEntryError, LimitError)):
                        parse_update(update[:length])

    def test_trailing_bytes_are_malformed(self) -> None:
        with pytest.raises(MalformedEntryError, match="trailing"):
            parse_update(map_insert_update(AUTHOR, items=[("!AAAAAH", b"")]) + b"\0")

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("empty", b""),
            ("a section without blocks", bytes((1, 0, 7, 0, 0))),
            ("author 0", bytes((1, 1, 0, 0, 4, 1, 1, 0x74, 1, 0x61, 0))),
            ("an author twice", bytes((2, *(1, 7, 0, 1, 1, 1, 0x74, 1) * 2, 0))),
            ("an author beyond 35 bits", bytes((1, 1)) + b"\xff\xff\xff\xff\xff\x01" + bytes((0, 1, 1, 1, 0x74, 1, 0))),
            ("a number not in its shortest form", bytes((1, 1, 0x87, 0, 0, 1, 1, 1, 0x74, 1, 0))),
            ("a gap", bytes((1, 1, 7, 0, 10, 1, 0))),
            ("a collected range", bytes((1, 1, 7, 0, 0, 1, 0))),
            ("a nested type", bytes((1, 1, 7, 0, 0x27, 1, 1, 0x6D, 1, 0x61, 0, 0))),
            ("a parent that is a block", bytes((1, 1, 7, 0, 4, 0, 7, 0, 1, 0x61, 0))),
            ("an empty string", bytes((1, 1, 7, 0, 4, 1, 1, 0x74, 0, 0))),
            ("nothing deleted", bytes((1, 1, 7, 0, 1, 1, 1, 0x74, 0, 0))),
            ("two values in one block", bytes((1, 1, 7, 0, 0x28, 1, 1, 0x6D, 1, 0x21, 2, 116, 0, 116, 0, 0))),
            ("a number for a value", bytes((1, 1, 7, 0, 0x28, 1, 1, 0x6D, 1, 0x21, 1, 125, 1, 0))),
            ("an array for a value", bytes((1, 1, 7, 0, 0x28, 1, 1, 0x6D, 1, 0x21, 1, 117, 0, 0))),
            ("text that is not UTF-8", bytes((1, 1, 7, 0, 4, 1, 1, 0x74, 3, 0xED, 0xA0, 0x80, 0))),
            ("deletions of author 0", bytes((0, 1, 0, 1, 0, 1))),
            ("deletions of one author twice", bytes((0, 2, 7, 1, 0, 1, 7, 1, 4, 1))),
            ("no deletions of an author", bytes((0, 1, 7, 0))),
            ("an empty deletion", bytes((0, 1, 7, 1, 0, 0))),
            ("deletions out of order", bytes((0, 1, 7, 2, 5, 1, 0, 1))),
            ("deletions that overlap", bytes((0, 1, 7, 2, 0, 3, 2, 1))),
        ],
    )
    def test_malformed(self, name: str, data: bytes) -> None:
        with pytest.raises(MalformedEntryError):
            parse_update(data)

    def test_deletions_may_touch(self) -> None:
        assert parse_update(bytes((0, 1, 7, 2, 0, 3, 3, 1))).deletes == (DeleteRange(7, 0, 3), DeleteRange(7, 3, 4))

    @pytest.mark.parametrize("json", ["null", "true", "1", "-3", "1.5", '"red"', '"\\ud83d\\ude00"'])
    def test_text_attributes_are_scalars(self, json: str) -> None:
        update = Update((Block(7, 0, 1, None, None, "tnotes", None, Format("bold", json)),), ())
        assert parse_update(encode_update(update)) == update

    @pytest.mark.parametrize(
        "json",
        ["", "[]", "{}", "[" * 500, "NaN", "Infinity", "1e999", str(2**53), '"\\ud800"', "tru", "1 2", "9" * 900],
    )
    def test_text_attributes_that_engines_read_differently_are_malformed(self, json: str) -> None:
        update = Update((Block(7, 0, 1, None, None, "tnotes", None, Format("bold", json)),), ())
        with pytest.raises(MalformedEntryError):
            parse_update(encode_update(update))


class TestLimits:
    def block(self, value: bytes) -> bytes:
        return map_insert_update(AUTHOR, items=[("!AAAAAH", value)])

    def test_value(self) -> None:
        assert parse_update(self.block(bytes(ENTRY_LIMITS.value_bytes_max)))
        with pytest.raises(LimitError):
            parse_update(self.block(bytes(ENTRY_LIMITS.value_bytes_max + 1)))

    def test_size(self) -> None:
        with pytest.raises(LimitError):
            parse_update(bytes(ENTRY_LIMITS.entry_bytes_max + 1))

    def test_blocks(self) -> None:
        blocks = tuple(Block(7, at, 1, None, None, "tn", None, Deleted(1)) for at in range(ENTRY_LIMITS.blocks_max + 1))
        with pytest.raises(LimitError):
            parse_update(encode_update(Update(blocks, ())))
        assert len(parse_update(encode_update(Update(blocks, ())), bounds=DOCUMENT_BOUNDS).blocks) == len(blocks)

    def test_delete_ranges(self) -> None:
        ranges = tuple(DeleteRange(7, 2 * at, 2 * at + 1) for at in range(ENTRY_LIMITS.delete_ranges_max + 1))
        with pytest.raises(LimitError):
            parse_update(encode_update(Update((), ranges)))

    def test_authors_in_deletions_and_sections(self) -> None:
        many = range(1, ENTRY_LIMITS.authors_max + 2)
        with pytest.raises(LimitError):
            parse_update(encode_update(Update((), tuple(DeleteRange(author, 0, 1) for author in many))))
        with pytest.raises(LimitError):
            parse_update(
                encode_update(
                    Update(tuple(Block(author, 0, 1, None, None, "tn", None, Deleted(1)) for author in many), ())
                )
            )

    def test_counts_are_refused_before_anything_is_read(self) -> None:
        for data in (varint(AUTHOR_MAX), b"\1" + varint(AUTHOR_MAX) + b"\7\0", b"\0" + varint(AUTHOR_MAX)):
            with pytest.raises(LimitError):
                parse_update(data)

    def test_clock(self) -> None:
        fits = Update((Block(7, CLOCK_MAX - 1, 1, None, None, "tn", None, Deleted(1)),), ())
        assert parse_update(encode_update(fits)) == fits
        with pytest.raises(MalformedEntryError, match="clock"):
            parse_update(encode_update(Update((fits.blocks[0]._replace(clock=CLOCK_MAX),), ())))
        with pytest.raises(MalformedEntryError, match="clock"):
            parse_update(encode_update(Update((), (DeleteRange(7, CLOCK_MAX, CLOCK_MAX + 1),))))

    def test_text_attribute(self) -> None:
        for content in (Format("x" * 65, "null"), Format("", "null"), Format("b", '"' + "x" * 1024 + '"')):
            with pytest.raises(LimitError):
                parse_update(encode_update(Update((Block(7, 0, 1, None, None, "tn", None, content),), ())))

    def test_bounds_of_documents_lie_above_those_of_entries(self) -> None:
        assert all(document > entry for document, entry in zip(DOCUMENT_BOUNDS, ENTRY_BOUNDS, strict=True))


class TestEncode:
    @pytest.mark.parametrize("seed", range(10))
    def test_what_is_parsed_is_written_again_with_the_same_meaning(self, seed: int) -> None:
        for device in history(seed, devices=3, edits=12):
            copy: Doc[Any] = Doc()
            for _, _, _, update in device.log:
                again = encode_update(parse_update(update))
                assert parse_update(again) == parse_update(update)
                copy.apply_update(again)
            assert dict(copy.get("m", type=Map)) == dict(device.map)
            state = device.doc.get_update()
            assert parse_update(encode_update(parse_update(state))) == parse_update(state)

    def test_a_block_without_origins_needs_a_root(self) -> None:
        with pytest.raises(ValueError, match="root"):
            encode_update(Update((Block(7, 0, 1, None, None, None, None, Deleted(1)),), ()))


class TestMapInsert:
    @given(
        author=st.integers(1, AUTHOR_MAX),
        items=st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=300), min_size=1, max_size=5),
        texts=st.dictionaries(st.sampled_from(["tnotes", "tbody"]), st.text(min_size=1, max_size=200), max_size=2),
    )
    def test_equals_what_the_engine_emits(self, author: int, items: dict[str, bytes], texts: dict[str, str]) -> None:
        made = map_insert_update(Author(author), items=[*items.items()], texts=[*texts.items()])
        assert made == engine_update(author, [*items.items()], [*texts.items()])

    def test_goes_on_at_a_clock(self) -> None:
        first = map_insert_update(AUTHOR, items=[("!AAAAAH", b"1")])
        second = map_insert_update(AUTHOR, 1, items=[("~AAAAAH", b"2")])
        doc: Doc[Any] = Doc()
        doc.apply_update(first)
        doc.apply_update(second)
        assert {key: bytes(value) for key, value in doc.get("m", type=Map).items()} == {
            "!AAAAAH": b"1",
            "~AAAAAH": b"2",
        }

    def test_empty_texts_are_left_out(self) -> None:
        assert map_insert_update(AUTHOR, items=[("a", b"")], texts=[("tn", "")]) == map_insert_update(
            AUTHOR, items=[("a", b"")]
        )


@given(st.text())
def test_utf16_length(text: str) -> None:
    assert utf16_length(text) == sum(1 if character <= "\uffff" else 2 for character in text)
