"""`crdt-sync forks`, what `status` and `check` say of forks, and the way out of one that the guide describes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.cli.conftest import Cli, created


@pytest.fixture
def forked(  # noqa: PLR0917  fixtures
    cli: Cli, store: Path, other: Path, models_file: Path, state_dir: Path, tmp_path: Path
) -> Path:
    """The store of a device, one of whose branches ``other`` holds; the other branch is at ``c.db``."""
    third = tmp_path / "c.db"
    assert cli("init", third, "--models", models_file, "--name", "laptop").code == 0
    name = created(cli, store, "title=shared", "notes=0")
    _sync(store, other, third)
    for suffix in ("", "-state"):
        source = store if not suffix else state_dir
        (shutil.copytree if suffix else shutil.copy)(source, tmp_path / f"then{suffix}")
    assert cli("set", store, "Task", name, "notes=0 lost").code == 0
    created(cli, store, "title=lost")
    _sync(store, third)
    shutil.copy(tmp_path / "then", store)
    shutil.rmtree(state_dir)
    shutil.copytree(tmp_path / "then-state", state_dir)
    assert cli("set", store, "Task", name, "notes=0 kept").code == 0
    created(cli, store, "title=kept")
    _sync(store, other)
    _sync(store, third)
    return store


def _sync(one: Path, *others: Path) -> None:
    for path in others:
        with Replica.open(one) as left, Replica.open(path) as right:
            exchange(left, right)


def test_a_store_without_forks_says_so(cli: Cli, store: Path) -> None:
    assert cli("forks", store).out == "no forks\n"
    assert cli("forks", store, "--json").json == {"forks": []}
    assert "two pasts" not in cli("status", store).out
    assert "pasts" not in cli("check", store).out


def test_a_fork_is_shown_with_devices_times_and_records(cli: Cli, forked: Path) -> None:
    (fork,) = cli("forks", forked, "--json").json["forks"]
    device = cli("status", forked, "--json").json["device_id"]
    assert (fork["device_id"], fork["is_own"], fork["shared"], fork["kept"]) == (device, True, 1, 2)
    assert [item["device_name"] for item in fork["devices"]] == ["laptop"]
    assert fork["first_seen"] == fork["last_seen"] > "2020"
    assert sorted((item["here"], item["kept"]) for item in fork["records"]) == [
        (False, True),
        (True, False),
        (True, True),
    ]
    told = cli("forks", forked).out
    assert "this device wrote on from two pasts" in told
    assert "they part after entry 1 of author" in told
    assert "device laptop (" in told
    assert "written here and elsewhere" in told
    assert "Two pasts of one device" in told
    assert "this device wrote on from two pasts" in cli("status", forked).out
    assert cli("check", forked).code == 0
    assert "1 devices wrote on from two pasts, which is no damage" in cli("check", forked).out


def test_those_who_hold_the_other_branch_are_told_too(cli: Cli, forked: Path, tmp_path: Path) -> None:
    (fork,) = cli("forks", tmp_path / "c.db", "--json").json["forks"]
    device = cli("status", forked, "--json").json["device_id"]
    assert (fork["device_id"], fork["is_own"], fork["devices"][0]["device_id"]) == (device, False, device)
    assert f"device {device} wrote on from two pasts" in cli("forks", tmp_path / "c.db").out


def test_the_way_out_that_the_guide_describes(
    cli: Cli, forked: Path, other: Path, models_file: Path, tmp_path: Path
) -> None:
    """Of two devices that hold different branches, one begins anew and carries over what it showed."""
    laptop, carried = tmp_path / "c.db", tmp_path / "carried.jsonl"
    old = cli("status", laptop, "--json").json["device_id"]
    assert cli("export", laptop, "--output", carried).code == 0
    anew = tmp_path / "anew.db"
    assert cli("init", anew, "--models", models_file).code == 0
    _sync(anew, forked)
    assert cli("import", anew, carried).code == 0
    written = {item["id"] for item in cli("forks", laptop, "--json").json["forks"][0]["records"]}
    lines = [line for line in carried.read_text().splitlines() if json.loads(line).get("id") in written]
    chosen = tmp_path / "chosen.jsonl"
    chosen.write_text("\n".join(lines))
    assert cli("import", anew, chosen, "--update").code == 0
    assert cli("forget", forked, old).code == 0
    for _ in range(2):
        _sync(anew, forked, other)
    shown = [cli("list", path, "Task", "--json").json for path in (forked, other, anew)]
    assert shown[0] == shown[1] == shown[2]
    assert sorted(item["fields"]["title"] for item in shown[0]["records"]) == ["kept", "lost", "shared"]
    assert {item["fields"]["notes"] for item in shown[0]["records"]} == {"0 lost", ""}
    for path in (forked, other, anew):
        assert cli("forks", path).out == "no forks\n", cli("forks", path).out


def test_notes_that_cannot_be_read_are_damage(cli: Cli, forked: Path) -> None:
    with open_sqlite(forked) as held, held.transaction():
        held.put(Table.META, b"forks", b"\xc1")
    assert cli("check", forked).code == 10
    assert "the notes of forks cannot be read" in cli("check", forked).out
