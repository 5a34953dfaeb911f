"""One machine of a simulation: a replica on a simulated disk, and the production code that syncs it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import msgpack

from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.manager import SyncManager
from crdt_sync.aio.server import Server
from crdt_sync.aio.shell import Shell
from crdt_sync.aio.upkeep import keep_current
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, DeviceId, RecordId, document_key
from crdt_sync.errors import CRDTSyncError, PeerUnreachableError, StoreError
from crdt_sync.protocol.source import EntryStatus, SentRun, Vector
from crdt_sync.replica import Replica, RetryPolicy
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.opening import Opened, open_on
from crdt_sync.replica.rows import LogRow, after_prefix, chain_prefix, split_chain_key, unpack_chain_row, unpack_vector
from crdt_sync.storage.base import Store, Table
from crdt_sync.testing.drawn import Drawn
from crdt_sync.testing.simulation.disk import Disk, DiskReader
from crdt_sync.testing.simulation.network import LIMITS, Network
from crdt_sync.testing.simulation.story import MODELS, Holds, Note, Place
from crdt_sync.transport.base import Channel, ChannelLimits

POLICY = BackoffPolicy(floor_s=0.02, base_s=0.2, cap_s=2.0, stable_after_s=5.0, retry_after_s_max=5.0)
RETRIES = RetryPolicy(pause_s=5.0, pause_s_max=10.0)
"""Shorter than by default, so that a short history has many reconnects."""
PRIVATE = 0o600
"""Mode of files beside a store."""
Wrap = Callable[[Channel], Channel]


Moved = Callable[[Place, Place], None]


def _ignore(before: Place, after: Place) -> None:
    """Nobody wants to know."""


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
        moved: told of an entry of its own that is written again as another one, before that is committed.
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
        moved: Moved = _ignore,
    ) -> None:
        self.name = name
        self.peers = peers
        self.disk = disk
        self.skew_ms = 0
        self.keeping: KeepingPolicy | None = None
        """What its store keeps, from when it is opened the next time; None is as apps have it."""
        self.replica: Replica | None = None
        self.device = ""
        """Its device's id; of the last time that it was up."""
        self.words: dict[str, dict[int, int]] = {}
        """Device id → author → last entry: what devices said of themselves when sessions with them began."""
        self.handed: set[bytes] = set()
        """Hashes of its own authors' chains, up to what it sent to somebody; where a process had sent something and was
        killed, up to all that was there."""
        self._hands_out = False
        self.unreadable: dict[bytes, frozenset[Place]] = {}
        """Documents that a repair could not read → where they were written to: it has that once it has the document."""
        self._struck = False
        self.proven = False
        """Whether its last round said that all hold the same ..."""
        self.errors: tuple[str, ...] = ()
        """... and what it said otherwise."""
        self.rests = 0
        """Steps until it is started again."""
        self.folder = folder
        self._network = network
        self._wall_ms = wall_ms
        self._chance = Random(f"{seed}/{number}")
        self._drawn = Drawn(number, seed=f"{seed}/{number}")
        self._wrap = wrap
        self._moved = moved
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
    def excused(self) -> bool:
        """Whether its store may fail: it has no room, is damaged, or its process was to die."""
        return self.disk.full or self.died or bool(self.disk.rotten)

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self.replica is not None and not self.died

    async def start(self) -> bool:
        """Open the store and go on syncing; whether that was possible."""
        self.disk.break_after(None)
        self.replica, self._hands_out = None, False
        sources = self._drawn.sources(self.now_ms)
        sources = replace(sources, entropy=self._network.draws.noting(sources.entropy))
        try:
            self.store = self.disk.open()
            opened = open_on(self.store, MODELS, state_dir=self.folder, sources=sources)
            self.replica = Replica(opened, name=self.name, retry_policy=RETRIES, keeping=self.keeping)
        except CRDTSyncError:
            if not (self.disk.full or self.disk.noticed):
                raise
            self.replica = None
            return False
        self._follow(opened, self.replica)
        self.device = str(self.replica.device_id)
        self._listen_in(self.replica)
        shell = Shell(
            sleep=asyncio.sleep, chance=self._chance.random, monotonic=self._network.loop.time, dial=self._dial
        )
        self._server = Server(self.replica, open_space=True, shell=shell)
        self._network.listen(self.name, self._server.talk)
        if self.peers:
            urls = [f"ws://{peer}:1" for peer in self.peers]
            manager = SyncManager(self.replica, urls, policy=POLICY, limits=LIMITS, shell=shell)
            try:
                await manager.__aenter__()
            except StoreError:
                if not self.excused:
                    raise
                await self.kill(told=True)  # users mend what it noticed
                return False
            self._manager = manager
        else:
            self._upkeep = self._network.loop.create_task(keep_current(self.replica))
        return True

    @property
    def given_up(self) -> bool:
        """Whether it dials somebody no more, until its user starts it again."""
        return self._manager is not None and any(peer.failure is not None for peer in self._manager.peers)

    async def stop(self) -> None:
        """End the process in good order."""
        if self.replica is None:
            return
        await self._end_tasks()
        if self.excused:
            await self.kill(told=True)
            return
        replica, self.replica = self.replica, None
        if self._closes(replica):
            self._hands_out = False
        else:
            await self.kill(told=True)

    def _closes(self, replica: Replica) -> bool:
        """Close it; False where the process died of the last write of that."""
        try:
            replica.close()
        except StoreError:
            if not self.died:
                raise
            return False
        return True

    async def sync(self, *, timeout_s: float) -> bool:
        """One round with every peer; whether it says that both sides hold the same."""
        self.proven, self.errors = self._manager is None, ()
        if self._manager is None:
            return True
        try:
            report = await self._manager.sync(timeout_s=timeout_s)
            self.proven, self.errors = report.proven_equal, tuple(report.errors.values())
            return self.proven
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
        if self._hands_out:
            ledger, vector = Ledger(DiskReader(self.disk)), self.vector()
            held = (ledger.hash_at("", Author(author), vector.get(author, 0)) for author in self.authors())
            self.handed.update(chain for chain in held if chain)
        return lost

    def now_ms(self) -> int:
        """This machine's clock."""
        return self._wall_ms() + self.skew_ms

    def files(self) -> dict[Path, bytes]:
        """What is kept beside the store."""
        return {path.relative_to(self.folder): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def put_files(self, files: Mapping[Path, bytes]) -> None:
        """Have these kept beside the store, and nothing else."""
        self.forget_machine()
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(PRIVATE)

    def forget_machine(self) -> None:
        """Lose what is kept beside the store: its key and its fence."""
        shutil.rmtree(self.folder, ignore_errors=True)

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

    def last_entry(self) -> Place:
        """Its last entry under its present author; of number 0 where there is none."""
        author = Author(self.author())
        prefix, table = chain_prefix("", author), self.disk.tables[Table.CHAIN]
        at = table.span(b"", after_prefix(prefix))[1]
        key = table.keys[at - 1] if at else b""
        if not key.startswith(prefix):
            return Place(author=author, sequence=0)
        return Place(author=author, sequence=split_chain_key(key)[2], hash=unpack_chain_row(table.rows[key])[1])

    def holds(self, *, exact: bool) -> Holds:
        """What it has now.

        Args:
            exact: compare hashes, since there may be two branches of an author.
        """
        vector, ledger = self.vector(), Ledger(DiskReader(self.disk)) if exact else None
        there = self.disk.tables[Table.VERSION].rows if self.unreadable else {}
        gone = {place for key, places in self.unreadable.items() if key not in there for place in places}

        def has(place: Place) -> bool:
            if place in gone or vector.get(place.author, 0) < place.sequence:
                return False
            held = None if ledger is None else ledger.hash_at("", Author(place.author), place.sequence)
            return held is None or held == place.hash  # what is folded cannot be told apart

        return has

    def has_content(self, note: str) -> bool:
        """Whether it has something of a note that is in no entry."""
        store = DiskReader(self.disk)
        return holds_content(store, Ledger(store), document_key(DEFAULT_PARTITION, Note.__name__, RecordId(note)))

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

    def _listen_in(self, replica: Replica) -> None:
        """Note what devices say of themselves and are sent, beside the replica that acts on it."""
        acknowledged, handed_out = replica.port.acknowledged, replica.port.handed_out

        def noted(
            device: DeviceId,
            vector: Vector,
            statuses: Sequence[EntryStatus],
            *,
            but_for: frozenset[Author] | None = None,
        ) -> None:
            acknowledged(device, vector, statuses, but_for=but_for)  # a full disk ends the session: nothing is learned
            if but_for is not None:
                ends = (item for held in vector.values() for item in held.items())
                self.words[str(device)] = {int(author): position.sequence for author, position in ends}

        def handing(public_key: bytes, runs: Sequence[SentRun]) -> None:
            handed_out(public_key, runs)
            own = replica.port.own_authors()
            ends = [replica.port.hash_at("", author, last) for _, _, author, last in runs if author in own]
            self.handed.update(chain for chain in ends if chain)
            self._hands_out |= bool(ends)

        replica.port.acknowledged = noted  # type: ignore[method-assign]  # it does the same, and takes a note
        replica.port.handed_out = handing  # type: ignore[method-assign]  # so does this

    async def _dial(self, url: str, *, limits: ChannelLimits, tls: ssl.SSLContext | None) -> Channel:
        del tls
        channel = None if self.died else await self._network.dial(self.name, url, limits)
        if channel is None or self.died:
            self._network.drop(self.name, told=True)
            raise PeerUnreachableError("a process that died dials nobody")
        return self._wrap(channel)

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

    def _follow(self, opened: Opened, replica: Replica) -> None:
        """Have it told when entries are written again, with the hashes by which they are known."""
        journal, ledger = replica._journal, opened.state.ledger  # noqa: SLF001  whoever knows everything looks inside
        move, remove = journal.move, ledger.remove
        hashes: dict[tuple[int, int], bytes] = {}

        def removing(position: int, row: LogRow) -> None:
            hashes[row.author, row.last] = row.head
            remove(position, row)

        def moving(moved: Mapping[tuple[Author, int], tuple[Author, int]]) -> None:
            for place, (author, sequence) in moved.items():
                before = Place(author=place[0], sequence=place[1], hash=hashes.pop(place))
                after = ledger.hash_at("", author, sequence)
                self._moved(before, Place(author=author, sequence=sequence, hash=after or b""))
            move(moved)

        ledger.remove, journal.move = removing, moving  # type: ignore[method-assign]  # it is told nowhere else

    def _die(self) -> None:
        """The store died under the process; nothing that it does from here on reaches anybody."""
        self._struck = True
        self._network.drop(self.name, told=True)
