"""`crdt-sync repair` and `crdt-sync quarantine`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, created, exchange


@pytest.fixture
def damaged(cli: Cli, store: Path, other: Path) -> Path:
    """A store whose second own entry is damaged; the other store holds all of it."""
    for number in range(3):
        created(cli, store, f"title=t{number}")
    with Replica.open(store) as a, Replica.open(other) as b:
        exchange(a, b)
    with closing(apsw.Connection(str(store))) as raw:
        raw.execute("UPDATE _crdt_log SET value = zeroblob(length(value)) WHERE key = x'0000000000000002'")
        assert raw.changes()
    return store


def test_a_sound_store_has_nothing_to_repair(cli: Cli, store: Path) -> None:
    created(cli, store, "title=a")
    found = cli("repair", store)
    assert found.code == 0
    assert found.out == "sound: nothing to repair\n"


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
