"""kill -9 of a hub and its devices, over and over, on a network with faults: nothing that anybody was told may be lost.

``python -m tests.e2e.kills --kills 500``; a small run of it is in the suite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from crdt_sync import Replica
from crdt_sync.testing.proxy import FaultProxy
from tests.e2e.autopsy import HUB, Autopsy
from tests.e2e.programs import Nursery, command, state_of
from tests.e2e.told import Item, Owner, look, problems_of, read_diary
from tests.e2e.weather import bad_weather
from tests.e2e.writer import Orders

DEVICES = 4
HUB_LIFE_BYTES = 60_000
"""The longest life of a hub, by what the network carried meanwhile; so it does not matter how busy a machine is."""
DEVICE_LIFE_BYTES = 5_000
"""The longest life of a device, by how much longer its diary got ..."""
BUSY = 0.4
"""... as of so many devices: most of them die while they write. The others die as they are told what is completed."""
LIFE_S = 15.0
"""Nobody lives longer, whatever happens."""
LOOK_S = 0.005
WRITES = 12
"""Calls of one life of a device."""
PAUSE_S = 0.05
DESTROYED = 0.1
"""How many of the kills of devices are the end of their stores, too."""
STILLBORN, OPENING_S = 0.15, 0.2
"""How many devices are killed within so many seconds, mostly while their store is opened."""
ROUNDS = 2
"""Each device syncs so often at the end: what the last one brings, the first one has not seen."""
COMPLETED = b'{"said": "completed"'
"""How a line of a diary begins that tells of what was completed."""
Tell = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run did, and what it found."""

    seed: int
    hub_kills: int = 0
    device_kills: int = 0
    stores_destroyed: int = 0
    calls: int = 0
    saved: int = 0
    completed: int = 0
    said_to_be_held: int = 0
    looked_up_at_kills: int = 0
    """Of what was completed, looked up in the hub's store right after a kill of the hub."""
    held_looked_up: int = 0
    """Of what a device was said to hold, looked up in its store right after it was killed."""
    records: int = 0
    conflicts: int = 0
    paused: int = 0
    """Entries that waited for the end of a pause after all lives, since a process had died at them time and again."""
    gave_up: int = 0
    """Times that a device's connection failed for good, as damage on the way looked like another protocol."""
    network: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.hub_kills + self.device_kills


class Run:
    """One run in a folder.

    Args:
        folder: empty; stores, diaries and logs stay in it.
        kills: of hub and devices together.
        devices: how many there are at a time.
        seed: of what is written, when processes die, and the network.
        tell: called with a line now and then.
    """

    def __init__(self, folder: Path, *, kills: int, devices: int, seed: int, tell: Tell) -> None:
        self._folder = folder
        self._seed = seed
        self._kills = kills
        self._devices = devices
        self._tell = tell
        self._proxy: FaultProxy | None = None
        self._nurseries: list[Nursery] = []
        self._owners: list[Owner] = []
        self._ids: dict[str, str] = {}
        """Device id → name of its store."""
        self._autopsy = Autopsy()
        self.outcome = Outcome(seed=seed)

    async def run(self) -> Outcome:
        """Kill as often as asked, have everybody sync, and compare what there is with what was told."""
        try:
            return await self._run()
        finally:
            for nursery in self._nurseries:
                nursery.abandon()

    async def _run(self) -> Outcome:
        began = time.monotonic()
        code, said = await command(
            "init", str(self._store(HUB)), "--no-name", "--models", "tests.e2e.told", home=self._home(HUB)
        )
        if code:
            raise RuntimeError(said)
        with Replica.open(self._store(HUB), [Item], state_dir=self._state(HUB)) as replica:
            self._ids[replica.device_id or ""] = HUB
        hub = self._nursery(HUB)
        await hub.start()
        port = await self._serve(hub, port=0)
        async with AsyncExitStack() as stack:
            self._proxy = proxy = await stack.enter_async_context(FaultProxy(port, seed=self._seed))
            async with asyncio.TaskGroup() as group:
                weather = group.create_task(bad_weather(proxy, dice=random.Random(f"{self._seed}/weather")))
                lives = [group.create_task(self._hub_lives(hub, port=port))]
                lives += [group.create_task(self._device_lives(f"d{at}", proxy.url)) for at in range(self._devices)]
                await asyncio.wait(lives)
                weather.cancel()
            proxy.clear()
            await self._wait_out_pauses()
            await self._serve(hub, port=port)
            await self._sync_all(proxy.url)
            await hub.kill()  # and nobody had time to close anything
            await hub.end()
            self.outcome.network = dict(sorted(proxy.counts.items()))
        await self._check()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    # ── lives ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, hub: Nursery, *, port: int) -> int:
        """Begin a life of the hub; its port, once devices can come."""
        await hub.begin(["serve", str(self._store(HUB)), "--port", str(port), "--json"])
        served: int = (await hub.answer())["port"]
        return served

    async def _hub_lives(self, hub: Nursery, *, port: int) -> None:
        dice = random.Random(f"{self._seed}/hub")
        while True:
            await self._until_more(lambda: self._carried, by=dice.randrange(HUB_LIFE_BYTES))
            await hub.kill()
            self.outcome.hub_kills += 1
            self._told()
            self._look_at(HUB)
            if self._done():
                return
            await self._serve(hub, port=port)

    async def _device_lives(self, name: str, url: str) -> None:
        dice = random.Random(f"{self._seed}/{name}")
        nursery = self._nursery(name)
        await nursery.start()
        stores, life = 0, 0
        owner = self._new_owner(name, stores)
        while not self._done():
            life += 1
            orders = Orders(
                store=str(self._store(owner)),
                state=str(self._state(owner)),
                diary=str(self._diary(owner)),
                url=url,
                life=f"{owner}-{life}",
                seed=f"{self._seed}/{owner}/{life}",
                writes=WRITES,
                pause_s=PAUSE_S,
            )
            await nursery.begin(asdict(orders))
            await self._live(self._diary(owner), dice)
            for said in await nursery.kill():
                self._ids.update({said["device"]: owner} if "device" in said else {})
                self.outcome.gave_up += "failure" in said
            self.outcome.device_kills += 1
            self._told()
            self._look_at(owner)
            if dice.random() < DESTROYED:
                self._destroy(owner)
                stores += 1
                owner = self._new_owner(name, stores)
        await nursery.end()

    async def _live(self, diary: Path, dice: random.Random) -> None:
        """Wait for as long as a device is to live: by what it did, so that a slow machine has it do no less."""
        kind = dice.random()
        if kind < STILLBORN:
            await asyncio.sleep(OPENING_S * dice.random())
        elif kind < STILLBORN + BUSY:
            await self._until_more(partial(_size, diary), by=dice.randrange(DEVICE_LIFE_BYTES))
        else:
            await self._until_more(partial(_completed, diary), by=dice.randrange(1, WRITES + 1))

    async def _until_more(self, number: Callable[[], int], *, by: int) -> None:
        """Wait until a number has grown so much, but not for longer than a life lasts at most."""
        goal, end_s = number() + by, time.monotonic() + LIFE_S
        while number() < goal and time.monotonic() < end_s:  # noqa: ASYNC110  files and the network tell nobody
            await asyncio.sleep(LOOK_S)

    def _new_owner(self, name: str, number: int) -> str:
        self._owners.append(Owner(name=f"{name}s{number}", writes={}))
        return self._owners[-1].name

    @property
    def _carried(self) -> int:
        counts = {} if self._proxy is None else self._proxy.counts
        return counts.get("bytes_up", 0) + counts.get("bytes_down", 0)

    def _done(self) -> bool:
        return self.outcome.kills >= self._kills

    def _told(self) -> None:
        if self.outcome.kills % 10 == 0:
            self._tell(f"{self.outcome.kills} of {self._kills} kills, {self.outcome.stores_destroyed} stores destroyed")

    def _destroy(self, owner: str) -> None:
        for path in self._folder.glob(f"{owner}.db*"):
            path.unlink()
        shutil.rmtree(self._home(owner), ignore_errors=True)  # it may not have got that far
        next(each for each in self._owners if each.name == owner).destroyed = True
        self.outcome.stores_destroyed += 1

    # ── the checker ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_at(self, name: str) -> None:
        """What was told of a store is in it as its process was killed; of one that nobody knows nothing was told."""
        devices = [device for device, owner in self._ids.items() if owner == name]
        if devices:
            self.outcome.problems += self._autopsy.look(self._store(name), self._read(), name=name, devices=devices)

    def _read(self) -> list[Owner]:
        """The owners, with their diaries as they are now."""
        for owner in self._owners:
            owner.writes = read_diary(self._diary(owner.name))
        return self._owners

    async def _wait_out_pauses(self) -> None:
        """What a process died at many times in a row is tried again after a pause: wait for it; nobody helps."""
        due_ms = 0
        for name in (HUB, *self._here()):
            with Replica.open(self._store(name), [Item], state_dir=self._state(name)) as replica:
                aside = replica.set_aside()
            self.outcome.paused += len(aside)
            due_ms = max(due_ms, *(item.due_ms or 0 for item in aside), 0)
        await asyncio.sleep(max(0.0, due_ms / 1000 - time.time()))

    async def _sync_all(self, url: str) -> None:
        for _ in range(ROUNDS):
            names = self._here()
            ends = [command("sync", str(self._store(name)), url, home=self._home(name)) for name in names]
            for name, (code, said) in zip(names, await asyncio.gather(*ends), strict=True):
                if code:
                    self.outcome.problems.append(f"{name} could not sync in the end: {said}")

    async def _check(self) -> None:
        self.outcome.problems += self._autopsy.untrue(self._read())
        self.outcome.looked_up_at_kills, self.outcome.held_looked_up = self._autopsy.looked_up, self._autopsy.held
        names = [HUB, *self._here()]
        checks = [command("check", str(self._store(name)), home=self._home(name)) for name in names]
        for name, (code, said) in zip(names, await asyncio.gather(*checks), strict=True):
            if code:
                self.outcome.problems.append(f"check of {name}: {said}")
        found = {}
        for name in names:
            with Replica.open(self._store(name), [Item], state_dir=self._state(name)) as replica:
                found[name] = look(replica)
                pending = replica.pending_count()
            self.outcome.problems += problems_of(found[name], self._owners, name=name)
            if pending:
                self.outcome.problems.append(f"{name} has {pending} pending operations")
        if len({(held.fingerprint, held.conflicts) for held in found.values()}) != 1:
            self.outcome.problems.append("the stores differ")
        writes = [write for owner in self._owners for write in owner.writes.values()]
        outcome, held = self.outcome, found[HUB]
        outcome.calls, outcome.records, outcome.conflicts = len(writes), len(held.votes), len(held.conflicts)
        outcome.saved = sum(write.saved for write in writes)
        outcome.completed = sum(write.completed for write in writes)
        strangers = {device for write in writes for device in write.held_by} - self._ids.keys()
        if strangers:
            outcome.problems.append(f"said to be held by {sorted(strangers)}, whom nobody knows")
        outcome.said_to_be_held = sum(len(write.held_by) for write in writes)
        self._count_failures()

    def _count_failures(self) -> None:
        logs = (path.read_text(encoding="utf-8", errors="replace") for path in self._folder.glob("*.log"))
        self.outcome.problems += [f"a process failed: {text[-2000:]}" for text in logs if "Traceback" in text]

    # ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _here(self) -> list[str]:
        return [each.name for each in self._owners if not each.destroyed and self._store(each.name).exists()]

    def _store(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    def _diary(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def _home(self, name: str) -> Path:
        return self._folder / f"{name}-home"

    def _state(self, name: str) -> Path:
        return state_of(self._home(name))

    def _nursery(self, name: str) -> Nursery:
        self._nurseries.append(Nursery(home=self._home(name), log=self._folder / f"{name}.log"))
        return self._nurseries[-1]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _completed(path: Path) -> int:
    return path.read_bytes().count(COMPLETED) if path.exists() else 0


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  a command prints


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print what came of it; 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="of hub and devices together (default 500)")
    parser.add_argument("--devices", type=int, default=DEVICES, help=f"at a time (default {DEVICES})")
    parser.add_argument("--seed", type=int, default=1, help="of writes, times and the network (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty folder for stores, diaries and logs")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = (asked.keep or Path(place)).resolve()  # a user's directories are absolute, or not used
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(Run(folder, kills=asked.kills, devices=asked.devices, seed=asked.seed, tell=tell).run())
    said = {"kills": outcome.kills, **asdict(outcome)}
    shown = json.dumps(said, indent=2) if asked.json else "\n".join(f"{name}: {what}" for name, what in said.items())
    print(shown)  # noqa: T201  as above
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
