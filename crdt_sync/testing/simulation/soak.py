"""One long simulated history over data of one size: memory and stores must stop growing.

Its users write a few records over and over. Faults are those after which a device goes on under its author: one that
begins under another makes every vector longer for good, by design.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from crdt_sync.errors import InputError, RecordError
from crdt_sync.replica import Replica
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.testing.growth import Series
from crdt_sync.testing.simulation.history import quiet
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import BrokenInvariantError
from crdt_sync.testing.simulation.loop import VirtualLoop
from crdt_sync.testing.simulation.sampling import Sampler
from crdt_sync.testing.simulation.schedule import CHOICES, PAUSE_MS, VERSION, Fault, Schedule, Step
from crdt_sync.testing.simulation.story import Note
from crdt_sync.testing.simulation.trace import DRAWN_MAX
from crdt_sync.testing.simulation.truth import Truth
from crdt_sync.testing.simulation.world import World

SOAK_FAULTS = frozenset((Fault.CUT, Fault.PARTITION, Fault.SLOW))
"""Faults that leave every author as it is."""
SOAK_STEPS = 10_000
SOAK_S = 900.0
"""Real time after which a soak ends that was given neither steps nor time, however far it is."""
WARM_STEPS = 4_000
"""By then each bound was reached several times over."""
SMALL = KeepingPolicy(interval_ms=10_000, rows_min=10, removals_min=20, operations_kept=100, results_kept=100)
"""Bounds of the stores, so that few steps are a long life: a hundredth to a tenth of what apps get."""
NOTES = 4
TAGS_MAX = 6
CHARACTERS_MAX = 60
ROUND_STEPS = 50
"""Between two rests, at which everything is checked and sampled."""
REST_S = 70.0
"""Simulated time in which everybody hears what everybody holds, and lets go of what that makes needless."""
EDITS_SHARE = 0.7
_EDITS = ("title", "due", "votes", "tag", "text", "resolve")
_STEPS = {
    Fault.CUT: ("cut", "cut", "storm"),
    Fault.PARTITION: ("block", "isolate", "heal", "heal"),
    Fault.SLOW: ("slow",),
}
_ALWAYS = ("wait", "wait", "reopen")


@dataclass(slots=True, kw_only=True)
class SoakReport:
    """How a soak went.

    Args:
        seed: it was drawn from.
        steps: that it had.
        edits: that users made.
        frames: that went over the network.
        virtual_s: time that passed on the simulated clocks, in seconds.
        done: which part of its steps, or of its time, is over, from 0 to 1.
        series: what was sampled, over virtual time.
        failure: the invariant that broke, or empty.
        warm_steps: so many have to lie ahead of the second half, which is judged.
    """

    seed: int
    warm_steps: int = WARM_STEPS
    steps: int = 0
    edits: int = 0
    frames: int = 0
    virtual_s: float = 0.0
    done: float = 0.0
    series: list[Series] = field(default_factory=list)
    failure: str = ""

    @property
    def problems(self) -> list[str]:
        """What broke or grows, or that it is not known whether anything does."""
        if self.failure:
            return [self.failure]
        if self.steps < 2 * self.warm_steps:
            needed = f"{self.steps:,} steps, and it takes {2 * self.warm_steps:,}"
            return [f"too short to tell whether anything grows: {needed}"]
        return [f"{each.name} grows by {each.growth:.1%}" for each in self.series if not each.is_flat]


class Soak:
    """A long history of a few records that are written over and over.

    Args:
        seed: draws it.
        steps: how many things are done at most.
        seconds: real time after which it ends, too; None for as long as it takes.
        faults: some of `SOAK_FAULTS`.
        replicas: devices that dial.
        hubs: replicas that only listen.

    Raises:
        InputError: a fault after which something has to grow, or numbers that cannot be.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        steps: int = SOAK_STEPS,
        seconds: float | None = None,
        faults: frozenset[Fault] = SOAK_FAULTS,
        replicas: int = 3,
        hubs: int = 1,
    ) -> None:
        if refused := faults - SOAK_FAULTS:
            raise InputError(
                f"a soak has no faults of kind {', '.join(sorted(refused))}",
                hint=f"There are: {', '.join(sorted(SOAK_FAULTS))}.",
            )
        if steps < 1 or replicas < 1 or replicas + hubs < 2:
            raise InputError("a soak has at least one step and two hosts, one of them a replica that is no hub")
        self._seed, self._steps, self._seconds = seed, steps, seconds
        self._hosts = (replicas, hubs)
        self._faults = faults
        self._struck = tuple(step for fault in Fault if fault in faults for step in _STEPS[fault])
        self._random = Random(f"{VERSION}/soak/{seed}")

    def run(self, *, progress: Callable[[SoakReport], None] | None = None) -> SoakReport:
        """Run it to its end.

        Args:
            progress: called with what was sampled so far, after each rest.
        """
        report = SoakReport(seed=self._seed, warm_steps=WARM_STEPS)
        loop = VirtualLoop()
        replicas, hubs = self._hosts
        schedule = Schedule(seed=self._seed, replicas=replicas, hubs=hubs, steps=())
        with tempfile.TemporaryDirectory(prefix="crdt-sync-soak-") as folder, quiet():
            try:
                world = World(loop, schedule, folder=Path(folder))
                for host in world.hosts:
                    host.keeping = SMALL
                world.trace.keep(DRAWN_MAX)
                loop.run_until_complete(self._run(world, report, progress))
            finally:
                loop.close()
        return report

    async def _run(self, world: World, report: SoakReport, progress: Callable[[SoakReport], None] | None) -> None:
        began_s = time.monotonic()
        truth, writers, sampler = Truth(world), Writers(self._random), Sampler(report.series)
        try:
            await world.begin()
            writers.begin(world.hosts[0])
            while report.done < 1:
                for _ in range(min(ROUND_STEPS, self._steps - report.steps)):
                    await self._step(world, writers)
                    truth.after_step()
                    sampler.note(world)
                    report.steps += 1
                await world.calm()
                await truth.at_rest()
                writers.check(world.hosts)
                writers.replace(world.hosts)
                await asyncio.sleep(REST_S)
                report.edits, report.virtual_s = writers.edits, world.loop.time()
                report.frames = world.trace.counts["sent"]
                sampler.sample(world)
                passed_s = time.monotonic() - began_s
                late = self._seconds is not None and passed_s >= self._seconds
                report.done = max(report.steps / self._steps, 1.0 if late else passed_s / (self._seconds or math.inf))
                if progress is not None:
                    progress(report)
            for error in world.network.failures:
                raise error
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  it is told in the report
            told = str(error) if isinstance(error, BrokenInvariantError) else f"{type(error).__name__}: {error}"
            report.failure = f"{told}\n\n{self._again(report.steps + 1)}\n\n{world.trace.diagram()}"
        finally:
            await world.end()

    def _again(self, steps: int) -> str:
        """What runs it again as far as that: its users are no steps of a schedule, so its seed stands for them."""
        replicas, hubs = self._hosts
        faults = ",".join(sorted(self._faults)) or "none"
        return (
            f"run it again with: crdt-sync simulate --soak --seed {VERSION}:{self._seed} --steps {steps} "
            f"--faults {faults} --replicas {replicas} --hubs {hubs}"
        )

    async def _step(self, world: World, writers: Writers) -> None:
        random = self._random
        host, action = random.randrange(CHOICES), "wait"
        if random.random() < EDITS_SHARE:
            writers.write(world.hosts[host % len(world.hosts)])
        else:
            action = random.choice((*_ALWAYS, *self._struck))
        if action == "reopen":
            host = -1  # what only processes that run on keep would never be seen to grow
        args = (random.randrange(CHOICES), random.randrange(CHOICES))
        pause_ms = random.choice(PAUSE_MS) + random.randrange(10)
        await world.take(Step(action=action, host=host, args=args, pause_ms=pause_ms))


class Writers:
    """Users who keep a few notes at one size; as no store is ever lost, every note must show just what they left.

    Args:
        random: draws what they do.
    """

    def __init__(self, random: Random) -> None:
        self.edits = 0
        self._random = random
        self._drawn = 0
        self._votes: dict[str, int] = {}
        self._tags: dict[str, dict[str, None]] = {}
        self._text: dict[str, dict[str, None]] = {}

    def begin(self, host: Host) -> None:
        """Make the notes."""
        if host.replica is not None:
            for _ in range(NOTES):
                self._create(host.replica)

    def write(self, host: Host) -> None:
        """Do one edit, where the host is up and shows the note."""
        replica = host.replica
        if replica is None or not host.up:
            return
        name = list(self._votes)[self._drawn % len(self._votes)]  # in turn, so that they are of one size
        action = self._random.choice(_EDITS)
        self._drawn += 1
        with suppress(RecordError):  # the note is not here yet
            self._write(replica, replica.get(Note, name), name, action)
            self.edits += 1

    def replace(self, hosts: Iterable[Host]) -> None:
        """When all is at rest, delete the oldest note, to which nobody writes again, and make another one.

        Some bytes of each edit stay for as long as its record lives: that grows by design.
        """
        replica = self._random.choice([host.replica for host in hosts])
        if replica is not None:
            self._create(replica)
            name = next(iter(self._votes))
            replica.delete(replica.get(Note, name))
            for held in (self._votes, self._tags, self._text):
                del held[name]

    def check(self, hosts: Iterable[Host]) -> None:
        """Every host shows what was written.

        Raises:
            BrokenInvariantError: one does not.
        """
        for host in hosts:
            replica = host.replica
            if replica is None:
                continue
            live = {str(note.id) for note in replica.find(Note)}
            if live != set(self._votes):
                raise BrokenInvariantError("nothing lost", f"{host.name}: notes {live} instead of {set(self._votes)}")
            for name in self._votes:
                note = replica.get(Note, name)
                shown = (int(note.votes), set(note.tags), set(str(note.body)))
                left = (self._votes[name], set(self._tags[name]), set(self._text[name]))
                if shown != left:
                    raise BrokenInvariantError("nothing lost", f"{host.name}, note {name}: {shown} instead of {left}")

    def _create(self, replica: Replica) -> None:
        name = str(replica.create(Note, title="").id)
        self._votes[name], self._tags[name], self._text[name] = 0, {}, {}

    def _write(self, replica: Replica, note: Note, name: str, action: str) -> None:
        match action:
            case "title":
                note.title = f"t{self._drawn % 1000}"
            case "due":
                note.due = self._drawn % 1000
            case "votes":
                step = 1 if self._votes[name] < 0 else -1
                note.votes.increment(step)
                self._votes[name] += step
            case "tag":
                self._tag(note, self._tags[name])
            case "text":
                self._type(note, self._text[name])
            case _:
                conflict = next(iter(replica.conflicts()), None)
                if conflict is not None:
                    replica.resolve(conflict, take=conflict.candidates[0])

    def _tag(self, note: Note, tags: dict[str, None]) -> None:
        """Add a tag, or take away one of those that are shown here."""
        shown = sorted(note.tags)
        if len(tags) < TAGS_MAX or not shown:
            tag = f"t{self._drawn}"
            note.tags.add(tag)
            tags[tag] = None
        else:
            note.tags.discard(shown[0])
            tags.pop(shown[0], None)  # somebody who had it too may have taken it away

    def _type(self, note: Note, characters: dict[str, None]) -> None:
        """Write a character, or erase one of those that are shown here."""
        text = str(note.body)
        if len(characters) < CHARACTERS_MAX or not text:
            character = chr(0x4E00 + self._drawn % 0x5000)
            note.body.insert(self._random.randrange(len(text) + 1), character)
            characters[character] = None
        else:
            at = self._random.randrange(len(text))
            note.body.delete(at, 1)
            characters.pop(text[at], None)
