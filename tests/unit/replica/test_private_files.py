"""What a backup, a repair and a restore make can be read by those who can read the store, and by nobody else."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.unit.replica.devices import Task, memory, on_disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")

MODES = (0o600, 0o660)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def copied_modes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The modes that files have when the content of another one is about to be copied into them."""
    modes: list[int] = []
    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        modes.append(mode_of(target))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    return modes


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(place: Path) -> dict[str, int]:
    """Of all that holds something of the store."""
    return {path.name: mode_of(path) for path in place.glob("a.db*") if path.suffix not in (".lock", ".pid")}


def made(place: Path, *, mode: int) -> Path:
    """Make a damaged store of this mode, and give a backup of it, which everybody can read."""
    with on_disk(place) as replica:
        replica.create(Task, title="a")
        replica.local.save("token", "secret")
        replica.backup(place / "backup.db")
    with closing(sqlite3.connect(place / "a.db")) as raw, raw:
        raw.execute("UPDATE _crdt_local SET sum = x'00'")
    (place / "a.db").chmod(mode)
    (place / "backup.db").chmod(0o644)
    return place / "backup.db"


@pytest.mark.parametrize("mode", MODES)
def test_what_a_repair_makes_has_the_mode_of_the_store(tmp_path: Path, copied_modes: list[int], mode: int) -> None:
    made(tmp_path, mode=mode)
    seen: set[int] = set()
    report = Replica.repair(
        tmp_path / "a.db", state_dir=tmp_path / "state", progress=lambda *_: seen.update(modes(tmp_path).values())
    )
    assert report.changed
    assert modes(tmp_path) == dict.fromkeys(["a.db", "a.db.damaged-1", "a.db.quarantine-1.jsonl"], mode)
    assert seen == {mode}
    assert copied_modes == [mode]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_put_back_has_the_mode_of_the_store(tmp_path: Path, copied_modes: list[int], mode: int) -> None:
    backup = made(tmp_path, mode=mode)
    Replica.put_back(tmp_path / "a.db", backup, state_dir=tmp_path / "state")
    assert modes(tmp_path) == dict.fromkeys(["a.db", "a.db.replaced-1"], mode)
    assert copied_modes == [mode, mode]


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644)])
def test_where_no_store_is_what_is_put_back_has_the_mode_of_the_backup(
    tmp_path: Path, copied_modes: list[int], mode: int, expected: int
) -> None:
    backup = made(tmp_path, mode=0o600)
    backup.chmod(mode)
    (tmp_path / "a.db").unlink()
    Replica.put_back(tmp_path / "a.db", backup, state_dir=tmp_path / "state")
    assert modes(tmp_path) == {"a.db": expected}
    assert copied_modes == [expected]


@pytest.mark.parametrize("mode", MODES)
def test_a_backup_has_the_mode_of_the_store_from_the_first_byte_on(tmp_path: Path, mode: int) -> None:
    made(tmp_path, mode=0o600)
    (tmp_path / "a.db").unlink()
    shutil.move(tmp_path / "backup.db", tmp_path / "a.db")
    (tmp_path / "a.db").chmod(mode)
    seen: set[int] = set()
    with on_disk(tmp_path) as replica:
        before = set(tmp_path.iterdir())
        replica.backup(
            tmp_path / "copy.db",
            progress=lambda *_: seen.update(mode_of(path) for path in set(tmp_path.iterdir()) - before),
        )
    assert seen == {mode}
    assert mode_of(tmp_path / "copy.db") == mode


def test_a_backup_of_what_has_no_file_is_its_owners_alone(tmp_path: Path) -> None:
    with memory(1) as replica:
        replica.create(Task, title="a")
        replica.backup(tmp_path / "memory.db")
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="a")
        (tmp_path / "a.db").unlink()
        replica.backup(tmp_path / "removed.db")  # what is still open can still be saved
    assert [mode_of(tmp_path / name) for name in ("memory.db", "removed.db")] == [0o600, 0o600]
