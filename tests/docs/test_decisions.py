"""The index of decisions is complete, and each record has the parts that the first one asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


def test_numbers_are_used_once() -> None:
    numbers = [path.name[:4] for path in RECORDS]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_has_its_parts_and_is_in_the_index(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    title = re.match(r"# (\d+)\. (.+)\n", text)
    status = re.search(r"^- Status: (.+)$", text, re.MULTILINE)
    assert title is not None
    assert status is not None
    assert int(title[1]) == int(record.name[:4])
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    for part in ("Context", "Decision", "Considered instead", "Consequences"):
        assert f"\n## {part}\n" in text
    row = f"| {int(title[1])} | [{title[2]}]({record.name}) | {status[1]} |"
    assert row in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_index_lists_nothing_else() -> None:
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(listed)) == [path.name for path in RECORDS]
