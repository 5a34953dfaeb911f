"""A simulated world: hosts, the network between them, and what a schedule does to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from crdt_sync.errors import StoreError
from crdt_sync.storage.base import Durability, Table
from crdt_sync.testing.simulation.byzantine import Liar
from crdt_sync.testing.simulation.disk import Disk, Image
from crdt_sync.testing.simulation.host import Host, Wrap, as_it_is
from crdt_sync.testing.simulation.loop import VirtualLoop
from crdt_sync.testing.simulation.mishaps import Mishaps
from crdt_sync.testing.simulation.network import Network
from crdt_sync.testing.simulation.schedule import COUNTED_WHEN_DONE, FAULT_STEPS, Schedule, Step
from crdt_sync.testing.simulation.sqlite_disk import SqliteDisk
from crdt_sync.testing.simulation.story import Story
from crdt_sync.testing.simulation.trace import Trace
from crdt_sync.testing.simulation.users import Users

EPOCH_MS = 1_900_000_000_000
NIGHT_MS = 8 * 3_600_000
JUMPS_MS = (-3_600_000, 3_600_000, -3 * 365 * 86_400_000, 3 * 365 * 86_400_000, -120_000, 120_000)
SKEW_MAX_MS = 200_000
CLONES_MAX = 2
SQLITE_SHARE = 10
"""One of so many histories has a store on SQLite."""
RESTS_MAX = 4
"""Steps that a host stays down at most."""
EDITS = ("title", "due", "vote", "tag", "type")


class World:
    """Runs the steps of one schedule.

    Args:
        loop: whose time it is.
        schedule: what happens.
        folder: for the hosts' keys and fences.
    """

    def __init__(self, loop: VirtualLoop, schedule: Schedule, *, folder: Path) -> None:
        self.loop = loop
        self.schedule = schedule
        self.trace = Trace()
        self.story = Story()
        self.users = Users(self.story, told=lambda host, text: self.note("edit", host.name, text))
        self.network = Network(loop, trace=self.trace, seed=str(schedule.seed))
        self.on_sync: Callable[[Host], None] = lambda _: None
        """Called when a host's disk was synced."""
        self.slept_ms = 0
        """Wall time that passed while everything slept."""
        self.hosts: list[Host] = []
        self.liar: Host | None = None
        """The device that sends what it likes, once there is one."""
        self.rewound = False
        """Whether any store was put back or lost, so that what it once had it may have no more."""
        self.mishaps = Mishaps(self.hosts, self.story, note=self.note, gone=self._gone, folder=folder / "repairs")
        self._folder = folder
        self._numbers = 0
        self._images: dict[str, Image] = {}
        self._random = Random(f"world {schedule.seed}")
        # Some histories have one store on SQLite itself, which costs more.
        hosts = schedule.replicas + schedule.hubs
        drawn = self._random.randrange(SQLITE_SHARE * hosts) + 1
        self._on_sqlite = drawn if drawn <= hosts else 0
        hubs = [f"hub{number}" for number in range(schedule.hubs)]
        devices = [f"dev{number}" for number in range(schedule.replicas)]
        for at, name in enumerate(hubs):
            self.hosts.append(self._host(name, tuple(hubs[:at])))
        for at, name in enumerate(devices):
            self.hosts.append(self._host(name, tuple(hubs) or tuple(devices[:at])))

    def note(self, what: str, who: str, text: str = "") -> None:
        """Something happened now."""
        self.trace.note(self.loop.time(), what, who, data=text.encode())

    def wall_ms(self) -> int:
        """The true time, milliseconds since 1970."""
        return EPOCH_MS + round(self.loop.time() * 1000) + self.slept_ms

    async def begin(self) -> None:
        """Start every host."""
        for host in self.hosts:
            await host.start()

    async def take(self, step: Step) -> None:
        """Do one step, and let its time pass."""
        await self._attend()
        host = self.hosts[step.host % len(self.hosts)]
        if step.action in FAULT_STEPS and step.action not in COUNTED_WHEN_DONE:
            self.note(step.action, host.name)
        match step.action:
            case (
                "create"
                | "title"
                | "due"
                | "vote"
                | "tag"
                | "untag"
                | "type"
                | "erase"
                | "badge"
                | "resolve"
                | "delete"
            ):
                self._edit(host, step)
            case "together":
                actions = [(EDITS[(step.args[1] + at) % len(EDITS)], step.args) for at in range(3)]
                self.users.together(host, actions)
            case "undo" | "redo" | "revert":
                if self.users.take_back(host, step.action, step.args[0]):
                    self.note(step.action, host.name)
            case "snapshot" | "rewind" | "bits" | "poison":
                await self.mishaps.befall(host, step)
            case "compact":
                self._compact(host)
            case "cut" | "storm" | "block" | "isolate" | "heal" | "slow":
                self._disturb(host, step)
            case "wait":
                pass
            case _:
                with self._forgiving(host):
                    await self._strike(host, step)
                host.rests = host.rests if host.up else step.args[1] % RESTS_MAX
        await asyncio.sleep(step.pause_ms / 1000)
        for host in self.hosts:
            await self._clear_away(host)

    async def calm(self) -> None:
        """No more faults, but for entries that somebody cannot take in: everybody is up, and reaches everybody."""
        self.network.heal()
        self.network.slow.clear()
        if self.liar is not None:
            await self.liar.kill(told=True)
        for host in self.hosts:
            host.disk.fill(full=False)
            host.disk.break_after(None)
            await self._clear_away(host)
        await self.mishaps.find_rot()
        await self.mishaps.attend()
        for host in self.hosts:
            if not host.up and not await host.start():
                await self.mishaps.attend()
                await host.start()

    async def go_on(self) -> None:
        """Those whose processes died are started again, and those who gave somebody up."""
        for host in self.hosts:
            await self._clear_away(host)
            if host.up and host.given_up:
                await host.stop()
            if not host.up:
                await host.start()

    async def end(self) -> None:
        """Let go of everything, whatever state it is in."""
        for host in (*self.hosts, *((self.liar,) if self.liar is not None else ())):
            await host.kill(told=True)
            host.disk.eject()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _host(self, name: str, peers: tuple[str, ...], *, wrap: Wrap = as_it_is) -> Host:
        self._numbers += 1
        durability: Durability = "normal" if self._random.random() < 0.5 else "full"
        folder = self._folder / f"{self._numbers}"
        disk = Disk(durability)
        if self._numbers == self._on_sqlite:
            disk = SqliteDisk(durability, folder=self._folder / "sqlite", seed=f"{self.schedule.seed}/disk")
            self.note("sqlite", name)
        made = Host(
            name,
            number=self._numbers,
            network=self.network,
            folder=folder,
            peers=peers,
            disk=disk,
            wall_ms=self.wall_ms,
            seed=str(self.schedule.seed),
            wrap=wrap,
            moved=self.story.moved,
        )
        made.disk.on_sync = lambda: self.on_sync(made)
        return made

    async def _attend(self) -> None:
        """Clear away processes that died by themselves, and start those whose time has come."""
        await self.mishaps.attend()
        for host in self.hosts:
            await self._clear_away(host)
            if host.up:
                continue
            host.rests -= 1
            if host.rests <= 0 and await host.start():
                self.note("start", host.name)

    async def _clear_away(self, host: Host) -> None:
        if host.died:
            self.note("died", host.name)
            await host.kill(told=True)
            host.rests = 1

    def _edit(self, host: Host, step: Step) -> None:
        """One user does something, or two do it at once on two devices."""
        self.users.edit(host, step.action, step.args)
        if step.args[1] % 2:
            self.users.edit(self.hosts[(step.host + 1) % len(self.hosts)], step.action, step.args)

    def _compact(self, host: Host) -> None:
        if host.replica is None or not host.up:
            return
        with self._forgiving(host):
            host.replica.compact()
        self.note("compact", host.name)

    @contextmanager
    def _forgiving(self, host: Host) -> Iterator[None]:
        """A store may fail where its disk is full, or its process was to die."""
        try:
            yield
        except StoreError:
            if not host.excused:
                raise

    def _disturb(self, host: Host, step: Step) -> None:
        """Do something to the network."""
        network, (first, second) = self.network, step.args
        match step.action:
            case "cut" if network.wires:
                if network.wires[first % len(network.wires)].cut(second % 3):
                    self.note("in mid-frame", host.name)
            case "storm":
                for wire in list(network.wires):
                    wire.cut(2)
            case "block":
                other = self.hosts[first % len(self.hosts)]
                network.block(host.name, other.name)
                if second % 2:
                    network.block(other.name, host.name)
            case "isolate":
                for other in self.hosts:
                    network.block(host.name, other.name)
                    network.block(other.name, host.name)
            case "heal":
                network.heal()
            case "slow":
                network.slow[host.name] = first % 500 / 1000
            case _:
                pass  # there is no connection to cut

    async def _strike(self, host: Host, step: Step) -> None:
        """Do something to a host."""
        first = step.args[0]
        match step.action:
            case "reopen":
                await self._clear_away(host)
                if not host.disk.full:
                    await host.stop()
                    await host.start()
            case "kill":
                await host.kill(told=True)
            case "fuse":
                host.break_after(first % 40)
            case "power":
                if lost := await host.kill(told=False, loss=first):
                    self.note("unsynced commits lost", host.name, str(lost))
                    self._gone(host)
            case "fill":
                host.disk.fill(full=not host.disk.full)
            case "skew":
                host.skew_ms = first * SKEW_MAX_MS // 65_536 - SKEW_MAX_MS // 2
            case "jump":
                host.skew_ms = JUMPS_MS[first % len(JUMPS_MS)]
            case "night":
                self.slept_ms += NIGHT_MS
            case "provoke":
                await self._provoke(step)
            case _:
                await self._copy(host, step)

    async def _copy(self, host: Host, step: Step) -> None:
        """Do something to the copies of a store, or to what is in it."""
        match step.action:
            case "backup":
                self._images[host.name] = host.disk.image()
            case "restore" if host.name in self._images:
                await host.kill(told=True)
                host.disk.restore(self._images[host.name])
                self._gone(host)
            case "clone" if (
                host.disk.can_be_copied and len(self.hosts) < self.schedule.replicas + self.schedule.hubs + CLONES_MAX
            ):
                copy = self._host(f"copy{self._numbers}", host.peers or (host.name,))
                host.disk.write_back()
                copy.disk.restore(host.disk.image())
                self.hosts.append(copy)
                copy.disk.fill(full=False)
                await copy.start()
            case "wipe":
                await host.kill(told=True)
                host.disk.clear()
                host.forget_machine()
                self._images.pop(host.name, None)
                self.mishaps.forget(host)
                self._gone(host)
            case "rot":
                self._rot(host, step)
            case _:
                pass  # there is no backup, or there are copies enough

    def _gone(self, host: Host) -> None:
        """A store lost something: what nobody else has cannot be asked for."""
        self.rewound = True
        lost = self.story.destroyed(other.holds(exact=self.story.forked) for other in self.hosts)
        self.note("lost with a store", host.name, str(lost))

    def _rot(self, host: Host, step: Step) -> None:
        """The version of a document is not what it was; the log has what it follows from."""
        if host.replica is None or not host.up or host.disk.full or host.disk.rotten:
            return
        keys = host.disk.tables[Table.VERSION].keys
        if keys and host.store is not None:
            with host.store.transaction():
                host.store.put(Table.VERSION, keys[step.args[0] % len(keys)], bytes(16))
            host.replica.port.rederive(())  # it remembers the fingerprint that it made of the versions

    async def _provoke(self, step: Step) -> None:
        """A device that anybody may be talks to somebody, and not as it should."""
        first, second = step.args
        if self.liar is None:
            lies = Liar(self.network, seed=f"{self.schedule.seed}/lies")
            self.liar = self._host("liar", (self.hosts[0].name,), wrap=lies.wrap)
        await self.liar.kill(told=True)
        self.liar.peers = (self.hosts[first % len(self.hosts)].name,)
        await self.liar.start()
        await asyncio.sleep(0.3 + second % 1000 / 1000)
