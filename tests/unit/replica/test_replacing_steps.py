"""A restore or a repair that ends at any step, with its process or the power: the old store is there, or the new one.

Or nobody may read it, and the hint gets out of that. Never is one store's log read into the other.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from crdt_sync import Model, Replica
from crdt_sync.errors import StoreError
from crdt_sync.storage.migrations import SCHEMA_VERSION
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import START_MS, Dice, Task, on_disk
from tests.unit.replica.power import Files, Outages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="which file was synced is read from /proc")

LOGS = ("a.db", "a.db-wal", "a.db-journal")


def lived(place: Path) -> None:
    """Make a.db, a store that was closed, and an earlier backup of it."""
    with on_disk(place) as replica:
        replica.create(Task, title="before")
        replica.backup(place / "backup")
        replica.create(Task, title="after")


def killed(place: Path) -> None:
    """The same after a process that was killed, with the last record in its log."""
    lived(place)
    with on_disk(place, seed=2) as replica:
        replica.create(Task, title="in the log")
        saved = {name: (place / name).read_bytes() for name in LOGS[:2]}
    put(place, saved)


def newer(place: Path) -> None:
    """One that this program cannot open: its log stays a log."""
    killed(place)
    with closing(apsw.Connection(str(place / "a.db"))) as raw:
        raw.pragma("user_version", SCHEMA_VERSION + 1)
        raw.pragma("wal_checkpoint")
        raw.execute("CREATE TABLE newer (x)")
        saved = {name: (place / name).read_bytes() for name in LOGS[:2]}
    put(place, saved)


def gone(place: Path) -> None:
    """The file was removed, and its log was not."""
    killed(place)
    (place / "a.db").unlink()


def malformed(place: Path) -> None:
    """One of which SQLite cannot read the schema, and so leaves the log where it is."""
    killed(place)
    data = (place / "a.db").read_bytes()
    put(place, {"a.db": data.replace(b'CREATE TABLE "_crdt_log"', b'CREATE UABLE "_crdt_log"')})


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A store, and what it shows before anything is done; None where it cannot be opened."""

    make: Callable[[Path], None]
    titles: tuple[str, ...] | None
    work: Callable[[Path], None]
    shows: tuple[str, ...]
    """What it shows afterwards."""
    kept: str = "a.db.replaced-1"


def put_back(place: Path) -> None:
    Replica.put_back(place / "a.db", place / "backup", state_dir=place / "state")


def repair(place: Path) -> None:
    assert Replica.repair(place / "a.db", state_dir=place / "state").after.ok


STORES = {
    "closed": Before(make=lived, titles=("after", "before"), work=put_back, shows=("before",)),
    "killed": Before(make=killed, titles=("after", "before", "in the log"), work=put_back, shows=("before",)),
    "newer": Before(make=newer, titles=None, work=put_back, shows=("before",)),
    "gone": Before(make=gone, titles=None, work=put_back, shows=("before",)),
    "malformed": Before(
        make=malformed, titles=None, work=repair, shows=("after", "before", "in the log"), kept="a.db.damaged-1"
    ),
}


def files(place: Path) -> Files:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}


def put(place: Path, content: Files) -> None:
    for name, data in content.items():
        (place / name).write_bytes(data)


def logs(content: Files, *, of: str = "a.db") -> Files:
    """A store with its logs; an empty log says nothing."""
    return {name: content[of + name[4:]] for name in LOGS if content.get(of + name[4:])}


def looked_at(place: Path, copy: Path) -> Files:
    """A store after somebody could not open it: SQLite may have brought the log into the file."""
    shutil.copytree(place, copy)
    with suppress(StoreError):
        open_sqlite(copy / "a.db").close()
    return files(copy)


def titles(path: Path, state: Path, *, read_only: bool = False) -> tuple[str, ...]:
    sources = Dice(7, now_ms=START_MS * 2).sources
    given: list[type[Model]] | None = None if read_only else [Task]
    with Replica.open(path, given, state_dir=state, create=False, read_only=read_only, sources=sources) as replica:
        assert replica.check().ok
        found = replica.find(replica.model("Task"))
        return tuple(sorted(task.model_dump()["title"] for task in found))


@pytest.fixture(params=STORES)
def outages(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Before, Outages]:
    before = STORES[request.param]
    place = tmp_path / "place"
    place.mkdir()
    before.make(place)
    shutil.copytree(place, tmp_path / "then")
    found = Outages(folder=place)
    with monkeypatch.context() as patch:
        found.watch(patch)
        before.work(place)
    assert len(found.states) > len(STORES)
    return before, found


def test_a_restore_or_a_repair_that_ends_at_any_step_leaves_the_old_store_or_the_new_one(
    outages: tuple[Before, Outages], tmp_path: Path
) -> None:
    before, found = outages
    place, then = tmp_path / "place", files(tmp_path / "then")
    wholes = [logs(then), logs(looked_at(tmp_path / "then", tmp_path / "looked at"))]
    ends = set()
    for state in found.states:
        restart(place, tmp_path / "then", state)
        with suppress(StoreError):
            assert titles(place / "a.db", place / "state", read_only=True) in (before.shows, before.titles)
        shown = None
        with suppress(StoreError):
            shown = titles(place / "a.db", place / "state")
        assert shown is not None or logs(state) in wholes, "the store that was there is not whole"
        ends.add(shown)
        if shown == before.shows:
            assert kept_whole(place, state, wholes=wholes, before=before), "what was replaced is not kept"
        else:
            assert shown == before.titles
        before.work(place)
        assert titles(place / "a.db", place / "state") == before.shows
    assert ends == {before.shows, before.titles}


def test_what_ends_it_may_end_at_any_step_itself(
    outages: tuple[Before, Outages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, found = outages
    place, then = tmp_path / "place", files(tmp_path / "then")
    wholes = [logs(then), logs(looked_at(tmp_path / "then", tmp_path / "looked at"))]
    waiting = [state for state in found.states if "a.db.next" in state]
    assert bool(waiting) == (before.titles is None), "only where a log could not be brought in"
    for state in waiting[:1]:
        restart(place, tmp_path / "then", state)
        ending = Outages(folder=place)
        with monkeypatch.context() as patch:
            ending.watch(patch)
            assert titles(place / "a.db", place / "state") == before.shows
        assert len(ending.states) > len(LOGS)
        for end in ending.states:
            restart(place, tmp_path / "then", end)
            assert titles(place / "a.db", place / "state") == before.shows
            assert logs(files(place), of=before.kept) in wholes
            assert not {"a.db.next", "a.db.restoring", "a.db.repairing"} & files(place).keys()


def restart(place: Path, then: Path, state: Files) -> None:
    """Have what an outage left, with the folder of fences as it was."""
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(then / "state", place / "state")
    put(place, state)


def kept_whole(place: Path, state: Files, *, wholes: list[Files], before: Before) -> bool:
    if before.titles is None:
        return logs(state, of=before.kept) in wholes
    return titles(place / before.kept, place / "state", read_only=True) == before.titles
