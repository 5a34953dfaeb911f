"""A repair and a restore replace a store's file: whoever reads the old one would read the new one's log into it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import crdt_sync.replica.repairing.repair as repairing
from crdt_sync import Replica
from crdt_sync.errors import StoreInUseError
from crdt_sync.replica import restoring
from crdt_sync.storage import swapping
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Task, on_disk
from tests.unit.replica.test_repair import zero

READER = """
import sys
from crdt_sync import Replica
with Replica.open(sys.argv[1], read_only=True, state_dir=sys.argv[2]) as replica:
    print("reading", flush=True)
    sys.stdin.read()
"""


def repair(place: Path) -> object:
    return Replica.repair(place / "a.db", state_dir=place / "state")


def repair_dry(place: Path) -> object:
    return Replica.repair(place / "a.db", state_dir=place / "state", dry_run=True)


def put_back(place: Path) -> object:
    return Replica.put_back(place / "a.db", place / "backup", state_dir=place / "state")


WORKS: list[Callable[[Path], object]] = [repair, repair_dry, put_back]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Of a damaged store that was closed, and of a backup."""
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="one")
        replica.local.save("token", 1)
        replica.backup(tmp_path / "backup")
    zero(tmp_path, Table.LOCAL, 0)
    return tmp_path


def content(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.glob("a.db*") if path.suffix in (".db", ".damaged-1")}


@pytest.mark.parametrize("work", WORKS)
def test_it_is_refused_beside_a_reader_in_this_process(place: Path, work: Callable[[Path], object]) -> None:
    before = content(place)
    with Replica.open(place / "a.db", [Task], read_only=True, state_dir=place / "state") as reader:
        with pytest.raises(StoreInUseError, match="read") as caught:
            work(place)
        assert "Close" in caught.value.hint
        assert content(place) == before
        assert [task.title for task in reader.find(Task)] == ["one"]
    work(place)


@pytest.mark.parametrize("work", WORKS)
def test_it_is_refused_beside_a_reader_in_another_process(place: Path, work: Callable[[Path], object]) -> None:
    before = content(place)
    command = [sys.executable, "-c", READER, str(place / "a.db"), str(place / "state")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        with pytest.raises(StoreInUseError, match="read"):
            work(place)
        assert content(place) == before
        reader.communicate()
    assert reader.returncode == 0
    work(place)


@pytest.mark.parametrize("work", [repair, put_back])
def test_a_reader_that_came_meanwhile_is_not_left_with_the_old_file(
    place: Path, work: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment at which one is looked for is when the file is replaced."""
    before = content(place)
    readers: list[Replica] = []
    replace = Path.replace

    def come(self: Path, target: Path) -> Path:
        if target.name == "a.db":
            with pytest.raises(StoreInUseError):
                readers.append(Replica.open(place / "a.db", [Task], read_only=True, state_dir=place / "state"))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", come)
        work(place)
    assert readers == []
    assert content(place)["a.db"] != before["a.db"]


@pytest.mark.parametrize("work", [repair, put_back])
def test_what_is_refused_at_the_last_moment_leaves_nothing(
    place: Path, work: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name for path in place.iterdir()}
    readers: list[Replica] = []
    real = swapping.keep

    def come(place: Path, kept: Path) -> None:
        real(place, kept)
        readers.append(Replica.open(place, [Task], read_only=True, state_dir=place.parent / "state"))

    with monkeypatch.context() as patch:
        patch.setattr(repairing, "keep", come)
        patch.setattr(restoring, "keep", come)
        with pytest.raises(StoreInUseError, match="read"):
            work(place)
    readers[0].close()
    assert {path.name for path in place.iterdir()} <= {*before, "a.db-wal", "a.db-shm"}
    work(place)
