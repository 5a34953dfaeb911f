"""Who writes: one author as long as the past is surely linear, a new one in every other case; one process at a time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import Author
from crdt_sync.errors import StoreInUseError, StoreNotFoundError, StoreReadOnlyError
from crdt_sync.replica import Sources
from crdt_sync.replica.lease import Identity
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of

LINE_WAIT_S = 60


def identity_of(replica: Replica) -> Identity:
    identity = state_of(replica).identity
    assert identity is not None
    return identity


def opened(path: Path, state: Path) -> Replica:
    return Replica.open(path, [Task], state_dir=state)


def author_at(path: Path, state: Path) -> tuple[Author, str, str]:
    """Open, look, close cleanly: author, replica id, why a new author was drawn."""
    with opened(path, state) as replica:
        identity = identity_of(replica)
        return identity.author, replica.replica_id, identity.reason


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with opened(tmp_path / "a.db", tmp_path / "state") as replica:
        replica.create(Task, title="x")
        assert identity_of(replica).reason == "first open"
    return tmp_path / "a.db"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_the_author_stays_over_clean_opens(store: Path, state: Path) -> None:
    first = author_at(store, state)
    assert first[2] == ""
    assert author_at(store, state) == author_at(store, state) == first


def test_a_moved_store_goes_on(store: Path, state: Path) -> None:
    first = author_at(store, state)
    moved = store.parent / "elsewhere.db"
    store.rename(moved)
    assert author_at(moved, state) == first
    assert author_at(moved, state) == first


def test_another_name_of_the_same_file_is_the_same_store(store: Path, state: Path) -> None:
    first = author_at(store, state)
    link = store.parent / "link.db"
    link.symlink_to(store)
    assert author_at(link, state) == first


def test_a_copy_beside_the_original_is_another_replica(store: Path, state: Path) -> None:
    first = author_at(store, state)
    copy = store.parent / "copy.db"
    shutil.copy(store, copy)
    author, replica_id, reason = author_at(copy, state)
    assert (author != first[0], replica_id != first[1], reason) == (True, True, "copied")
    assert author_at(store, state) == first
    assert author_at(copy, state)[:2] == (author, replica_id)


def test_a_copy_at_another_device_or_user_is_another_replica(store: Path, state: Path, tmp_path: Path) -> None:
    first = author_at(store, state)
    copy = tmp_path / "other" / "a.db"
    copy.parent.mkdir()
    shutil.copy(store, copy)
    with opened(copy, tmp_path / "other" / "state") as replica:
        identity = identity_of(replica)
        assert (identity.author != first[0], replica.replica_id != first[1]) == (True, True)
        assert identity.reason == "copied"
        assert replica.port.own_authors() == {identity.author}
        assert replica.find(Task)[0].title == "x"
        key = identity.key.public_key
    with opened(store, state) as replica:
        assert identity_of(replica).key.public_key != key


def test_original_and_copy_exchange_like_any_two_devices(store: Path, state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.db"
    shutil.copy(store, copy)
    with opened(store, state) as original, opened(copy, state) as other:
        (mine,), (theirs,) = original.find(Task), other.find(Task)
        mine.notes.append("a")
        theirs.notes.append("b")
        original.create(Task, title="1")
        other.create(Task, title="2")
        assert exchange(original, other).proven_equal
        assert sorted(str(mine.notes)) == ["a", "b"]
        assert original.count(Task) == other.count(Task) == 3


def test_an_old_backup_over_the_original_gets_a_new_author(store: Path, state: Path) -> None:
    backup = store.parent / "backup"
    shutil.copy(store, backup)
    with memory(5) as peer:
        with opened(store, state) as replica:
            before = (identity_of(replica), replica.port.epoch)
            (task,) = replica.find(Task)
            task.title = "lost"
            assert exchange(replica, peer).proven_equal
        shutil.copy(backup, store)
        with opened(store, state) as replica:
            identity = identity_of(replica)
            assert identity.reason == "restored or rebuilt"
            assert identity.author != before[0].author
            assert identity.key.public_key == before[0].key.public_key
            assert replica.port.epoch != before[1]
            assert replica.port.own_authors() == {identity.author, before[0].author}
            (task,) = replica.find(Task)
            task.notes.append("written before it knew")
            assert exchange(replica, peer).proven_equal
            for device in (replica, peer):
                (task,) = device.find(Task)
                assert (task.title, str(task.notes)) == ("lost", "written before it knew")


def test_a_lost_state_directory_makes_another_replica(store: Path, state: Path) -> None:
    first = author_at(store, state)
    shutil.rmtree(state)
    author, _, reason = author_at(store, state)
    assert (author != first[0], reason) == (True, "copied")


def test_a_damaged_fence_counts_as_none(store: Path, state: Path) -> None:
    first = author_at(store, state)
    (fence,) = state.rglob("fence.json")
    fence.write_text("{")
    author, _, reason = author_at(store, state)
    assert (author != first[0], reason) == (True, "copied")


def test_a_backup_opened_elsewhere_is_another_replica(store: Path, state: Path, tmp_path: Path) -> None:
    with opened(store, state) as replica:
        first = identity_of(replica)
        state_of(replica).store.backup(tmp_path / "b.db")
    assert author_at(tmp_path / "b.db", state)[0] != first.author


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import sys
from crdt_sync import Replica
from tests.unit.replica.devices import Task
replica = Replica.open(sys.argv[1], [Task], state_dir=sys.argv[2])
replica.create(Task, title="from the child")
print("ready", flush=True)
sys.stdin.readline()
replica.close()
"""


@contextmanager
def child(store: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open for writing until it is told otherwise."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(store), str(state)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(LINE_WAIT_S)
        process.stdout.close()


def test_a_second_process_is_told_who_has_the_store(store: Path, state: Path) -> None:
    with child(store, state) as other:
        with pytest.raises(StoreInUseError) as refusal:
            opened(store, state)
        assert refusal.value.pid == other.pid
        assert str(other.pid) in refusal.value.message
        with Replica.open(store, [Task], read_only=True) as reader:
            assert {task.title for task in reader.find(Task)} == {"x", "from the child"}
    with opened(store, state) as replica:
        assert identity_of(replica).reason == ""
        assert replica.count(Task) == 2


def test_a_second_open_in_one_process_is_refused_too(store: Path, state: Path) -> None:
    with opened(store, state):
        with pytest.raises(StoreInUseError) as refusal:
            opened(store, state)
        assert refusal.value.pid == os.getpid()
    author_at(store, state)


def test_a_killed_process_leaves_the_lock_and_the_author_behind(store: Path, state: Path) -> None:
    first = author_at(store, state)
    with child(store, state) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(LINE_WAIT_S)
        with opened(store, state) as replica:
            identity = identity_of(replica)
            assert identity.reason == "unclean end"
            assert identity.author != first[0]
            assert replica.replica_id == first[1]
            assert replica.count(Task) == 2
            assert first[0] in replica.port.own_authors()
    assert author_at(store, state)[2] == ""


# ── reading beside a writer ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_sees_what_the_writer_commits(store: Path, state: Path) -> None:
    with opened(store, state) as writer, Replica.open(store, [Task], read_only=True) as reader:
        (task,) = writer.find(Task)
        seen = reader.get(Task, task.id)
        assert seen.title == "x"
        task.title = "y"
        assert seen.title == "y"
        task.notes.append("n" * 20_000)
        task.notes.append("!")
        assert str(seen.notes) == "n" * 20_000 + "!"
        new = writer.create(Task, title="new")
        assert reader.get(Task, new.id).title == "new"
        assert reader.count(Task) == 2
        assert len(list(reader.history(seen))) == 4
        assert len(list(reader.operations())) == 5


def test_a_reader_cannot_write(store: Path, state: Path) -> None:
    opened(store, state).close()
    with Replica.open(store, [Task], read_only=True) as reader:
        (task,) = reader.find(Task)
        before = store.read_bytes()
        for call in (
            lambda: reader.create(Task),
            lambda: reader.update(task, title="z"),
            lambda: reader.delete(task),
            task.votes.increment,
            lambda: task.notes.append("z"),
            lambda: reader.local.save("k", 1),
            lambda: reader.port.key,
        ):
            with pytest.raises(StoreReadOnlyError):
                call()
        assert reader.device_id is None
        assert "read-only" in repr(reader)
        assert store.read_bytes() == before


def test_opening_what_is_not_there_changes_nothing(tmp_path: Path) -> None:
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(StoreNotFoundError):
            Replica.open(tmp_path / "none.db", [Task], state_dir=tmp_path / "state", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreReadOnlyError):
        Replica.open(":memory:", [Task], read_only=True)


def test_a_failed_open_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_disk(tmp_path):
        pass

    def fail(count: int) -> bytes:
        raise OSError(count)

    with pytest.raises(OSError):  # noqa: PT011  ours, from the entropy
        Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state", sources=Sources(entropy=fail))
    with on_disk(tmp_path, seed=1) as replica:
        assert replica.count(Task) == 0
