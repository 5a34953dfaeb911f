"""Many devices in one process, for the soak: ``python -m tests.e2e.crowd '{…}'``; it ends what it does on a line in.

The data is of one size for good: so many records, whose fields are written over and over, and of which one is replaced
by another now and then. So whatever grows is not data. They are replaced because the engine keeps some bytes of every
edit for as long as a record lives.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from crdt_sync import BackoffPolicy, Replica, SyncManager
from crdt_sync.errors import SyncError
from crdt_sync.transport.base import ChannelLimits
from tests.e2e.programs import say
from tests.e2e.told import Item

POLICY = BackoffPolicy(base_s=0.5, cap_s=5.0, retry_after_s_max=5.0)
LIMITS = ChannelLimits(open_timeout_s=10, idle_timeout_s=20, close_timeout_s=2)
TAGS = [f"tag {number}" for number in range(10)]
WRITES = 2
"""In one transaction."""
REPLACED = 0.05
"""How many of the writes make or delete a record."""
LATE_S = 0.5
"""A device that is called so much later than it wanted to be writes nothing: the machine has enough to do."""
FINISH_S = 600.0
LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What a process is for, as JSON on the command line.

    Args:
        folder: of the stores.
        url: of the hub.
        first: number of the first device.
        devices: how many there are.
        records: how many there are in all; the first device makes them.
        pause_s: between two transactions of one device, on average.
        seed: of what is written.
    """

    folder: str
    url: str
    first: int
    devices: int
    records: int
    pause_s: float
    seed: int


class Device:
    """One of them."""

    def __init__(self, replica: Replica, url: str, *, dice: random.Random) -> None:
        self.replica = replica
        self._url = url
        self._dice = dice
        self._sync: SyncManager | None = None
        self.edits = 0
        self.left_out = 0
        """Times that it was late, and did not write."""
        self.given_up = 0

    async def stay_online(self) -> None:
        """Sync until cancelled; anew where it failed for good, as damage on the way can look like another protocol."""
        while True:
            async with SyncManager(self.replica, [self._url], policy=POLICY, limits=LIMITS) as self._sync:
                while self._sync.peers[0].failure is None:  # noqa: ASYNC110  nothing tells of it
                    await asyncio.sleep(LOOK_S)
            self.given_up += 1

    async def edit(self, *, pause_s: float, records: int) -> None:
        """Write over what is there, until cancelled.

        Args:
            pause_s: between two transactions, on average.
            records: how many there are to be.
        """
        while True:
            due_s = time.monotonic() + pause_s * 2 * self._dice.random()
            await asyncio.sleep(due_s - time.monotonic())
            if time.monotonic() > due_s + LATE_S:
                self.left_out += 1
                continue
            with self.replica.transaction():
                for _ in range(WRITES):
                    self._write(records)
            self.edits += WRITES

    def _write(self, records: int) -> None:
        items = list(self.replica.find(Item))
        item = self._dice.choice(items)
        word = "".join(self._dice.choices("abcdefghijklmnopqrstuvwxyz ", k=40))
        if self._dice.random() < REPLACED:
            if len(items) > records:
                self.replica.delete(min(items, key=lambda item: item.id))  # the oldest: ids grow with time
            else:
                self.replica.create(Item, title=word, notes=word)
            return
        match self._dice.randrange(5):
            case 0:
                item.title = word
            case 1:
                item.state = word[:5]
            case 2:
                item.notes.replace(word)
            case 3:
                item.votes.increment()
            case _:
                tag = self._dice.choice(TAGS)
                item.tags.discard(tag) if tag in item.tags else item.tags.add(tag)

    async def caught_up(self) -> None:
        """Wait until proven equal to the hub, however often the connection is lost."""
        async with asyncio.timeout(FINISH_S):
            while True:
                try:
                    if self._sync is not None:
                        return await self._sync.peers[0].caught_up()
                except SyncError:
                    pass  # it is dialled again
                await asyncio.sleep(LOOK_S)


async def main(crowd: Crowd) -> None:
    folder, dice = Path(crowd.folder), random.Random(f"{crowd.seed}/{crowd.first}")
    async with AsyncExitStack() as stack:
        devices = []
        for number in range(crowd.first, crowd.first + crowd.devices):
            place = folder / f"device-{number}.db"
            replica = stack.enter_context(Replica.open(place, [Item], state_dir=folder / f"state-{number}"))
            devices.append(Device(replica, crowd.url, dice=random.Random(dice.random())))
        online = [asyncio.create_task(device.stay_online()) for device in devices]
        stack.push_async_callback(ended, online)
        if crowd.first == 0:
            with devices[0].replica.transaction():
                for number in range(crowd.records):
                    devices[0].replica.create(Item, title=f"item {number}", notes="x" * 40)
        say(ready=crowd.devices)
        await heard()
        for device in devices:
            await device.caught_up()
        say(records=devices[0].replica.count(Item))
        await heard()
        editing = [asyncio.create_task(device.edit(pause_s=crowd.pause_s, records=crowd.records)) for device in devices]
        say(writing=True)
        await heard()
        problems = await ended(editing)
        for _ in range(2):  # the second time with what the others had not sent yet
            for device in devices:
                await device.caught_up()
            say(caught_up=True)
            await heard()
        say(
            edits=sum(device.edits for device in devices),
            pending=sum(device.replica.pending_count() for device in devices),
            reconnects=sum(device.replica.metrics().reconnects for device in devices),
            given_up=sum(device.given_up for device in devices),
            left_out=sum(device.left_out for device in devices),
            records=devices[0].replica.count(Item),
            conflicts=len(devices[0].replica.conflicts()),
            fingerprints=sorted({device.replica.port.fingerprint("").hex() for device in devices}),
            problems=[*problems, *(repr(task.exception()) for task in online if task.done())],
        )


async def ended(tasks: list[asyncio.Task[None]]) -> list[str]:
    """Cancel tasks; what went wrong in them."""
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [repr(result) for result in results if not isinstance(result, asyncio.CancelledError)]


async def heard() -> None:
    """Wait for a line; where none can come any more, whoever started this is gone."""
    if not await asyncio.to_thread(sys.stdin.readline):
        raise SystemExit("nobody listens any more")


if __name__ == "__main__":
    os.setsid()  # Linux may share time out between sessions: so many devices are not to count as one with their hub
    asyncio.run(main(Crowd(**json.loads(sys.argv[1]))))
