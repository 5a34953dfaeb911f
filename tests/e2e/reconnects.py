"""Thousands of reconnects of a few devices to one hub, in one process: nothing may be left of a connection that ended.

``python -m tests.e2e.reconnects --reconnects 5000``; some hundreds of it are in the suite.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from crdt_sync import BackoffPolicy, Replica, connect, serve
from crdt_sync.aio import Peer
from crdt_sync.testing.proxy import Cut, FaultProxy, Way
from tests.e2e.growth import descriptors, rss_mb
from tests.e2e.told import Item

QUICK = BackoffPolicy(floor_s=0.001, base_s=0.002, cap_s=0.005)
DEVICES = 3
ROUND = 10
"""Reconnects of each device between two edits; all are caught up then."""
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the process holds between two connections.

    Args:
        reconnects: so far, of all devices.
        tasks: of the event loop.
        descriptors: open files and sockets.
        blocks: of memory that Python has allocated.
        rss_mb: what the system says.
    """

    reconnects: int
    tasks: int
    descriptors: int
    blocks: int
    rss_mb: float


class Storm:
    """A hub, its devices, and a proxy that cuts their connections in every way, in an empty folder."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder = folder
        self._dice = random.Random(seed)
        self._peers: list[Peer] = []
        self._replicas: list[Replica] = []
        self.samples: list[Sample] = []

    async def run(self, reconnects: int, *, samples: int) -> None:
        """Go on until there were so many reconnects; `samples` are taken in equal steps.

        Raises:
            AssertionError: hub and devices differ in the end, or count other than was voted, or something is pending.
        """
        async with AsyncExitStack() as stack:
            hub = self._open(stack, "hub")
            server = await stack.enter_async_context(serve(hub))
            proxy = await stack.enter_async_context(FaultProxy(server.port, seed=self._dice.randrange(1_000_000)))
            for number in range(DEVICES):
                self._replicas.append(self._open(stack, f"device-{number}"))
                joined = connect(self._replicas[-1], proxy.url, policy=QUICK)
                self._peers.append(await stack.enter_async_context(joined))
            item = self._replicas[0].create(Item, title="item")
            await self._caught_up()
            await self._caught_up()
            votes = 0
            for at in range(samples + 1):
                while self._reconnects < reconnects * at // samples:
                    await self._lose(proxy)
                    self._dice.choice(self._replicas).get(Item, item.id).votes.increment()
                    votes += 1
                    await self._caught_up()
                await self._caught_up()
                self._sample()
            assert {replica.pending_count() for replica in self._replicas} == {0}
            require_votes((hub, *self._replicas), item.id, votes=votes)

    async def _lose(self, proxy: FaultProxy) -> None:
        """Have every device dial again some times, each connection ending somewhere."""
        goal = self._reconnects + ROUND * DEVICES
        async with asyncio.timeout(PATIENCE_S):
            while self._reconnects < goal:
                way = Way(cut_after_bytes=self._dice.randrange(3_000), cut=self._dice.choice(tuple(Cut)))
                proxy.up, proxy.down = self._dice.sample((way, Way()), 2)
                before = self._reconnects
                while self._reconnects < before + DEVICES:
                    if all(peer.connected for peer in self._peers):
                        proxy.cut(self._dice.choice(tuple(Cut)))
                    await asyncio.sleep(0.001)
        proxy.clear()

    async def _caught_up(self) -> None:
        for peer in self._peers:
            await peer.caught_up(timeout_s=PATIENCE_S)

    @property
    def _reconnects(self) -> int:
        return sum(peer.reconnects for peer in self._peers)

    def _sample(self) -> None:
        gc.collect()
        self.samples.append(
            Sample(
                reconnects=self._reconnects,
                tasks=len(asyncio.all_tasks()),
                descriptors=descriptors(os.getpid()),
                blocks=sys.getallocatedblocks(),
                rss_mb=rss_mb(os.getpid()),
            )
        )

    def _open(self, stack: AsyncExitStack, name: str) -> Replica:
        path, state = self._folder / f"{name}.db", self._folder / f"{name}-state"
        return stack.enter_context(Replica.open(path, [Item], durability="normal", state_dir=state))


def require_votes(replicas: Sequence[Replica], record: str, *, votes: int) -> None:
    """Stores are equal, and count what was voted.

    Raises:
        AssertionError: they are not, or do not.
    """
    assert len({replica.port.fingerprint("") for replica in replicas}) == 1
    assert {int(replica.get(Item, record).votes) for replica in replicas} == {votes}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print the samples."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.reconnects", description=__doc__)
    parser.add_argument("--reconnects", type=int, default=5_000, help="of all devices together (default 5000)")
    parser.add_argument("--samples", type=int, default=10, help="default 10")
    parser.add_argument("--seed", type=int, default=1, help="of where connections end (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        storm = Storm(Path(place), seed=asked.seed)
        asyncio.run(storm.run(asked.reconnects, samples=asked.samples))
    samples = [asdict(sample) for sample in storm.samples]
    lines = [" ".join(f"{name:>12}" for name in samples[0])]
    lines += [" ".join(f"{value:>12,.0f}" for value in sample.values()) for sample in samples]
    print(json.dumps(samples, indent=2) if asked.json else "\n".join(lines))  # noqa: T201  a command prints
    return 0


if __name__ == "__main__":
    sys.exit(main())
