"""One machine of a simulation: a replica on a simulated disk, and the production code that syncs it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgpack

from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.manager import SyncManager
from crdt_sync.aio.server import Server
from crdt_sync.aio.shell import Shell
from crdt_sync.aio.upkeep import keep_current
from crdt_sync.core.ids import Author
from crdt_sync.errors import CRDTSyncError, StoreError
from crdt_sync.replica import Replica
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.opening import open_on
from crdt_sync.replica.rows import after_prefix, chain_prefix, split_chain_key, unpack_vector
from crdt_sync.storage.base import Store, Table
from crdt_sync.testing.drawn import Drawn
from crdt_sync.testing.simulation.disk import Disk
from crdt_sync.testing.simulation.network import LIMITS, Network
from crdt_sync.testing.simulation.story import MODELS
from crdt_sync.transport.base import Channel, ChannelLimits

POLICY = BackoffPolicy(floor_s=0.02, base_s=0.2, cap_s=2.0, stable_after_s=5.0, retry_after_s_max=5.0)
"""Shorter than by default, so that a short history has many reconnects."""
Wrap = Callable[[Channel], Channel]


def as_it_is(channel: Channel) -> Channel:
    """The channel of a host that is honest."""
    return channel


class Host:
    """A machine with one store, whose process comes and goes.

    Invariant: while it is up, `Replica`, `SyncManager`, `Server` and the sessions under them are the production code;
    what is simulated is below (the disk, the clock) and around (the network).

    Args:
        name: in urls and traces.
        number: unique among hosts, also those of other times; ids and keys follow from it.
        network: that it is at.
        folder: for keys and fences.
        peers: names of the hosts that it dials.
        disk: of its store.
        wall_ms: the true time.
        seed: of keys and of chance.
        wrap: what becomes of a channel that it opened.
    """

    def __init__(
        self,
        name: str,
        *,
        number: int,
        network: Network,
        folder: Path,
        peers: tuple[str, ...],
        disk: Disk,
        wall_ms: Callable[[], int],
        seed: str,
        wrap: Wrap = as_it_is,
    ) -> None:
        self.name = name
        self.peers = peers
        self.disk = disk
        self.skew_ms = 0
        self.replica: Replica | None = None
        self.device = ""
        """Its device's id; of the last time that it was up."""
        self._struck = False
        self.rests = 0
        """Steps until it is started again."""
        self._network = network
        self._folder = folder
        self._wall_ms = wall_ms
        self._chance = Random(f"{seed}/{number}")
        self._drawn = Drawn(number, seed=f"{seed}/{number}")
        self._wrap = wrap
        self.store: Store | None = None
        self._manager: SyncManager | None = None
        self._server: Server | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self.disk.on_death = self._die

    @property
    def died(self) -> bool:
        """Whether its process ended at one of its own writes, and nobody has noticed yet."""
        return self._struck or self.disk.dead

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self.replica is not None and not self.died

    async def start(self) -> bool:
        """Open the store and go on syncing; whether that was possible."""
        self.disk.break_after(None)
        sources = self._drawn.sources(self.now_ms)
        try:
            self.store = self.disk.open()
            self.replica = Replica(open_on(self.store, MODELS, state_dir=self._folder, sources=sources), name=self.name)
        except CRDTSyncError:
            if not self.disk.full:
                raise
            self.replica = None
            return False
        self.device = str(self.replica.device_id)
        shell = Shell(
            sleep=asyncio.sleep, chance=self._chance.random, monotonic=self._network.loop.time, dial=self._dial
        )
        self._server = Server(self.replica, open_space=True, shell=shell)
        self._network.listen(self.name, self._server.talk)
        if self.peers:
            urls = [f"ws://{peer}:1" for peer in self.peers]
            self._manager = SyncManager(self.replica, urls, policy=POLICY, limits=LIMITS, shell=shell)
            await self._manager.__aenter__()
        else:
            self._upkeep = self._network.loop.create_task(keep_current(self.replica))
        return True

    async def stop(self) -> None:
        """End the process in good order."""
        if self.replica is None:
            return
        await self._end_tasks()
        if self.died:
            await self.kill(told=True)
            return
        replica, self.replica = self.replica, None
        replica.close()

    async def sync(self, *, timeout_s: float) -> bool:
        """One round with every peer; whether it says that both sides hold the same."""
        if self._manager is None:
            return True
        try:
            return (await self._manager.sync(timeout_s=timeout_s)).proven_equal
        except StoreError:
            return False  # late news of a disk that was full: the next round shows whether it goes on

    async def kill(self, *, told: bool, loss: int | None = None) -> int:
        """End the process at once.

        Args:
            told: whether its peers learn of it soon, as when a process ends, or not, as when a machine does.
            loss: as for `Disk.crash`.

        Returns:
            How many commits were lost.
        """
        self._network.drop(self.name, told=told)
        lost = self.disk.crash(loss)
        await self._end_tasks()
        self.replica = None
        self._struck = False
        return lost

    def now_ms(self) -> int:
        """This machine's clock."""
        return self._wall_ms() + self.skew_ms

    def forget_machine(self) -> None:
        """Lose what is kept beside the store: its key and its fence."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def break_after(self, writes: int) -> None:
        """Have the process die at one of its next writes."""
        self.disk.break_after(writes)

    # ── what its disk says, also while it is down ───────────────────────────────────────────────────────────────────

    def vector(self) -> dict[int, int]:
        """Author → last entry, of what is committed."""
        table = self.disk.tables[Table.CHAIN]
        ends: dict[int, int] = {}
        end: bytes | None = None
        while (at := table.span(b"", end)[1]) > 0:
            partition, author, sequence = split_chain_key(table.keys[at - 1])
            ends[int(author)] = sequence
            end = chain_prefix(partition, author)
        return ends

    def last_entry(self) -> int:
        """The number of its last entry under its present author; 0 where there is none."""
        prefix, table = chain_prefix("", Author(self.author())), self.disk.tables[Table.CHAIN]
        at = table.span(b"", after_prefix(prefix))[1]
        key = table.keys[at - 1] if at else b""
        return split_chain_key(key)[2] if key.startswith(prefix) else 0

    def author(self) -> int:
        """Under which it writes now; 0 where it never wrote."""
        return int.from_bytes(self.disk.tables[Table.META].rows.get(b"author", b""), "big")

    def authors(self) -> list[int]:
        """Under which it ever wrote."""
        data = self.disk.tables[Table.META].rows.get(b"authors")
        return [] if data is None else list(msgpack.unpackb(data))

    def claims(self) -> dict[str, dict[int, int]]:
        """What it was told that other devices hold of its own entries: device id → author → sequence."""
        table = self.disk.tables[Table.HOLDING]
        first, last = table.span(OTHERS, None)
        return {
            key.decode(): {int(author): end for author, end in unpack_vector(table.rows[key]).get("", {}).items()}
            for key in table.keys[first:last]
        }

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _dial(self, url: str, *, limits: ChannelLimits, tls: ssl.SSLContext | None) -> Channel:
        del tls
        return self._wrap(await self._network.dial(self.name, url, limits))

    async def _end_tasks(self) -> None:
        if self._manager is not None:
            await self._manager.__aexit__(None, None, None)
        if self._server is not None:
            await self._server.close()
        await self._network.silence(self.name)
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait((self._upkeep,))
        self._manager = self._server = self._upkeep = None

    def _die(self) -> None:
        """The store died under the process; nothing that it does from here on reaches anybody."""
        self._struck = True
        self._network.drop(self.name, told=True)
