"""`crdt-sync compact` and `crdt-sync forget`."""

from __future__ import annotations

from pathlib import Path

from crdt_sync import Replica
from crdt_sync.testing.exchange import exchange
from tests.unit.cli.conftest import Cli, created


def synced(one: Path, other: Path) -> None:
    with Replica.open(one) as here, Replica.open(other) as there:
        for _ in range(2):
            assert exchange(here, there).proven_equal


def test_compact_folds_the_log_and_leaves_a_sound_store(cli: Cli, store: Path, other: Path) -> None:
    record = created(cli, store, "title=Milk", "votes=3")
    cli("set", store, "Task", record, "title=Butter")
    assert cli("compact", store, "--json").json["rows_after"] == 2  # nobody else holds it yet
    synced(store, other)
    found = cli("compact", store, "--json")
    assert found.code == 0, found.err
    assert (found.json["rows_before"], found.json["rows_after"]) == (2, 0)
    assert found.json["waiting_for"] == []
    assert cli("check", store).code == 0
    assert cli("show", store, "Task", record, "--json").json["fields"]["title"] == "Butter"
    assert cli("set", store, "Task", record, "title=Bread").code == 0
    assert cli("check", store).code == 0
    assert "earlier operations, compacted" in cli("log", store, "--record", record).out
    synced(store, other)
    assert "rows of the log: 1 before, 0 after" in cli("compact", store).out


def test_compact_names_the_device_it_waits_for_until_that_is_forgotten(cli: Cli, store: Path, other: Path) -> None:
    one, record = store, created(cli, store, "title=Milk")
    synced(store, other)
    assert cli("set", one, "Task", record, "title=later").code == 0
    waiting = cli("compact", one, "--json").json["waiting_for"]
    assert len(waiting) == 1
    assert f"when device {waiting[0]} has synced" in cli("compact", one).out
    assert cli("compact", one, "--retention", "0", "--json").json["rows_after"] == 1  # it is still pending
    assert "not waited for" in cli("forget", one, waiting[0]).out
    assert cli("compact", one, "--json").json["waiting_for"] == []
    assert cli("forget", one, waiting[0]).code == 2


def test_a_store_that_is_open_is_left_alone(cli: Cli, store: Path) -> None:
    with Replica.open(store):
        assert cli("compact", store).code != 0


def test_dry_run_says_what_would_go_and_who_holds_it_up_and_changes_nothing(cli: Cli, store: Path, other: Path) -> None:
    record = created(cli, store, "title=Milk")
    gone = created(cli, store, "title=Gone")
    synced(store, other)
    assert cli("delete", store, "Task", gone).code == 0
    assert cli("set", store, "Task", record, "title=later").code == 0
    found = cli("compact", store, "--dry-run", "--json").json
    assert (found["dry_run"], found["rows"], found["rows_to_fold"], found["records_to_remove"]) == (True, 4, 2, 1)
    ((device),) = found["waiting_for"]
    assert (device["entries"], device["heard_ms"] > 0) == (2, True)
    said = cli("compact", store, "--dry-run").out
    assert "rows of the log: 4, of which 2 would go now" in said
    assert f"Device {device['device_id']} lacks 2 entries, and said last 20" in said
    assert "crdt-sync forget" in said
    assert cli("compact", store, "--json").json["rows_before"] == 4
