"""kill -9 of a hub amid a sync: everything that it acknowledged is there when it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from crdt_sync import Replica, connect
from tests.unit.aio.network import PATIENCE_S, QUICK, Task, fill, memory, titles, until

ROOT = Path(__file__).resolve().parents[2]
HUB = """
import asyncio, sys
from crdt_sync import Replica, serve
from tests.unit.aio.network import Task

async def main():
    with Replica.open(sys.argv[1], [Task], durability=sys.argv[4], state_dir=sys.argv[2]) as replica:
        async with serve(replica, port=int(sys.argv[3])) as server:
            print(server.port, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


class Hub:
    """A hub in a process of its own."""

    def __init__(self, place: Path, *, durability: str) -> None:
        self.path, self._state = place / "hub.db", place / "hub-state"
        self._durability = durability
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> str:
        arguments = (str(self.path), str(self._state), str(self.port), self._durability)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            HUB,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            self.port = int(await self._process.stdout.readline())
        return f"ws://127.0.0.1:{self.port}"

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        assert self._process.stdout is not None
        await self._process.stdout.read()

    def look(self) -> set[str]:
        with Replica.open(self.path, [Task], state_dir=self._state) as replica:
            return titles(replica)


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_what_a_killed_hub_acknowledged_is_there(tmp_path: Path, durability: str) -> None:
    hub = Hub(tmp_path, durability=durability)
    url = await hub.start()
    with memory() as one:
        fill(one, 150, size=6_000)
        async with connect(one, url, policy=QUICK) as peer:
            for killed in range(1, 3):
                await until(lambda: one.pending_count() < 110 or peer.failure)
                await hub.kill()
                acknowledged = {str(operation.data["title"]) for operation in one.operations(status="completed")}
                assert acknowledged
                assert acknowledged <= hub.look()
                fill(one, 60, name=f"meanwhile {killed}", size=6_000)
                await hub.start()
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert one.pending_count() == 0
        everything = titles(one)
        assert len(everything) == 270
    await hub.kill()
    assert hub.look() == everything
