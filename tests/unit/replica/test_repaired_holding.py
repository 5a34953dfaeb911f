"""What a repaired store takes other devices to hold: never more than what they said last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica.repairing import read_quarantine
from crdt_sync.replica.stated import STATED, note_nothing, stated_by
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import Damage, Row, flipped, rows_of
from tests.unit.replica.devices import Task, on_disk, store_of
from tests.unit.replica.test_home import device_of

Change = Callable[[Row], Damage]
CHANGES: dict[str, Change] = {
    "gone": lambda row: Damage("", Table.HOLDING, (row,)),
    "flipped": lambda row: Damage("", Table.HOLDING, (row,), ((row[0], flipped(row[1]), row[2]),)),
}


def hub_at(place: Path, *, seed: int = 2) -> Replica:
    return on_disk(place, seed=seed, name="hub.db", state="other")


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A store whose peer, which is home, was wiped and said so."""
    with on_disk(tmp_path, seed=1) as one, hub_at(tmp_path) as hub:
        one.create(Task, title="one")
        for _ in range(2):
            assert exchange(one, hub).proven_equal
        assert one.safe_to_wipe()
        one.port.set_home(["ws://hub:1"])
        with store_of(one).transaction():
            note_nothing(store_of(one), device_of(hub))
        assert not one.safe_to_wipe()
    return tmp_path


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [b"\0k", b"\0n", b"\0u", b"\0v"])
def test_a_device_that_said_it_holds_nothing_counts_for_nothing_after_a_repair(
    told: Path, change: Change, kind: bytes
) -> None:
    with on_disk(told, seed=3) as one, hub_at(told) as hub:
        one.port.met("ws://hub:1", device_of(hub))
    path = told / "a.db"
    change(next(row for key, row in rows_of(path, Table.HOLDING).items() if key.startswith(kind))).do(path)
    report = Replica.repair(path, state_dir=told / "state")
    assert (report.changed, report.after.ok) == (True, True)
    with on_disk(told, seed=4) as one, hub_at(told, seed=5) as hub:
        assert not one.safe_to_wipe()
        assert [peer.address for peer in one.home_peers()] == ["ws://hub:1"]
        assert stated_by(store_of(one), device_of(one)) is None, "of itself it knows"
        if kind == b"\0v":
            hub.create(Task, title="since")  # a word that is gone is told again once another one is signed
        for _ in range(2):
            assert exchange(one, hub).proven_equal
        assert one.safe_to_wipe()
        assert not list(store_of(one).scan(Table.HOLDING, start=STATED, end=b"\0o")), "its session said it again"


def test_what_is_put_aside_says_who_says_it_again(told: Path) -> None:
    path = told / "a.db"
    CHANGES["gone"](next(row for key, row in rows_of(path, Table.HOLDING).items() if key[:2] == b"\0k")).do(path)
    report = Replica.repair(path, state_dir=told / "state")
    aside = [] if report.quarantine is None else list(read_quarantine(report.quarantine))
    assert aside
    assert {bytes.fromhex(row["key"])[:2] for row in aside}.isdisjoint((b"\0n", b"\0h", b"\0v"))
    assert all(row["reason"].endswith("its next session says it again") for row in aside)
