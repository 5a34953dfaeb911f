"""docs/spec/storage.md says what the code does: tables, limits, and rows byte for byte."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from pathlib import Path

import pytest

from crdt_sync import Model, Replica, Set, Text
from crdt_sync.core import codec, limits
from crdt_sync.core.layout import KeyClass
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import LimitError
from crdt_sync.replica.documents import LARGE_BYTES, TAIL_UPDATES_MAX
from crdt_sync.storage.base import Table
from crdt_sync.storage.migrations import APPLICATION_ID, SCHEMA_VERSION
from tests.docs.storage_example import annotated, dump, log_row_pieces, write_store

SPEC = (Path(__file__).resolve().parents[2] / "docs" / "spec" / "storage.md").read_text(encoding="utf-8")


class Basket(Model):
    fruits: Set[str]
    notes: Text


def section(title: str) -> str:
    found = re.search(rf"^#+ {title}$(.*?)(?=^#+ |\Z)", SPEC, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def test_tables_are_those_of_the_store() -> None:
    assert first_column(section("Tables")) == [table.value for table in Table]


def test_file_is_marked_as_it_says() -> None:
    assert f"`{APPLICATION_ID:#010x}`".replace("0X", "0x") in SPEC
    assert f"# The store, schema version {SCHEMA_VERSION}\n" in SPEC


def test_limits_are_those_of_the_space() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", section("Limits"), re.MULTILINE)
    actual = {field.name: getattr(ENTRY_LIMITS, field.name) for field in dataclasses.fields(ENTRY_LIMITS)}
    actual |= {name.lower(): value for name, value in vars(limits).items() if isinstance(value, int)}
    assert {name: int(number.replace(",", "")) for name, number in listed} == actual


def test_hints_lead_to_the_limits() -> None:
    with pytest.raises(LimitError) as refusal:
        codec.encode(1 << ENTRY_LIMITS.integer_bits_max)
    assert f"{ENTRY_LIMITS.integer_bits_max}" in refusal.value.message
    assert "docs/spec/storage.md lists the limits" in refusal.value.hint
    with Replica.open(":memory:", models=[Basket]) as replica, pytest.raises(LimitError) as refusal:
        replica.create(Basket, notes="n" * (limits.TEXT_INSERT_CHARS_MAX + 1))
    assert f"{limits.TEXT_INSERT_CHARS_MAX}" in refusal.value.message
    largest = (1 << ENTRY_LIMITS.integer_bits_max) - 1
    assert [codec.decode(codec.encode(value)) for value in (largest, -largest)] == [largest, -largest]


def test_key_classes_are_those_of_the_layout() -> None:
    assert first_column(section("A document")) == [member.value for member in KeyClass]


def test_thresholds_are_those_of_the_code() -> None:
    work = " ".join(section("Order of work").split())
    assert f"{LARGE_BYTES // 1024} KiB" in work
    assert f"{TAIL_UPDATES_MAX:,} updates" in work


def test_example_is_what_the_package_writes(tmp_path: Path) -> None:
    tables = write_store(tmp_path)
    pieces = log_row_pieces(tables)
    assert b"".join(piece.data for piece in pieces) == tables["_crdt_log"][bytes(7) + b"\x01"]
    shown = re.findall(r"^```text\n(.*?)\n```$", section("Example"), re.MULTILINE | re.DOTALL)
    assert shown == [dump(tables), annotated(pieces)], "python -m tests.docs.storage_example prints them anew"


def test_meta_names_every_key_of_a_store(tmp_path: Path) -> None:
    written = {key.decode() for key in write_store(tmp_path)["_crdt_meta"]}
    assert set(first_column(section("Meta"))) == written


def test_sets_stand_in_the_view_as_json(tmp_path: Path) -> None:
    path = tmp_path / "basket.db"
    with Replica.open(path, models=[Basket], state_dir=tmp_path / "state") as replica:
        replica.create(Basket, fruits=["a"])
    connection = sqlite3.connect(path)
    ((cell,),) = connection.execute("SELECT fruits FROM Basket").fetchall()
    connection.close()
    assert json.loads(cell) == ["a"]
