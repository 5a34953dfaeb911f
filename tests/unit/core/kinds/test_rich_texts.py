"""Attributes of texts: what one writer sees is a list of characters with attributes, and writers at once agree."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Model, Replica, Text
from crdt_sync.core.update import FORMAT_CHARS_MAX
from crdt_sync.errors import InvalidValueError, RecordDeletedError
from crdt_sync.testing.exchange import exchange
from tests.unit.core.devices import history
from tests.unit.replica.devices import memory

Characters = list[tuple[str, dict[str, Any]]]
NAMES = ("bold", "size")
VALUES = (None, True, False, 1, 2, 'é"\n')
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=2)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 30), st.sampled_from(("a", "é😀", "xyz")), st.none() | ATTRIBUTES),
        st.tuples(st.just("delete"), st.integers(0, 30), st.integers(1, 4), st.none()),
        st.tuples(st.just("format"), st.integers(0, 30), st.integers(1, 9), ATTRIBUTES),
        st.tuples(st.just("replace"), st.integers(0, 30), st.sampled_from(("", "new", "😀")), st.none()),
    ),
    max_size=10,
)


class Page(Model):
    title: str = ""
    body: Text


def characters(text: Text) -> Characters:
    """A text, character by character."""
    runs = text.runs()
    assert "".join(piece for piece, _ in runs) == str(text)
    assert all(repr(one[1]) != repr(two[1]) for one, two in pairwise(runs)), "runs that are one"
    return [(character, attributes) for piece, attributes in runs for character in piece]


def edit(text: Text, mirror: Characters, change: tuple[Any, ...]) -> None:
    """One change of a text, and of its mirror."""
    what, at, how, attributes = change
    at %= len(mirror) + 1
    match what:
        case "insert":
            text.insert(at, how, attributes)
            held = mirror[at - 1][1] if at and attributes is None else attributes or {}
            kept = {name: value for name, value in held.items() if value is not None}
            mirror[at:at] = [(character, kept) for character in how]
        case "delete":
            count = min(how, len(mirror) - at)
            text.delete(at, count)
            del mirror[at : at + count]
        case "format":
            count = min(how, len(mirror) - at)
            text.format(at, count, **attributes)
            for place in range(at, at + count):
                merged = {**mirror[place][1], **attributes}
                mirror[place] = mirror[place][0], {name: value for name, value in merged.items() if value is not None}
        case _:
            before = "".join(character for character, _ in mirror)
            text.replace(before[:at] + how)
            mirror[:] = characters(text)
            assert [character for character, _ in mirror] == list(before[:at] + how)


def exactly(found: Characters) -> list[tuple[str, str]]:
    """With the types of values: 1 is not True here."""
    return [(character, repr(sorted(attributes.items()))) for character, attributes in found]


@given(EDITS)
def test_one_writer_has_characters_with_attributes(changes: list[tuple[Any, ...]]) -> None:
    with memory(0, Page) as replica:
        page = replica.create(Page, body="plain")
        mirror: Characters = [(character, {}) for character in "plain"]
        for change in changes:
            edit(page.body, mirror, change)
            assert exactly(characters(page.body)) == exactly(mirror)
        replica.port.rederive([key for key, _ in replica.port.listing("", after=None, limit=9)])
        assert exactly(characters(page.body)) == exactly(mirror)


@given(st.lists(st.tuples(st.integers(0, 1), EDITS), max_size=4))
def test_writers_at_once_agree(turns: list[tuple[int, list[tuple[Any, ...]]]]) -> None:
    with memory(1, Page) as one, memory(2, Page) as two:
        page = one.create(Page, body="plain text")
        assert exchange(one, two).proven_equal
        pages = page, two.get(Page, page.id)
        for at, changes in turns:
            for change in changes:
                edit(pages[at].body, characters(pages[at].body), change)
        assert exchange(one, two).proven_equal
        assert exactly(characters(pages[0].body)) == exactly(characters(pages[1].body))
        assert one.count(Page, body=str(page.body)) == two.count(Page, body=str(page.body)) == 1


@pytest.mark.parametrize("seed", range(25))
def test_the_engine_alone_agrees_too_and_screening_takes_all_of_it(seed: int) -> None:
    """Formatting, clearing and deleting at once: what the engine writes for it is accepted, and all see the same."""
    devices = history(seed, devices=3, edits=30)
    for name in devices[0].texts:
        shown = {
            repr([(text, sorted((held or {}).items())) for text, held in each.texts[name].diff()]) for each in devices
        }
        assert len(shown) == 1


def test_what_is_inserted_into_a_formatted_piece_belongs_to_it() -> None:
    with memory(1, Page) as one, memory(2, Page) as two:
        page = one.create(Page, body="make this bold")
        exchange(one, two)
        page.body.format(5, 4, bold=True)
        two.get(Page, page.id).body.insert(7, "at l")
        exchange(one, two)
        assert page.body.runs() == [("make ", {}), ("that lis", {"bold": True}), (" bold", {})]


def test_formatting_again_writes_nothing() -> None:
    with memory(0, Page) as replica:
        page = replica.create(Page, body="abc")
        page.body.format(0, 2, bold=True)
        count = len(list(replica.operations()))
        page.body.format(0, 2, bold=True, size=None)
        page.body.format(1, 1, bold=True)
        page.body.format(0, 0, bold=False)
        page.body.format(0, 3)
        assert len(list(replica.operations())) == count
        page.body.format(0, 3, bold=None)
        assert page.body.runs() == [("abc", {})]
        assert len(list(replica.operations())) == count + 1


def test_a_transaction_that_only_ends_formatting_counts() -> None:
    """The engine deletes the marks then and adds none: the edit must move the state vector all the same."""
    with memory(1, Page) as one, memory(2, Page) as two:
        page = one.create(Page, body="abc")
        page.body.format(0, 2, bold=True)
        exchange(one, two)
        two.delete(two.get(Page, page.id))
        page.body.format(0, 2, bold=None)
        assert exchange(one, two).proven_equal
        assert two.get(Page, page.id).body.runs() == [("abc", {})]


@pytest.mark.parametrize(
    "attributes",
    [
        {"é": True},
        {"a b": True},
        {"": True},
        {"x" * 65: True},
        {"size": 1.5},
        {"size": 2**53},
        {"size": [1]},
        {"size": b"1"},
        {"link": "\ud800"},
        {"link": "x" * FORMAT_CHARS_MAX},
        {"link": "\x00" * 200},
    ],
    ids=str,
)
def test_attributes_that_not_everybody_reads_alike_are_refused(attributes: dict[str, Any]) -> None:
    with memory(0, Page) as replica:
        page = replica.create(Page, body="abc")
        with pytest.raises(InvalidValueError):
            page.body.format(0, 2, **attributes)
        with pytest.raises(InvalidValueError):
            page.body.insert(0, "x", attributes)
        assert page.body.runs() == [("abc", {})]


@pytest.mark.parametrize("value", ["x" * (FORMAT_CHARS_MAX - 2), "\x01" * 170, 2**53 - 1, 1 - 2**53, '😀\\"\n', ""])
def test_the_largest_attributes_come_back(value: Any) -> None:
    with memory(1, Page) as one, memory(2, Page) as two:
        page = one.create(Page, body="abc")
        page.body.format(0, 2, index=value, count=value)
        page.body.insert(3, "d", {"self": value})
        assert exchange(one, two).proven_equal
        runs = two.get(Page, page.id).body.runs()
        assert runs == [("ab", {"count": value, "index": value}), ("c", {}), ("d", {"self": value})]
        assert type(runs[0][1]["count"]) is type(value)


def test_ranges_outside_of_the_text_and_dead_records_are_refused() -> None:
    with memory(0, Page) as replica:
        page = replica.create(Page, body="abc")
        for at, count in ((0, 4), (-1, 1), (3, 1), (0, -1)):
            with pytest.raises(InvalidValueError):
                page.body.format(at, count, bold=True)
        replica.delete(page)
        with pytest.raises(RecordDeletedError):
            page.body.format(0, 1, bold=True)
        with pytest.raises(RecordDeletedError):
            page.body.runs()


def test_formatting_survives_reopening_and_assignment(tmp_path: Any) -> None:
    with Replica.open(tmp_path / "a.db", models=[Page], state_dir=tmp_path) as replica:
        page = replica.create(Page, body="one two three")
        page.body.format(4, 3, bold=True)
        page.body.replace("one 2 two three")
        name = page.id
    with Replica.open(tmp_path / "a.db", models=[Page], state_dir=tmp_path) as replica:
        page = replica.get(Page, name)
        assert ("two", {"bold": True}) in page.body.runs()
        assert str(page.body) == "one 2 two three"
        assert page.model_dump(mode="json")["body"] == "one 2 two three", "as JSON a text is plain"


def test_the_journal_names_the_attributes_that_were_given() -> None:
    with memory(0, Page) as replica:
        page = replica.create(Page, body="abc")
        page.body.format(0, 2, bold=True)
        assert dict(replica.last_operation().data) == {"body": [{"bold": True}]}
