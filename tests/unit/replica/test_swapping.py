"""A file beside a store takes its place only where it is proven that it is to; and nothing goes that is not kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError, NotAStoreError, StoreError
from crdt_sync.replica import restoring
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import Task, on_disk

LEFT = ("a.db", "a.db-wal", "a.db.next")


class Killed(BaseException):
    """Stands for the end of the process."""


def content(place: Path) -> dict[str, bytes]:
    """What is there, without what a process says of itself, or shares with others while it has a store open."""
    passing = (".lock", ".pid", "-shm")
    return {path.name: path.read_bytes() for path in place.glob("*.db*") if not path.name.endswith(passing)}


def titles(place: Path) -> list[str]:
    with on_disk(place, seed=5) as replica:
        return sorted(task.title for task in replica.find(Task))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Of a store whose last record is in its log, as a kill leaves it, and of an earlier backup of it."""
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="in the backup")
        replica.backup(tmp_path / "b.db")
        replica.create(Task, title="since")
        saved = {name: (tmp_path / name).read_bytes() for name in LEFT[:2]}
    for name, data in saved.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def put_back(place: Path) -> object:
    return Replica.put_back(place / "a.db", place / "b.db", state_dir=place / "state")


def repair(place: Path) -> object:
    return Replica.repair(place / "a.db", state_dir=place / "state")


def dry_run(place: Path) -> object:
    return Replica.repair(place / "a.db", state_dir=place / "state", dry_run=True)


def read(place: Path) -> object:
    with Replica.open(place / "a.db", state_dir=place / "state", read_only=True) as replica:
        return replica.check()


def interrupt(place: Path, patch: pytest.MonkeyPatch, *, at: str = "replace") -> None:
    """End a restore amid its steps, as a kill does; the log of the old store could not be brought in."""
    opened = open_sqlite

    def cannot(path: Path, **options: Any) -> object:
        if path.name == "a.db" and not options.get("read_only"):
            raise StoreError("it cannot be opened", hint="")
        return opened(path, **options)

    def killed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*paths: Path, **options: Any) -> Any:
            if paths[-1].name == ("a.db" if at == "replace" else "a.db-wal"):
                raise Killed
            return real(*paths, **options)

        return call

    with patch.context() as during:
        during.setattr(restoring, "open_sqlite", cannot)
        during.setattr(Path, at, killed(getattr(Path, at)))
        with pytest.raises(Killed):
            put_back(place)
    assert (place / "a.db.next").exists()


def another_store(place: Path) -> None:
    with on_disk(place, name="o.db") as replica:
        replica.create(Task, title="of another store")
    (place / "o.db").rename(place / "a.db.next")


def an_older_copy(place: Path) -> None:
    shutil.copy(place / "b.db", place / "a.db.next")


def garbage(place: Path) -> None:
    (place / "a.db.next").write_bytes(b"notes for the next version\n")


def nothing(place: Path) -> None:
    (place / "a.db.next").touch()


@pytest.mark.parametrize("work", [titles, put_back, repair, dry_run, read])
@pytest.mark.parametrize("stray", [another_store, an_older_copy, garbage, nothing])
def test_a_stray_file_is_refused_and_nothing_is_changed(
    place: Path, stray: Callable[[Path], None], work: Callable[[Path], object]
) -> None:
    stray(place)
    before = content(place)
    with pytest.raises(CorruptStoreError, match=r"a\.db\.next") as caught:
        work(place)
    assert "move a.db.next away" in caught.value.hint
    assert content(place) == before
    (place / "a.db.next").rename(place / "elsewhere")
    assert titles(place) == ["in the backup", "since"]


@pytest.mark.parametrize("at", ["unlink", "replace"])
@pytest.mark.parametrize("work", [titles, put_back, repair])
def test_what_was_interrupted_is_ended_and_what_was_replaced_is_kept(
    place: Path, work: Callable[[Path], object], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = content(place)
    interrupt(place, monkeypatch, at=at)
    work(place)
    assert {name: content(place)[f"a.db.replaced-1{name[4:]}"] for name in LEFT[:2]} == {
        name: old[name] for name in LEFT[:2]
    }
    assert titles(place) == ["in the backup"]
    assert not {"a.db.next", "a.db.swap"} & content(place).keys()


@pytest.mark.parametrize("work", [dry_run, read])
def test_who_only_reads_changes_nothing_and_is_told_what_ends_it(
    place: Path, work: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(place, monkeypatch)
    before = content(place)
    with pytest.raises(StoreError, match="being replaced") as caught:
        work(place)
    assert "crdt-sync repair" in caught.value.hint
    assert content(place) == before
    repair(place)
    work(place)


def moved_back(place: Path) -> None:
    for name in LEFT[:2]:
        (place / f"a.db.replaced-1{name[4:]}").replace(place / name)


def written_to(place: Path) -> None:
    (place / "a.db").write_bytes((place / "a.db").read_bytes() + bytes(4096))


def log_written_to(place: Path) -> None:
    (place / "a.db-wal").write_bytes(b"another log")


def other_file_next(place: Path) -> None:
    shutil.copy(place / "a.db.replaced-1", place / "a.db.next")


def note_lost(place: Path) -> None:
    (place / "a.db.swap").unlink()


def note_damaged(place: Path) -> None:
    (place / "a.db.swap").write_bytes(b'{"kept": "../a.db')


def note_of_the_store_itself(place: Path) -> None:
    note = place / "a.db.swap"
    note.write_bytes(note.read_bytes().replace(b"a.db.replaced-1", b"a.db"))


@pytest.mark.parametrize("work", [titles, put_back, repair, dry_run, read])
@pytest.mark.parametrize(
    "happened",
    [moved_back, written_to, log_written_to, other_file_next, note_lost, note_damaged, note_of_the_store_itself],
)
def test_what_somebody_changed_since_is_not_replaced(
    place: Path, happened: Callable[[Path], None], work: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(place, monkeypatch)
    happened(place)
    before = content(place)
    with pytest.raises(CorruptStoreError, match=r"a\.db\.next"):
        work(place)
    assert content(place) == before


def test_who_took_the_old_store_back_by_hand_has_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(place, monkeypatch)
    moved_back(place)
    (place / "a.db.next").rename(place / "elsewhere")
    assert titles(place) == ["in the backup", "since"]


def test_a_store_that_was_gone_is_opened_without_making_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its log was left, and the restore was killed."""
    log = (place / "a.db-wal").read_bytes()
    (place / "a.db").unlink()
    interrupt(place, monkeypatch)
    with Replica.open(place / "a.db", [Task], state_dir=place / "state", create=False) as replica:
        assert [task.title for task in replica.find(Task)] == ["in the backup"]
    put_back(place)
    assert (place / "a.db.replaced-1-wal").read_bytes() == log, "what was kept makes way for nothing"


def test_a_store_that_was_gone_is_repaired(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "a.db").unlink()
    interrupt(place, monkeypatch)
    repair(place)
    assert titles(place) == ["in the backup"]


@pytest.mark.parametrize("work", [put_back, repair, dry_run])
def test_a_folder_in_a_stores_place_is_refused(place: Path, work: Callable[[Path], object]) -> None:
    (place / "a.db").unlink()
    (place / "a.db-wal").unlink()
    (place / "a.db").mkdir()
    with pytest.raises(NotAStoreError, match="directory") as caught:
        work(place)
    assert "Name a file" in caught.value.hint
