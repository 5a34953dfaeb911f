"""kill -9 while a peer's content is taken over: the store is sound, nothing is half there, and nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.taking import begun
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of, store_of

# Forks one process for each point, which is killed at the n-th write of its store while it takes content over. Batches
# are small, so that the points lie in all steps.
DRIVER = """
import os, signal, sys
from crdt_sync import Replica
from crdt_sync.replica import taking
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task

folder, points = sys.argv[1], [int(word) for word in sys.argv[2:]]
taking.BATCH_DOCUMENTS = taking.BATCH_ROWS = 2

def run(point):
    place = f"{folder}/{point}"
    hub = Replica.open(f"{place}/hub.db", [Task], state_dir=f"{place}/hub", durability="normal")
    away = Replica.open(f"{place}/away.db", [Task], state_dir=f"{place}/away", durability="normal")
    store, left = away._state.store, [point]
    for name in ("put", "put_many", "put_rows", "delete", "delete_many", "delete_rows", "delete_range"):
        def wrapped(*args, call=getattr(store, name), **options):
            left[0] -= taking.begun(away._state) != [] or name == "put" and args[1].startswith(taking.TAKING)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        setattr(store, name, wrapped)
    exchange(away, hub)
    open(f"{place}/survived", "w").close()

for point in points:
    child = os.fork()
    if child == 0:
        run(point)
        os._exit(0)
    os.waitpid(child, 0)
"""
POINTS = [*range(1, 30, 2), *range(30, 80, 5), 5000]
TITLES = ["edited", "gone, edited away", "kept 0", "kept 1", "kept 2", "later", "unsent"]


def titles(replica: Replica) -> list[str]:
    return sorted(task.title for task in replica.find(Task))


def sync(one: Replica, other: Replica) -> None:
    for _ in range(2):
        assert exchange(one, other).proven_equal


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forgotten device comes back to others who have removed records and folded everything, and is killed."""
    place = tmp_path_factory.mktemp("killed")
    folder = place / "made"
    folder.mkdir()
    with (
        on_disk(folder, Task, seed=1, name="hub.db", state="hub") as hub,
        on_disk(folder, Task, seed=2, name="away.db", state="away") as away,
    ):
        made = {
            name: hub.create(Task, title=name) for name in ("edited", "gone", "gone too", "kept 0", "kept 1", "kept 2")
        }
        sync(hub, away)
        away.get(Task, made["edited"].id).notes.append("by the one away")
        away.get(Task, made["gone"].id).title = "gone, edited away"
        away.create(Task, title="unsent")
        hub.forget_device(str(away.device_id))
        hub.delete(made["gone"])
        hub.delete(made["gone too"])
        hub.create(Task, title="later")
        for number in range(6):
            made["edited"].votes.increment(number)
        with memory(5, Task) as desk:
            for _ in range(3):
                sync(hub, desk)
                hub.compact()
        assert (store_of(hub).count(Table.LOG), store_of(hub).count(Table.VERSION)) == (0, 5)
    kept = folder.rename(place / "kept")  # a copy beside what it was made from would be another device
    for point in POINTS:
        shutil.copytree(kept, place / str(point))
    subprocess.run([sys.executable, "-c", DRIVER, str(place), *map(str, POINTS)], check=True, timeout=300)
    return place


@pytest.mark.parametrize("point", POINTS)
def test_take_over_goes_on_where_it_was_killed(killed: Path, point: int) -> None:
    place = killed / str(point)
    with closing(open_sqlite(place / "away.db")) as store:
        assert check_store(store).listed == []
    with (
        on_disk(place, Task, seed=3, name="hub.db", state="hub") as hub,
        on_disk(place, Task, seed=4, name="away.db", state="away") as away,
    ):
        assert begun(state_of(away)) == []
        assert check_store(store_of(away)).listed == []
        assert titles(away) in (
            TITLES,
            ["edited", "gone too", "gone, edited away", "kept 0", "kept 1", "kept 2", "unsent"],
        )
        sync(hub, away)
        for replica in (hub, away):
            assert titles(replica) == TITLES
            (edited,) = replica.find(Task, title="edited")
            assert (str(edited.notes), int(edited.votes)) == ("by the one away", 15)
            assert check_store(store_of(replica)).listed == []
        assert away.pending_count() == 0
        assert store_of(away).count(Table.STAGED) == 0


def test_the_points_lie_in_the_taking_over(killed: Path) -> None:
    assert [point for point in POINTS if (killed / str(point) / "survived").exists()] == [POINTS[-1]]
