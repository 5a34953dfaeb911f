"""docs/spec/wire.md says what the tables in the code say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from crdt_sync.protocol.codes import MessageType, code_table
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.states import acceptance_table, diagram

SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "wire.md"


def limits_table() -> str:
    """Defaults of `WireLimits` as a Markdown table."""
    lines = ["| limit | default |", "| --- | --- |"]
    limits = WireLimits()
    rows = (f"| `{item.name}` | {getattr(limits, item.name):,} |" for item in dataclasses.fields(limits))
    return "\n".join((*lines, *rows))


@pytest.mark.parametrize("table", [diagram, acceptance_table, code_table, limits_table])
def test_the_spec_holds_each_table_of_the_code(table) -> None:  # type: ignore[no-untyped-def]  # any of the code's tables
    assert table() in SPEC.read_text(encoding="utf-8")


def test_the_spec_has_every_message() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", SPEC.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(kind.value, kind.name) for kind in MessageType]
