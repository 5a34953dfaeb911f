"""A disk that is really full, or really read-only, under real processes: a typed error, nothing lost, on it goes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import connect
from crdt_sync.errors import SyncError, SyncTimeoutError
from tests.e2e.programs import ROOT
from tests.unit.aio.network import PATIENCE_S, QUICK, fill, memory, titles

PRIVATE = ("unshare", "-Urm", "sh", "-c")
"""Runs a shell that may mount file systems, which nobody else sees."""
TMPFS_BYTES = 12 * 1024 * 1024


def can_mount(folder: Path) -> bool:
    try:
        done = subprocess.run([*PRIVATE, f"mount -t tmpfs none {folder}"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


class Cramped:
    """A hub whose disk gets full when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.url = ""

    async def ask(self, *what: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S * 3):
            line = await self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line)
        return said


@asynccontextmanager
async def cramped(folder: Path, how: str) -> AsyncIterator[Cramped]:
    disk = folder / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "tests.e2e.cramped", str(disk / "hub.db"), str(folder / "state"), how]
    if how == "tmpfs":
        if not can_mount(disk):
            pytest.skip("no file system can be mounted here")
        mount = f"mount -t tmpfs -o size={TMPFS_BYTES} none {shlex.quote(str(disk))}"
        command = [*PRIVATE, f"{mount} && exec {shlex.join(command)}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it warns of each session that its disk ends
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    hub = Cramped(process)
    try:
        hub.url = f"ws://127.0.0.1:{(await hub.answer())['port']}"
        yield hub
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["limit", "tmpfs"])
async def test_writing_on_a_full_disk_is_refused_and_goes_on_when_there_is_room(tmp_path: Path, how: str) -> None:
    async with cramped(tmp_path, how) as hub:
        before = await hub.ask("write", 20, "before")
        await hub.ask("fill")
        amid = await hub.ask("write", 500, "amid")
        assert amid["error"] == "StoreFullError"
        assert amid["hint"]
        again = await hub.ask("write", 500, "again")
        assert again["error"] == "StoreFullError"
        saved = {*before["saved"], *amid["saved"], *again["saved"]}
        assert set((await hub.ask("look"))["titles"]) == saved
        await hub.ask("room")
        after = await hub.ask("write", 20, "after")
        assert after["error"] is None
        found = await hub.ask("look")
        assert set(found["titles"]) == saved | set(after["saved"])
        assert found["check"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["limit", "tmpfs"])
async def test_a_hub_with_a_full_disk_acknowledges_nothing_that_it_cannot_keep(tmp_path: Path, how: str) -> None:
    async with cramped(tmp_path, how) as hub:
        with memory() as one:
            fill(one, 20, name="before", size=2_000)
            async with connect(one, hub.url, policy=QUICK) as peer:
                await peer.caught_up(timeout_s=PATIENCE_S)
                await hub.ask("fill")
                fill(one, 200, name="amid", size=2_000)
                with pytest.raises((SyncError, SyncTimeoutError)):
                    await peer.caught_up(timeout_s=3)
                assert one.pending_count() > 0
                completed = {str(each.data["title"]) for each in one.operations(status="completed")}
                assert completed <= set((await hub.ask("look"))["titles"])
                await hub.ask("room")
                await peer.caught_up(timeout_s=PATIENCE_S)
                assert one.pending_count() == 0
            found = await hub.ask("look")
            assert set(found["titles"]) == titles(one)
            assert found["check"] == 0


READ_ONLY = """
import sys
from crdt_sync import Replica
from crdt_sync.errors import CRDTSyncError
from tests.unit.aio.network import Task, titles

store, state = sys.argv[1:3]
try:
    Replica.open(store, [Task], state_dir=state).close()
except CRDTSyncError as error:
    print(type(error).__name__, bool(error.hint))
with Replica.open(store, [Task], read_only=True) as replica:
    print(sorted(titles(replica)))
    try:
        replica.create(Task, title="never")
    except CRDTSyncError as error:
        print(type(error).__name__, bool(error.hint))
"""


@pytest.mark.parametrize("cleanly", [True, False], ids=["closed", "killed"])
def test_a_store_on_a_read_only_file_system_can_be_read_and_is_left_alone(tmp_path: Path, cleanly: bool) -> None:
    if not can_mount(tmp_path):
        pytest.skip("no file system can be mounted here")
    disk, state = tmp_path / "disk", tmp_path / "state"
    disk.mkdir()
    ending = "replica.close()" if cleanly else "os.kill(os.getpid(), signal.SIGKILL)"
    before = run_python(f"{OPENED}replica.create(Task, title='one')\n{ending}", disk / "hub.db", state)
    assert before.returncode in {0, -9}, before.stderr
    files = {path.name: path.read_bytes() for path in disk.iterdir()}
    mount = f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}"
    done = run_python(READ_ONLY, disk / "hub.db", state, mount=mount)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["StoreReadOnlyError True", "['one']", "StoreReadOnlyError True"]
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == files
    after = run_python(f"{OPENED}print(sorted(titles(replica)), replica.check().total)", disk / "hub.db", state)
    assert after.stdout.strip() == "['one'] 0"


OPENED = """
import os, signal, sys
from crdt_sync import Replica
from tests.unit.aio.network import Task, titles

replica = Replica.open(sys.argv[1], [Task], state_dir=sys.argv[2])
"""


def run_python(program: str, *arguments: Path, mount: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    if mount:
        command = [*PRIVATE, f"{mount} && exec {shlex.join(command)}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


FULL = """
import sys
from pathlib import Path
from crdt_sync import Replica
from crdt_sync.errors import CRDTSyncError
from tests.unit.aio.network import Task, titles

disk, state = Path(sys.argv[1]), sys.argv[2]
store, other = disk / "hub.db", Path(state) / "other.db"
for path in (store, other):
    with Replica.open(path, [Task], state_dir=state) as replica:
        replica.create(Task, title="one", notes="x" * 50_000)

def fill():
    with (disk / "filler").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass

def tried(name, act):
    try:
        act()
    except CRDTSyncError as error:
        print(name, type(error).__name__, bool(error.hint), error.message)
    else:
        print(name, "done")

def opened():
    Replica.open(store, [Task], state_dir=state).close()

damaged = bytearray(store.read_bytes())
damaged[damaged.rindex(b"x" * 1000)] ^= 1
fill()
tried("open", opened)
tried("state", lambda: Replica.open(other, [Task], state_dir=disk).close())
tried("create", lambda: Replica.open(disk / "new.db", [Task], state_dir=state).close())
tried("look", lambda: Replica.open(store, [Task], read_only=True).close())
with Replica.open(other, [Task], state_dir=state) as replica:
    tried("backup", lambda: replica.backup(disk / "b.db"))
store.write_bytes(damaged)
tried("repair", lambda: Replica.repair(store, state_dir=state))
(disk / "filler").write_bytes(bytes((disk / "filler").stat().st_size - len(damaged)))  # room for one copy alone
tried("repair", lambda: Replica.repair(store, state_dir=state))
files = {path.name for path in disk.iterdir() if path.is_file() and path.suffix != ".lock"}
print(store.read_bytes() == damaged, sorted(files))
(disk / "filler").unlink()
print(Replica.repair(store, state_dir=state).changed)
with Replica.open(store, [Task], state_dir=state) as replica:
    print(sorted(titles(replica)), replica.check().ok)
"""


def test_what_needs_room_on_a_full_disk_says_where_and_changes_nothing(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("no file system can be mounted here")
    disk, state = tmp_path / "disk", tmp_path / "state"
    disk.mkdir()
    state.mkdir()
    done = run_python(FULL, disk, state, mount=f"mount -t tmpfs -o size=4m none {shlex.quote(str(disk))}")
    assert (done.returncode, done.stderr) == (0, "")
    *tries, left, repaired, after = done.stdout.splitlines()
    for line, where in zip(tries, ["hub.db", "replicas", "new.db", "hub.db", "b.db", "hub.db", "hub.db"], strict=True):
        name, kind, hint, message = line.split(" ", 3)
        assert (kind, hint) == ("StoreFullError", "True"), line
        assert str(disk / where) in message, (name, message)
    assert left == "True ['filler', 'hub.db']"
    assert (repaired, after) == ("True", "['one'] True")
