"""Many devices in one process, for the soak: ``python -m tests.e2e.crowd '{…}'``; it ends what it does on a line in.

The data is of one size for good: readings and tallies that all devices write over and over, and one note of each, which
it edits a few times, deletes and replaces. So whatever grows is not data.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from crdt_sync import BackoffPolicy, Replica, SyncManager
from crdt_sync.errors import SyncError
from crdt_sync.transport.base import ChannelLimits
from tests.e2e.accounts import Account
from tests.e2e.programs import say
from tests.e2e.steady import MODELS, Note, Reading, Tally

POLICY = BackoffPolicy(base_s=0.5, cap_s=5.0, retry_after_s_max=5.0)
LIMITS = ChannelLimits(open_timeout_s=10, idle_timeout_s=20, close_timeout_s=2)
NOTES = 0.2
"""How many of the writes are to a note ..."""
NOTE_WRITES = 5
"""... of which each has so many, with those that make and delete it."""
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
        records: how many readings, and tallies, there are; the first device makes them.
        pause_s: between two writes of one device, on average.
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
        self.account = Account()
        self.edits = 0
        self._notes = 0
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

    async def edit(self, *, pause_s: float, readings: Sequence[str], tallies: Sequence[str]) -> None:
        """Write over what is there, until cancelled.

        Args:
            pause_s: between two writes, on average.
            readings: ids.
            tallies: ids.
        """
        note: Note | None = None
        while True:
            due_s = time.monotonic() + pause_s * 2 * self._dice.random()
            await asyncio.sleep(due_s - time.monotonic())
            if time.monotonic() > due_s + LATE_S:
                self.left_out += 1
            elif self._dice.random() < NOTES:
                note = self._write_note(note)
                self.edits += 1
            elif self._dice.random() < 0.5:
                reading, word = self._dice.choice(readings), self._word()
                self.replica.get(Reading, reading).value = word
                self.account.values[reading] = word
                self.edits += 1
            else:
                tally = self._dice.choice(tallies)
                self.replica.get(Tally, tally).votes.increment()
                self.account.vote(tally)
                self.edits += 1

    def _write_note(self, note: Note | None) -> Note | None:
        """Make, edit or delete this device's note; the one that it has then."""
        if note is None:
            made = self.replica.create(Note, title=self._word(), text=self._word())
            self.account.notes = [made.id]
            return made
        self._notes += 1
        match self._notes % NOTE_WRITES:
            case 1:
                note.text.replace(self._word())
            case 2:
                note.state = self._word()
            case 3:
                note.tags.add(self._word())
            case 4:
                self.replica.delete(note)
                self.account.notes = []
                return None
            case _:
                note.title = self._word()
        return note

    def _word(self) -> str:
        return "".join(self._dice.choices("abcdefghijklmnopqrstuvwxyz ", k=40))

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
            replica = stack.enter_context(Replica.open(place, MODELS, state_dir=folder / f"state-{number}"))
            devices.append(Device(replica, crowd.url, dice=random.Random(dice.random())))
        online = [asyncio.create_task(device.stay_online()) for device in devices]
        stack.push_async_callback(ended, online)
        if crowd.first == 0:
            with devices[0].replica.transaction():
                for _ in range(crowd.records):
                    devices[0].replica.create(Reading)
                    devices[0].replica.create(Tally)
        say(ready=crowd.devices)
        await heard()
        for device in devices:
            await device.caught_up()
        readings, tallies = ([item.id for item in devices[0].replica.find(model)] for model in (Reading, Tally))
        say(records=len(readings))
        await heard()
        writes = [device.edit(pause_s=crowd.pause_s, readings=readings, tallies=tallies) for device in devices]
        editing = [asyncio.create_task(write) for write in writes]
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
            notes=devices[0].replica.count(Note),
            accounts=[asdict(device.account) for device in devices],
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
