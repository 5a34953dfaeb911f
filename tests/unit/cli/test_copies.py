"""`crdt-sync backup`, `crdt-sync put-back` and `crdt-sync safe-to-wipe`."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.testing.exchange import exchange
from tests.unit.cli.conftest import Cli, created
from tests.unit.replica.devices import state_of


def test_a_backup_of_a_store_in_use_is_a_store(cli: Cli, store: Path, tmp_path: Path) -> None:
    record = created(cli, store, "title=Milk")
    target = tmp_path / "backup.db"
    store.chmod(0o600)
    with Replica.open(store):
        found = cli("backup", store, target, "--json")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600 or sys.platform == "win32"
    assert found.code == 0, found.err
    assert found.json == {"path": str(target), "file_bytes": target.stat().st_size, "log_rows": 1}
    assert cli("check", target).code == 0
    assert cli("show", target, "Task", record, "--json").json["fields"]["title"] == "Milk"
    again = cli("backup", store, target)
    assert again.code == 6
    assert "exists already" in again.err
    assert "complete and checked" in cli("backup", store, tmp_path / "other.db").out


def test_a_store_is_safe_to_wipe_when_another_device_signed_for_everything(cli: Cli, store: Path, other: Path) -> None:
    created(cli, store, "title=Milk")
    before = cli("safe-to-wipe", store)
    assert before.code == 1
    assert "no other device" in before.out
    with Replica.open(store) as here, Replica.open(other) as there:
        assert exchange(here, there).proven_equal
        held_by = there.device_id
    found = cli("safe-to-wipe", store)
    assert found.code == 0
    assert f"device {held_by} holds everything" in found.out
    created(cli, store, "title=Bread")
    later = cli("safe-to-wipe", store, "--json")
    assert later.code == 1
    assert (later.json["safe"], later.json["pending"]) == (False, 1)
    assert [(item["device_id"], item["missing"]) for item in later.json["devices"]] == [(held_by, 1)]
    assert "lacks 1 of 2 entries" in cli("safe-to-wipe", store).out


def test_content_that_a_repair_kept_is_told_until_another_device_has_it(cli: Cli, store: Path, other: Path) -> None:
    created(cli, store, "title=Milk")
    with Replica.open(store) as here, Replica.open(other) as there:
        assert exchange(here, there).proven_equal
        with state_of(here).store.transaction():
            KeptContent(state_of(here).store).note(2)
    assert cli("status", store, "--json").json["kept_content"] == 2
    assert "2 records have content that is in no entry" in cli("status", store).out
    found = cli("safe-to-wipe", store)
    assert found.code == 1
    assert "holds all entries, but is not known to have what is in no entry" in found.out
    with Replica.open(store) as here, Replica.open(other) as there:
        assert exchange(here, there).proven_equal
    assert cli("safe-to-wipe", store).code == 0
    assert cli("status", store, "--json").json["kept_content"] == 0


def test_a_backup_is_put_back(cli: Cli, store: Path, other: Path, tmp_path: Path) -> None:
    created(cli, store, "title=before")
    backup, wrong = tmp_path / "backup.db", tmp_path / "wrong.db"
    cli("backup", store, backup)
    cli("backup", other, wrong)
    created(cli, store, "title=after")
    refused = cli("put-back", store, wrong, "--json")
    assert refused.code == 6
    assert refused.error["hint"]
    found = cli("put-back", store, backup)
    assert found.code == 0, found.err
    assert "what was there is kept as" in found.out
    listed = cli("list", store, "Task").out
    assert "before" in listed
    assert "after" not in listed


@pytest.fixture
def half_replaced(cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that was gone but for its log, whose restore was killed between its two steps; a backup is beside it."""
    created(cli, store, "title=Milk")
    assert cli("backup", store, tmp_path / "backup.db").code == 0
    store.unlink()
    store.with_name(store.name + "-wal").write_bytes(b"of the old one")

    def killed(self: Path, target: Path) -> Path:
        if target == store:
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as during:
        during.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Replica.put_back(store, tmp_path / "backup.db")
    assert store.with_name(store.name + ".next").exists()
    return store


@pytest.mark.parametrize(
    "command",
    [
        ["create", "STORE", "Task", "title=Bread"],
        ["list", "STORE", "Task"],
        ["status", "STORE"],
        ["compact", "STORE"],
        ["repair", "STORE"],
        ["put-back", "STORE", "BACKUP"],
        ["init", "STORE"],
    ],
)
def test_a_command_ends_a_restore_that_was_interrupted(
    cli: Cli, half_replaced: Path, tmp_path: Path, command: list[str]
) -> None:
    names = {"STORE": half_replaced, "BACKUP": tmp_path / "backup.db"}
    found = cli(*(names.get(word, word) for word in command))
    assert found.code == 0, found.err
    assert not half_replaced.with_name(half_replaced.name + ".next").exists()
    assert "Milk" in cli("list", half_replaced, "Task").out


@pytest.mark.parametrize("command", [["check", "STORE"], ["backup", "STORE", "COPY"], ["repair", "STORE", "--dry-run"]])
def test_a_command_that_changes_nothing_names_the_one_that_ends_it(
    cli: Cli, half_replaced: Path, tmp_path: Path, command: list[str]
) -> None:
    names = {"STORE": half_replaced, "COPY": tmp_path / "copy.db"}
    words = [names.get(word, word) for word in command]
    found = cli(*words)
    assert found.code == 6
    assert f"crdt-sync repair {half_replaced}" in "".join(found.err.split("\n"))
    assert cli("repair", half_replaced).code == 0
    assert cli(*words).code == 0
