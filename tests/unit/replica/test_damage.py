"""Every kind of row of every table, damaged in every way: a check tells of it, and a repair mends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.repairing import RepairReport, read_quarantine
from crdt_sync.storage.base import Table
from crdt_sync.testing.disks import Disk, Fault, Loss
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import MODELS, TABLES, Damage, damages, make_rich, opened, peer, rows_of
from tests.unit.replica.devices import Task
from tests.unit.replica.test_check import checked
from tests.unit.replica.test_repair import Shown, copied

UNSEEN = {
    # The document is read from the log, and nothing was written to it since it was kept. Where something was, the
    # check tells of the document (the test below).
    "dirty is gone",
}
"""Damage that changes nothing that anybody could see."""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    make_rich(folder)
    return folder


def test_every_table_has_rows_and_the_store_is_sound(rich: Path) -> None:
    assert [table for table in TABLES if not rows_of(rich / "a.db", table)] == []
    assert checked(rich / "a.db").listed == []


@pytest.mark.parametrize("table", TABLES)
def test_damage_to_any_kind_of_row_is_told(rich: Path, tmp_path: Path, table: str) -> None:
    unseen = []
    for damage in damages(rich, table):
        path = Path(shutil.copy(rich / "a.db", tmp_path / "a.db"))
        damage.do(path)
        if checked(path).ok:
            unseen.append(damage.name)
    assert set(unseen) <= UNSEEN


def test_a_mark_that_is_gone_while_it_matters_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        big = one.create(Task, title="big", notes="x" * 20_000)
        one.check()
        big.notes.append("more")
        (mark,) = rows_of(tmp_path / "a.db", Table.DIRTY).values()
        Damage("", Table.DIRTY, (mark,)).do(tmp_path / "a.db")
        assert not one.check().ok


# ── mending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(replica: Replica) -> Shown:
    return {model.__name__: [record.model_dump() for record in replica.find(model)] for model in MODELS}


def synced(one: Replica, two: Replica) -> Shown:
    """What both show once they hold the same; what a peer had refused is tried again."""
    one.retry()
    exchange(one, two)
    assert exchange(one, two).proven_equal
    assert shown(one) == shown(two)
    return shown(one)


@pytest.fixture(scope="module")
def healthy(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Shown]:
    """What the sound store shows, before and after a sync."""
    place = copied(rich, tmp_path_factory.mktemp("healthy"))
    with opened(place) as one, peer(place) as two:
        return shown(one), synced(one, two)


def repaired(place: Path) -> RepairReport:
    return Replica.repair(place / "a.db", state_dir=place / "state")


def a_few(rich: Path, table: str) -> Iterator[Damage]:
    """Of each kind of damage a few a table."""
    seen: dict[str, int] = {}
    for damage in damages(rich, table):
        kinds = ("another key", "another value", "each other's value", "is gone", "as it was before", "is back")
        (kind,) = (kind for kind in kinds if kind in damage.name)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= A_FEW[kind]:
            yield damage


A_FEW = {
    "another key": 1,
    "another value": 1,
    "each other's value": 1,
    "is gone": 6,
    "as it was before": 3,
    "is back": 1,
}


@pytest.mark.parametrize("table", TABLES)
def test_a_repair_mends_damage_to_any_kind_of_row(
    rich: Path, healthy: tuple[Shown, Shown], tmp_path: Path, table: str
) -> None:
    for number, damage in enumerate(a_few(rich, table)):
        place = copied(rich, tmp_path / str(number))
        damage.do(place / "a.db")
        report = repaired(place)
        assert report.after.ok, (damage.name, report.after.listed)
        again = repaired(place)
        assert (again.changed, again.before.listed) == (False, []), damage.name
        if "another" in damage.name and table in set(Table):
            assert report.quarantine is not None
            aside = {(row["table"], row["key"]) for row in read_quarantine(report.quarantine)}
            assert {(table, row[0].hex()) for row in damage.into} <= aside, damage.name
        with opened(place) as one, peer(place) as two:
            assert report.lost or shown(one) == healthy[0], damage.name
            assert synced(one, two) == healthy[1], damage.name
            assert one.check().listed == [], damage.name
            assert one.local.keys() == (["other", "token"] if table != Table.LOCAL else one.local.keys())


def test_of_a_doubtful_table_nothing_is_kept_that_may_claim_too_much(rich: Path, tmp_path: Path) -> None:
    """Which row is gone, or an older one, nobody knows: what a device holds is asked of it again."""
    wanted = {Table.HOLDING: "of a device", Table.META: "undo is gone"}
    for table, name in wanted.items():
        place = copied(rich, tmp_path / table)
        next(item for item in damages(rich, table) if name in item.name).do(place / "a.db")
        report = repaired(place)
        with opened(place) as one, peer(place) as two:
            assert (one.undo() is None) == (table is Table.META)
            assert not one.safe_to_wipe()
            assert report.after.ok
            synced(one, two)
            assert one.safe_to_wipe()


def test_a_repair_that_dies_at_any_write_can_be_repeated(rich: Path, tmp_path: Path) -> None:
    damaged = copied(rich, tmp_path / "damaged")
    for table in (Table.LOG, Table.LOCAL, Table.BASE):
        next(damages(rich, table)).do(damaged / "a.db")
    zero = next(item for item in damages(rich, Table.SYNCLOG) if "another value" in item.name)
    zero.do(damaged / "a.db")
    whole = copied(damaged, tmp_path / "whole")
    with Disk() as disk:
        report = repaired(whole)
        total = disk.operations
    assert report.quarantined
    content = (damaged / "a.db").read_bytes()
    points = {*range(1, total, max(1, total // 8)), *range(max(1, total - 9), total + 1)}
    for point in sorted(points):
        place = copied(damaged, tmp_path / str(point))
        with Disk(seed=point) as disk:
            disk.fail(Fault.POWER, after=point)
            with suppress(CRDTSyncError):
                repaired(place)
            disk.power_on(loss=list(Loss)[point % len(Loss)])
        if (place / "a.db").read_bytes() != content:
            assert checked(place / "a.db").ok, "it was put in place, and whole"
            assert list(place.glob("a.db.quarantine-*.jsonl"))
        again = repaired(place)
        assert again.after.ok
        assert not repaired(place).changed
        assert list(place.glob("a.db.quarantine-*.jsonl"))
        assert not list(place.glob("*.repairing*"))
        assert [file.read_bytes() for file in place.glob("a.db.damaged-*")][:1] == [content]
        shutil.rmtree(place)
