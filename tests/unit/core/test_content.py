"""What a document holds: read and written back, and whatever somebody else may have put there is read without harm."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Counter, Model, Set, Text, ask
from crdt_sync.core import codec
from crdt_sync.core.content import (
    parse_content,
    read_context,
    read_creation,
    read_register,
    write_context,
    write_creation,
    write_register,
)
from crdt_sync.core.ids import AUTHOR_MAX, Author, author_text
from crdt_sync.core.kinds.plain import column_value
from crdt_sync.core.layout import KeyClass, map_key, parse_map_key
from crdt_sync.core.model import spec_of
from crdt_sync.errors import MalformedEntryError
from tests.unit.core.values import texts, values

authors = st.integers(1, AUTHOR_MAX).map(Author)
contexts = st.dictionaries(authors, st.integers(0, 2**35 - 1), max_size=4)
hlcs = st.integers(0, 2**64 - 1)


class Sample(Model):
    any: Any = None
    number: int = 0
    text: str = ""
    when: datetime | None = None
    state: Literal["a", "b"] = "a"
    asked: date | None = ask(default=None)
    asked_any: Any = ask(default=None)
    notes: Text
    votes: Counter
    tags: Set[Any]
    names: Set[str]


SPEC = spec_of(Sample)


@given(contexts)
def test_contexts_come_back(context: dict[Author, int]) -> None:
    data = write_context(context)
    assert read_context(b"x" + data + b"y", 1) == (context, 1 + len(data))
    assert write_context(dict(reversed(list(context.items())))) == data


@given(hlcs, contexts, values)
def test_registers_come_back(hlc: int, context: dict[Author, int], value: Any) -> None:
    data = codec.encode(value)
    assert read_register(write_register(hlc, context, data)) == (hlc, context, data)


@given(hlcs, st.dictionaries(texts.filter(bool), st.tuples(values, st.booleans()), max_size=4))
def test_creations_come_back(hlc: int, fields: dict[str, tuple[Any, bool]]) -> None:
    held = {name: value for name, (value, _) in fields.items()}
    defaults = {name for name, (_, given) in fields.items() if not given}
    creation = read_creation(Author(7), write_creation(hlc, held, defaults=defaults))
    assert (creation.author, creation.hlc) == (7, hlc)
    assert creation.values == held
    assert creation.defaults == defaults


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_register, lambda raw: read_creation(Author(1), raw), lambda raw: read_context(raw, 0)):
        with contextlib.suppress(MalformedEntryError):  # anything else is an error here
            read(data)


def test_a_context_out_of_bounds_is_refused() -> None:
    for data in (write_context({Author(0): 1}), b"\2" + b"\1\1" * 2, b"\xff\xff\x7f", b"\1\1", b""):
        with pytest.raises(MalformedEntryError):
            read_context(data, 0)


# ── what others may have put there ───────────────────────────────────────────────────────────────────────────────────

fields = st.sampled_from([*SPEC.fields, "unknown"])
some_authors = st.integers(1, 4).map(Author)
cell_values = st.one_of(st.binary(max_size=30), values.map(codec.encode))
register_cells = st.builds(write_register, hlcs, contexts, cell_values)
elements = st.one_of(
    texts.filter(bool),
    values.map(codec.encode).filter(lambda data: len(data) < 150).map(lambda data: "=" + data.decode("latin-1")),
    st.binary(min_size=1, max_size=20).map(lambda data: "#" + data.hex()),
)
cells = st.one_of(
    st.tuples(
        st.builds(map_key, st.just(KeyClass.PLAIN), some_authors, field=fields), st.one_of(register_cells, cell_values)
    ),
    st.tuples(
        st.builds(map_key, st.just(KeyClass.CAUSAL), some_authors, field=fields, rest=st.integers(1, 4).map(str)),
        st.one_of(register_cells, cell_values),
    ),
    st.tuples(st.builds(map_key, st.just(KeyClass.COUNTER), some_authors, field=fields), cell_values),
    st.tuples(st.builds(map_key, st.just(KeyClass.SET), some_authors, field=fields, rest=elements), cell_values),
    st.tuples(
        st.builds(map_key, st.sampled_from([KeyClass.TOMBSTONE, KeyClass.TOUCH]), some_authors),
        st.one_of(contexts.map(write_context), cell_values),
    ),
    st.tuples(
        st.builds(map_key, st.just(KeyClass.CREATION), some_authors),
        st.one_of(
            st.builds(write_creation, hlcs, st.dictionaries(st.sampled_from(list(SPEC.fields)), values, max_size=3)),
            cell_values,
        ),
    ),
    st.tuples(texts, cell_values),
)


@given(st.dictionaries(cells.map(lambda cell: cell[0]), st.binary(), max_size=0), st.lists(cells, max_size=12))
def test_whatever_a_document_holds_is_read_without_harm(start: dict[str, bytes], held: list[tuple[str, bytes]]) -> None:
    content = parse_content(start | dict(held), {"notes": "n"}, {1: 5, 2: 3})
    assert content.is_live("edit_wins") in (True, False)
    for kind in SPEC.fields.values():
        shown = kind.read(content)
        kind.to_column(shown)
        clashes = kind.clashes(content)
        assert all(len(clash.candidates) > 1 for clash in clashes)
        for item in kind.candidates(content):
            kind.decode(item.data)


@given(values)
def test_any_value_has_a_column(value: Any) -> None:
    made = column_value(value)
    assert made is None or isinstance(made, int | float | str | bytes)
    str(made)


@pytest.mark.parametrize(
    "value",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-11))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=11))),
        datetime.min.replace(tzinfo=UTC),
        Decimal("NaN"),
        {"deep": [({"a": (Decimal(1), date.min, b"\xff")},)]},
        float("nan"),
        timedelta.max,
    ],
    ids=repr,
)
def test_extreme_values_have_a_column(value: Any) -> None:
    assert column_value(value) is not None


@given(
    some_authors, st.sampled_from(list(KeyClass)), st.sampled_from(["a", "_x9", "f" * 64]), st.integers(1, 10**10 - 1)
)
def test_keys_come_back(author: Author, key_class: KeyClass, field: str, counter: int) -> None:
    plain = key_class in (KeyClass.CREATION, KeyClass.TOMBSTONE, KeyClass.TOUCH, KeyClass.ALIAS)
    rest = {KeyClass.CAUSAL: str(counter), KeyClass.SET: "é:😀", KeyClass.LIST: "/:x"}.get(key_class, "")
    key = parse_map_key(map_key(key_class, author, field=field, rest=rest))
    assert (key.key_class, key.author, key.field, key.rest) == (key_class, author, "" if plain else field, rest)
    assert key.register == key.field


@given(some_authors, st.sampled_from([KeyClass.PLAIN, KeyClass.CAUSAL]), st.text(max_size=172))
def test_entries_of_maps_come_back(author: Author, key_class: KeyClass, entry: str) -> None:
    rest = "17" if key_class is KeyClass.CAUSAL else ""
    key = parse_map_key(map_key(key_class, author, field="prefs/" + entry, rest=rest))
    assert (key.field, key.entry, key.rest, key.register) == ("prefs", entry, rest, "prefs/" + entry)


BAD_KEYS = [
    "!",
    "x",
    "!AAAAA",
    "=f",
    "=f:",
    "=:AAAAAB",
    "=1:AAAAAB",
    "=f:AAAAABx",
    "?f:AAAAAB",
    "?f:AAAAAB0",
    "?f:AAAAABx",
    "?f:AAAAAB11111111111",
    "?f:AAAAAB٣",
    "*f:AAAAAB",
    "+f:AAAAAB1",
    "=é:AAAAAB",
    "~AAAAAA",
    "!AAAAABx",
]


@pytest.mark.parametrize("key", ["", *BAD_KEYS, "*f:AAAAAB" + "x" * 173, f"={'f' * 65}:{author_text(Author(1))}"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(MalformedEntryError):
        parse_map_key(key)
