"""What befalls a machine as a whole, or what it keeps: it is rewound, its store rots, an entry kills it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, RecordId, document_key
from crdt_sync.errors import StoreError
from crdt_sync.replica.repairing import RepairReport
from crdt_sync.testing.simulation.disk import Image
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must
from crdt_sync.testing.simulation.mending import DERIVED, is_sound, repair_in_memory, repaired
from crdt_sync.testing.simulation.poison import Poison
from crdt_sync.testing.simulation.schedule import Step
from crdt_sync.testing.simulation.sqlite_disk import SqliteDisk
from crdt_sync.testing.simulation.story import Story

POISONED_STEPS = 6
"""How long a device cannot take an entry in, unless it is until the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine at one moment.

    Args:
        store: what its store holds.
        files: what is kept beside it: path → content.
    """

    store: Image
    files: dict[Path, bytes]


class Mishaps:
    """Does it, and what the user does about it.

    Args:
        hosts: all that there are.
        story: of the history.
        note: told of what happened, and to whom.
        gone: told of a store that lost something.
        folder: for stores that are repaired.
    """

    def __init__(
        self,
        hosts: list[Host],
        story: Story,
        *,
        note: Callable[[str, str, str], None],
        gone: Callable[[Host], None],
        folder: Path,
    ) -> None:
        self._hosts = hosts
        self._story = story
        self._note = note
        self._gone = gone
        self._folder = folder
        self._machines: dict[str, Machine] = {}
        self._repairs = 0
        self.cured: list[Poison] = []
        """What somebody met and can take in by now; it may be set aside until users retry."""

    @property
    def may_fork(self) -> bool:
        """Whether a machine was rewound, or may be."""
        return bool(self._machines) or self._story.forked

    async def befall(self, host: Host, step: Step) -> None:
        """Have something happen to a host."""
        first, second = step.args
        match step.action:
            case "snapshot":
                await self._snapshot(host, clean=first % 4 > 0)
            case "rewind":
                await self._rewind(step.host)
            case "bits":
                await self._rot(host, first, second)
            case "poison":
                self._poison(host, first, second)
            case unknown:
                raise ValueError(unknown)

    async def attend(self) -> None:
        """What users do about it as time goes on."""
        for host in self._hosts:
            if host.disk.noticed:
                await self._mend(host)
            poison = host.disk.poison
            if poison is not None and host.up and host.given_up:
                await host.stop()  # its user starts it again
            if poison is not None and poison.steps is not None:
                poison.steps -= 1
                if poison.steps <= 0:
                    self.cure(host)

    async def find_rot(self) -> None:
        """Users check all stores, and mend what is damaged.

        Raises:
            BrokenInvariantError: a check passes over damage.
        """
        for host in self._hosts:
            rows = host.disk.damaged()
            if rows and host.replica is not None and host.up:
                must(
                    "damage is found", f"{host.name} finds nothing wrong with {rows}", holds=not host.replica.check().ok
                )
            if rows:
                await self._mend(host)

    def cure(self, host: Host) -> None:
        """A host can take everything in again."""
        poison, host.disk.poison = host.disk.poison, None
        if poison is not None and poison.met:
            self.cured.append(poison)
            self._note("poison met", host.name, str(poison.met))

    def forget(self, host: Host) -> None:
        """A machine is gone for good."""
        self._machines.pop(host.name, None)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _snapshot(self, host: Host, *, clean: bool) -> None:
        """Remember a machine: switched off, or as it runs."""
        if not host.up or host.disk.full or host.disk.damaged():
            return
        if clean:
            await host.stop()
        self._machines[host.name] = Machine(store=host.disk.image(), files=host.files())
        if host.replica is None:
            await host.start()

    async def _rewind(self, number: int) -> None:
        """Take a machine back to what was remembered of it, its fence with its store."""
        there = [host for host in self._hosts if host.name in self._machines]
        if not there:
            return
        host = there[number % len(there)]
        machine = self._machines[host.name]
        await host.kill(told=True)
        host.disk.restore(machine.store)
        host.put_files(machine.files)
        self._note("rewind", host.name, "")
        self._story.forked = True
        self._gone(host)

    async def _rot(self, host: Host, first: int, second: int) -> None:
        """Damage what is at rest; a file while it is closed, so that its user finds it at the next start."""
        disk = host.disk
        if isinstance(disk, SqliteDisk):
            await host.kill(told=True)
            if disk.full or not disk.rot(first, second):
                return
            self._note("bits", host.name, "")
            if not is_sound(disk.path):
                await self._mend(host)
        elif disk.rot(first, second):
            table, key = disk.damaged()[-1]
            self._note("bits", host.name, f"{table} {key.hex()}")

    async def _mend(self, host: Host) -> None:
        """Repair a store, or put it away and begin anew from the others."""
        disk, before = host.disk, self._story.lost
        tables = {table for table, _ in disk.damaged()}
        await host.kill(told=True)
        self._repairs += 1
        place = self._folder / f"repair{self._repairs}"
        full = disk.full
        disk.fill(full=False)
        if isinstance(disk, SqliteDisk):
            report = repaired(disk.path, state_dir=host.folder)
            disk.mended()
        else:
            is_tried = self._repairs % 2 == 1
            report = repair_in_memory(disk, state_dir=host.folder, folder=place) if is_tried else None
        disk.fill(full=full)
        if report is not None:
            host.unreadable.update({name: self._story.places_of(record) for record, name in _addresses(report)})
            self._note("repaired", host.name, "")
        else:
            with suppress(StoreError):  # it may be beyond reading
                if not disk.at_risk:
                    disk.on_sync()  # what it had may just have been acknowledged
            disk.clear()
            host.forget_machine()
            self.forget(host)
            self._note("put away", host.name, "")
        self._gone(host)
        must(
            "damage destroys only what it hits",
            f"{self._story.lost - before} edits went with {sorted(tables)} of {host.name}",
            holds=report is None or not tables or not tables <= DERIVED or self._story.lost == before,
        )

    def _poison(self, host: Host, first: int, second: int) -> None:
        """Choose an entry that a host lacks, or the next one of somebody else."""
        others = [other for other in self._hosts if other is not host]
        end = others[first % len(others)].last_entry()
        if not end.author or host.disk.poison is not None:
            return
        host.disk.poison = Poison(
            author=end.author,
            sequence=host.vector().get(end.author, 0) + 1,
            kills=bool(second % 2),
            steps=POISONED_STEPS if second // 2 % 2 else None,
        )
        self._note("poison", host.name, f"{end.author} {host.disk.poison.sequence}")


def _addresses(report: RepairReport) -> Iterator[tuple[str, DocumentKey]]:
    """The records of which a repair could read nothing, with their addresses."""
    for model, record in report.lost:
        yield record, document_key(DEFAULT_PARTITION, model, RecordId(record))
