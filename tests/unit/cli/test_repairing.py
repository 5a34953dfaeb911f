"""`crdt-sync repair` and `crdt-sync quarantine`."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.core.records import SpaceRecord, decode_record
from tests.unit.cli.conftest import Cli, created, exchange, serving


def change(store: Path, statement: str, *values: bytes) -> None:
    """Change rows behind the program's back."""
    with closing(apsw.Connection(str(store))) as raw:
        raw.execute(statement, values)
        assert raw.changes()


@pytest.fixture
def damaged(cli: Cli, store: Path, other: Path) -> Path:
    """A store whose second own entry is damaged; the other store holds all of it."""
    for number in range(3):
        created(cli, store, f"title=t{number}")
    with Replica.open(store) as a, Replica.open(other) as b:
        exchange(a, b)
    change(store, "UPDATE _crdt_log SET value = zeroblob(length(value)) WHERE key = x'0000000000000002'")
    return store


@pytest.fixture
def unbound(cli: Cli, store: Path, other: Path) -> Path:
    """A store that lacks a space record which an entry names: the binding of the other store's author."""
    with Replica.open(store) as a, Replica.open(other) as b:
        exchange(a, b)
        (author,) = b.port.own_authors()
    created(cli, store, "title=a")
    with Replica.open(store) as a, Replica.open(other) as b:
        exchange(a, b)
        records = {data: decode_record(data) for data in a.port.space_records(0)[0]}
        (binding,) = [data for data, held in records.items() if isinstance(held, SpaceRecord) and held.author == author]
    change(store, "DELETE FROM _crdt_record WHERE value = ?", binding)
    return store


def test_a_sound_store_has_nothing_to_repair(cli: Cli, store: Path) -> None:
    created(cli, store, "title=a")
    found = cli("repair", store)
    assert found.code == 0
    assert found.out == "sound: nothing to repair\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dry-run", "--from", "ws://127.0.0.1:9"], "syncs with nobody"),
        (["--models", "x.toml"], "are for peers"),
        (["--timeout-s", "5"], "are for peers"),
    ],
)
def test_options_that_would_do_nothing_are_refused(cli: Cli, damaged: Path, options: list[str], says: str) -> None:
    found = cli("repair", damaged, *options)
    assert (found.code, says in found.err) == (2, True)
    assert cli("check", damaged).code == 10, "nothing was done"
    assert cli("quarantine", damaged, "--models", "x.toml").code == 2


def test_a_damaged_store_is_mended(cli: Cli, damaged: Path, other: Path) -> None:
    dry = cli("repair", damaged, "--dry-run", "--json")
    assert dry.code == 0, dry.out
    assert (dry.json["changed"], dry.json["left"], dry.json["quarantine"]) == (False, 0, None)
    assert cli("check", damaged).code == 10
    found = cli("repair", damaged)
    assert found.code == 0, found.err
    assert "findings were mended" in found.out
    assert "entries 2 to 3 are missing" in found.out
    assert "the damaged store is kept as" in found.out
    assert cli("check", damaged).code == 0
    listed = cli("list", damaged, "Task").out
    assert all(title in listed for title in ("t0", "t1", "t2"))
    with Replica.open(damaged) as a, Replica.open(other) as b:
        exchange(a, b)
        assert a.check().ok
    assert cli("repair", damaged).out == "sound: nothing to repair\n"


def test_what_was_put_aside_is_shown(cli: Cli, damaged: Path) -> None:
    file = cli("repair", damaged, "--json").json["quarantine"]
    found = cli("quarantine", file)
    assert found.code == 0
    assert "log 0000000000000002: the checksum does not hold" in found.out
    assert "what comes before entry 3" in found.out
    rows = cli("quarantine", file, "--json").json["rows"]
    assert {row["table"] for row in rows} == {"log", "operation"}
    assert all(bytes.fromhex(row["value"]) for row in rows)
    wrong = cli("quarantine", damaged, "--json")
    assert wrong.code == 2
    assert wrong.error["hint"]


def test_a_store_that_is_none_or_in_use_is_refused(cli: Cli, damaged: Path, tmp_path: Path) -> None:
    assert cli("repair", tmp_path / "none.db").code == 6
    with Replica.open(damaged):
        assert cli("repair", damaged).code == 7


def test_what_a_live_peer_brought_is_no_damage_any_more(cli: Cli, unbound: Path, other: Path, state_dir: Path) -> None:
    """Judged is the store as it is after the peers, not as the repair alone left it."""
    alone = cli("repair", unbound, "--json")
    assert (alone.code, alone.json["left"], alone.error["type"]) == (10, 1, "CorruptStoreError")
    assert "--from" in alone.error["hint"]
    as_it_was = unbound.read_bytes()
    with serving(state_dir, other) as hub:
        assert "nothing is left to mend" in cli("repair", unbound, "--from", hub.url).out
        unbound.write_bytes(as_it_was)
        found = cli("repair", unbound, "--from", hub.url, "--json")
    assert (found.code, found.err.strip()) == (0, "")
    assert (found.json["left"], found.json["damage"]) == (0, [])
    assert [peer["proven_equal"] for peer in found.json["peers"]] == [True]
    assert cli("check", unbound).code == 0


def test_entries_come_back_from_a_live_peer(cli: Cli, damaged: Path, other: Path, state_dir: Path) -> None:
    with serving(state_dir, other) as hub:
        found = cli("repair", damaged, "--from", hub.url)
    assert (found.code, found.err.strip()) == (0, "")
    assert "findings were mended" in found.out
    assert "both sides hold the same" in found.out
    assert cli("check", damaged).code == 0
    assert cli("list", damaged, "Task", "--json").json["total"] == 3


def test_what_was_mended_is_told_though_no_peer_answers(cli: Cli, damaged: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
    found = cli("repair", damaged, "--from", f"ws://127.0.0.1:{port}", "--timeout-s", "0.5", "--json")
    assert (found.code, found.error["type"]) == (8, "PeerUnreachableError")
    assert (found.json["changed"], found.json["left"], found.json["peers"]) == (True, 0, [])
    assert Path(found.json["quarantine"]).exists()


def test_the_way_back_from_damage_by_a_backup(
    cli: Cli, store: Path, other: Path, state_dir: Path, tmp_path: Path
) -> None:
    """Of a repair the damaged file and its rows stay to be read; the store comes back from a backup and a peer."""
    backup = tmp_path / "backup.db"
    created(cli, store, "title=before")
    assert cli("backup", store, backup).code == 0
    created(cli, store, "title=after")
    with serving(state_dir, other) as hub:
        assert cli("sync", store, hub.url).code == 0
        with closing(apsw.Connection(str(store))) as raw:
            rows = {key.hex(): value.hex() for key, value in raw.execute("SELECT key, value FROM _crdt_log")}
        change(store, "UPDATE _crdt_log SET sum = zeroblob(length(sum)) WHERE key = x'0000000000000001'")
        report = cli("repair", store, "--json").json
        file = Path(report["quarantine"])
        aside = cli("quarantine", file, "--json").json["rows"]
        assert [json.loads(line) for line in file.read_text().splitlines()[1:]] == aside
        assert {row["key"]: row["value"] for row in aside if row["table"] == "log"} == rows, "byte for byte"
        for wrong in (file, report["damaged"]):
            refused = cli("put-back", store, wrong, "--json")
            assert refused.code in (6, 10)
            assert refused.error["hint"]
        found = cli("put-back", store, backup, "--json")
        assert found.code == 0, found.err
        assert Path(found.json["replaced"]).exists()
        assert cli("list", store, "Task", "--json").json["total"] == 1
        assert cli("sync", store, hub.url).code == 0
    assert cli("list", store, "Task", "--json").json["total"] == 2
    assert cli("check", store).code == 0


@pytest.fixture
def lost(damaged: Path) -> Path:
    """The same store, and what was kept of its records is damaged too."""
    change(damaged, "UPDATE _crdt_document SET value = zeroblob(length(value))")
    return damaged


def test_a_record_that_is_lost_here_changes_the_exit_code(cli: Cli, lost: Path, other: Path, state_dir: Path) -> None:
    as_it_was = lost.read_bytes()
    alone = cli("repair", lost, "--json")
    assert (alone.code, alone.json["left"], alone.error["type"]) == (10, 0, "CorruptStoreError")
    assert alone.json["lost"] == alone.json["still_lost"] != []
    assert "--from" in alone.error["hint"]
    assert cli("check", lost).code == 0, "it is sound, and does not hold what was lost"
    assert cli("repair", lost).code == 0
    lost.write_bytes(as_it_was)
    assert cli("repair", lost, "--dry-run").code == 10
    with serving(state_dir, other) as hub:
        found = cli("repair", lost, "--from", hub.url, "--json")
    assert (found.code, found.err.strip()) == (0, "")
    assert (found.json["lost"], found.json["still_lost"]) == (alone.json["lost"], [])


def test_what_was_put_aside_is_taken_back_once_it_is_sound(cli: Cli, lost: Path, other: Path) -> None:
    file = cli("repair", lost, "--json").json["quarantine"]
    early = cli("quarantine", file, "--put-back-into", lost)
    assert early.code == 0, early.err
    assert "0 rows were put back, with 0 entries" in early.out
    assert "stays: " in early.out
    with Replica.open(lost) as a, Replica.open(other) as b:
        exchange(a, b)
    late = cli("quarantine", file, "--put-back-into", lost, "--json")
    assert late.code == 0, late.err
    assert late.json["put_back"] + late.json["here"] > 0
    assert all(row["reason"] for row in late.json["left"])
    assert cli("check", lost).code == 0
    wrong = cli("quarantine", lost, "--put-back-into", lost, "--json")
    assert (wrong.code, wrong.error["type"]) == (2, "InputError")
