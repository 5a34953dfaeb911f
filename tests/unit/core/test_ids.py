"""Identifiers: written and read back, and nothing else is read."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.ids import (
    AUTHOR_MAX,
    Author,
    RecordId,
    author_of,
    author_text,
    device_id,
    document_key,
    model_prefix,
    natural_record_id,
    parse_author_text,
    record_id,
    split_document_key,
)
from crdt_sync.errors import InputError, MalformedEntryError

authors = st.integers(1, AUTHOR_MAX).map(Author)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)


@given(authors, authors)
def test_authors_as_text_come_back_and_keep_their_order(one: Author, two: Author) -> None:
    assert parse_author_text(author_text(one)) == one
    assert len(author_text(one)) == 6
    assert (author_text(one) == author_text(two)) == (one == two)


@pytest.mark.parametrize("text", ["", "AAAAA", "AAAAAAA", "AAAAA!", "AAAAAA", "______", "AAAAAé", "😀"])
def test_other_texts_are_no_author(text: str) -> None:
    with pytest.raises(MalformedEntryError):
        parse_author_text(text)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8))
def test_any_salt_gives_an_author(key: bytes, salt: bytes) -> None:
    assert 1 <= author_of(key, salt) <= AUTHOR_MAX


@given(st.sampled_from(["", "p", "é" * 32]), names, st.uuids())
def test_document_keys_come_back(partition: str, model: str, record: uuid.UUID) -> None:
    key = document_key(partition, model, RecordId(str(record)))
    assert split_document_key(key) == (partition, model, str(record))
    assert key.startswith(model_prefix(partition, model))


@pytest.mark.parametrize(("partition", "model"), [("", ""), ("p" * 65, "m"), ("", "m" * 65), ("", "é" * 33)])
def test_names_out_of_bounds_make_no_key(partition: str, model: str) -> None:
    with pytest.raises(MalformedEntryError):
        document_key(partition, model, RecordId(str(uuid.UUID(int=1))))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    try:
        partition, model, record = split_document_key(data)
    except MalformedEntryError:
        return
    assert (
        data
        == bytes((len(partition.encode()),))
        + partition.encode()
        + bytes((len(model.encode()),))
        + model.encode()
        + uuid.UUID(record).bytes
    )


def test_record_ids() -> None:
    made = uuid.UUID(int=5)
    assert record_id(made) == record_id(str(made).upper()) == str(made)
    for wrong in ("", "x", None, 5, b"x"):
        with pytest.raises(InputError):
            record_id(wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_natural_ids_depend_on_model_and_key_alone() -> None:
    made = natural_record_id("Task", b"k")
    assert made == natural_record_id("Task", b"k")
    assert len({made, natural_record_id("Tas", b"kk"), natural_record_id("Task", b"l")}) == 3
    assert uuid.UUID(made).version == 8
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_device_ids_are_for_people_to_compare() -> None:
    name = device_id(bytes(32))
    assert name == device_id(bytes(32)) != device_id(b"\1" * 32)
    groups = name.split("-")
    assert [len(group) for group in groups] == [4, 4, 4, 4]
