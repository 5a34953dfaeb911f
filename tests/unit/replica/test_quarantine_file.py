"""A quarantine file is one that anybody may have changed: each line is a row as a repair writes it, or is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from crdt_sync.errors import InputError
from crdt_sync.replica.repairing import quarantine, read_quarantine
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Task, on_disk, state_of

HEAD = {"format": "crdt_sync quarantine", "version": 1, "store": "a.db"}
ROW: dict[str, Any] = {"table": "log", "key": "00", "value": "00", "reason": "r"}
ABOUT = {"author": 1, "first": 1, "last": 1, "own": True, "records": [["Task", "x"]]}


def written(place: Path, *lines: object) -> Path:
    file = place / "q.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in (HEAD, *lines)))
    return file


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"sum": "ff" * 8}, ROW | ABOUT, ROW | ABOUT | {"type": "create", "table": "operation"}]
    assert list(read_quarantine(written(tmp_path, *rows))) == rows


BAD: dict[str, object] = {
    "a deep line": "[" * 200_000,
    "a number": 5,
    "no row": {},
    "no reason": {key: value for key, value in ROW.items() if key != "reason"},
    "a reason that is a list": ROW | {"reason": ["x"]},
    "a key that is a number": ROW | {"key": 5},
    "half a byte": ROW | {"value": "0"},
    "a table that is none": ROW | {"table": "x"},
    "an unknown field": ROW | {"more": 1},
    "no last": ROW | {key: value for key, value in ABOUT.items() if key != "last"},
    "records that are a number": ROW | ABOUT | {"records": 5},
    "records of numbers": ROW | ABOUT | {"records": [5]},
    "records of one name": ROW | ABOUT | {"records": [["x"]]},
    "too many records": ROW | ABOUT | {"records": [["x", "y"]] * 101},
    "an author that is no number": ROW | ABOUT | {"author": "a"},
    "an author without end": '{"table": "log", "key": "", "value": "", "reason": "", "author": ' + "9" * 5000 + "}",
    "no text": '"\\ud800"',
    "cut off": '{"table": "log", "ke',
}


@pytest.mark.parametrize("what", BAD)
def test_a_line_that_is_no_row_is_refused(tmp_path: Path, what: str) -> None:
    file = written(tmp_path, ROW, BAD[what])
    with pytest.raises(InputError, match="line 3") as caught:
        list(read_quarantine(file))
    assert caught.value.hint
    assert len(caught.value.message) < 500
    with on_disk(tmp_path) as replica, pytest.raises(InputError):
        replica.put_back_quarantined(file)


@pytest.mark.parametrize("data", [b"", b"[" * 200_000, b"\xff\xfe", b"{}", b'{"format": "crdt_sync quarantine"}\n'])
def test_another_head_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "q.jsonl"
    file.write_bytes(data)
    with pytest.raises(InputError, match="no quarantine file") as caught:
        list(read_quarantine(file))
    assert caught.value.hint


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none"):
        with pytest.raises(InputError, match="file") as caught:
            list(read_quarantine(tmp_path / name))
        assert caught.value.hint


@pytest.mark.parametrize("bound", ["FILE_BYTES_MAX", "LINE_BYTES_MAX"])
def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    file = written(tmp_path, ROW | {"value": "00" * 200})
    monkeypatch.setattr(quarantine, bound, 300)
    with pytest.raises(InputError, match="larger than") as caught:
        list(read_quarantine(file))
    assert caught.value.hint


@pytest.mark.parametrize("key", [b"\xff" * 8, b"\1" * 30, b""])
def test_an_operation_with_a_key_of_no_journal_is_put_back_nowhere_else(tmp_path: Path, key: bytes) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="one")
        store = state_of(replica).store
        number, value = next(store.scan(Table.OPERATION))
        with store.transaction():
            store.delete(Table.OPERATION, number)
        line = {"table": "operation", "key": key.hex(), "value": value.hex(), "reason": "r"}
        report = replica.put_back_quarantined(written(tmp_path, line))
        assert (report.rows, len(report.left)) == (0, 1)
