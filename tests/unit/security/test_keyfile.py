"""The file with a device's key: made once, kept from others, never silently replaced."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crdt_sync.errors import KeyFileError, StoreFullError
from crdt_sync.security import keyfile
from crdt_sync.security.identity import DeviceKey
from crdt_sync.security.keyfile import load, load_or_create

posix_only = pytest.mark.skipif(os.name != "posix", reason="mode bits and pipes are POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.key"


@contextmanager
def refused(path: Path) -> Iterator[pytest.ExceptionInfo[KeyFileError]]:
    """The call is refused, names the file and says what to do."""
    with pytest.raises(KeyFileError) as caught:
        yield caught
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_the_key_stays_the_same(path: Path) -> None:
    first = load_or_create(path)
    content = path.read_bytes()
    assert load_or_create(str(path)).seed == load(path).seed == first.seed
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_entropy_is_injected(path: Path) -> None:
    assert load_or_create(path, entropy=lambda count: b"\x07" * count).seed == b"\x07" * 32


@posix_only
def test_only_the_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o610])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    load_or_create(path)
    path.chmod(mode)
    with refused(path) as caught:
        load_or_create(path)
    assert f"{mode:04o}" in str(caught.value)
    assert "chmod 600" in caught.value.hint


@posix_only
def test_a_file_that_its_owner_cannot_write_is_fine(path: Path) -> None:
    key = load_or_create(path)
    path.chmod(0o400)
    assert load(path).seed == key.seed


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-5] + b"\n",
        lambda content: content.replace(b"-key-0", b"-key-1"),
        lambda content: content[:30] + (b"0" if content[30:31] != b"0" else b"1") + content[31:],
        lambda content: content + b"more",
        lambda content: content + b" " * 300,
        lambda content: b"\xff" * 100,
        lambda content: b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, change: object) -> None:
    key = load_or_create(path)
    assert callable(change)
    damaged = change(path.read_bytes())
    path.write_bytes(damaged)
    with refused(path) as caught:
        load_or_create(path)
    assert path.read_bytes() == damaged
    assert key.seed.hex()[:16] not in str(caught.value)


def test_a_missing_file_is_refused_by_load(path: Path) -> None:
    with refused(path):
        load(path)
    assert not path.exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "device.key"
    with refused(path) as caught:
        load_or_create(path)
    assert "folder" in caught.value.hint


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with refused(tmp_path):
        load_or_create(tmp_path)


@posix_only
def test_a_pipe_in_its_place_does_not_hang(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with refused(path):
        load_or_create(path)


@posix_only
def test_a_link_to_nowhere_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with refused(path):
        load_or_create(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError):
        load_or_create(path)
    assert list(path.parent.iterdir()) == []


def test_a_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with refused(path):
        load_or_create(path)
    assert list(path.parent.iterdir()) == []


def test_of_several_that_create_it_all_get_one_key(path: Path) -> None:
    together = threading.Barrier(8)
    keys: list[DeviceKey] = []

    def create() -> None:
        together.wait()
        keys.append(load_or_create(path))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.seed for key in keys}) == 1
    assert len(keys) == 8
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_key_that_appears_meanwhile_is_kept(path: Path) -> None:
    other = DeviceKey.generate(b"\x01" * 32)

    def entropy(count: int) -> bytes:
        if not path.exists():
            keyfile._create(path, key=other, suffix="other")
        return b"\x02" * count

    assert load_or_create(path, entropy=entropy).seed == other.seed
