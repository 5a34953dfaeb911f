"""Many simulated histories, and the sum of what was tried in them."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count

from crdt_sync.errors import InputError
from crdt_sync.testing.arguments import measure, whole
from crdt_sync.testing.simulation.history import History, SimulationFailedError
from crdt_sync.testing.simulation.schedule import STEPS, VERSION, Fault
from crdt_sync.testing.simulation.simulation import Simulation

BATCH = 10
"""Histories that a worker is given at a time."""
FAILURES_MAX = 5
"""After so many failures a campaign ends: there is enough to look at."""
DAY_S = 86_400


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign tried.

    Args:
        histories: how many were run; those that broke an invariant count here alone.
        steps: that they had.
        edits: that users made.
        frames: that went over the network.
        virtual_s: time that passed on the simulated clocks.
        cpu_s: time that they cost, over all processes.
        lost: edits that were lost with stores that the simulation destroyed.
        faults: kind → how often it was injected.
        failures: of each history that broke an invariant, the text that reproduces it.
    """

    histories: int = 0
    steps: int = 0
    edits: int = 0
    frames: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    lost: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def virtual_days(self) -> float:
        """Simulated days."""
        return self.virtual_s / DAY_S

    def add_history(self, history: History) -> None:
        """Take in what was tried in one history; `histories` counts it already."""
        self.steps += len(history.schedule.steps)
        self.edits += history.counts.get("edit", 0)
        self.frames += history.counts.get("sent", 0)
        self.virtual_s += history.virtual_s
        self.lost += history.lost
        self.faults.update(history.faults)

    def add(self, other: Report) -> None:
        """Take another report's numbers in."""
        self.histories += other.histories
        self.steps += other.steps
        self.edits += other.edits
        self.frames += other.frames
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.lost += other.lost
        self.faults += other.faults
        self.failures += other.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Histories of one seed after the other.

    Args:
        seed: of the first history; the next one has the next number.
        histories: how many; None goes on until the time is over.
        seconds: how long at most; None for as long as it takes.
        faults: the kinds that may happen.
        replicas: devices that dial; None leaves it to each seed.
        hubs: replicas that only listen; None leaves it to each seed.
        steps: of each history.
        jobs: processes that share the work.

    Raises:
        InputError: neither a number nor a time, or one in which nothing is tried.
    """

    seed: int = 0
    histories: int | None = None
    seconds: float | None = None
    faults: frozenset[Fault]
    replicas: int | None = None
    hubs: int | None = None
    steps: int = STEPS
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.histories is None and self.seconds is None:
            raise InputError("a campaign needs an end", hint="Say how many histories, or for how long.")
        whole(self.jobs, what="jobs", least=1)
        whole(self.seed, what="a seed")
        if self.histories is not None:
            whole(self.histories, what="histories", least=1)
        if self.seconds is not None:
            measure(self.seconds, what="seconds", above_zero=True)
        Simulation(self.seed, faults=self.faults, replicas=self.replicas, hubs=self.hubs, steps=self.steps)

    def run(self, *, progress: Callable[[Report], None] | None = None) -> Report:
        """Run them; what fails is in the report, and after some failures it ends.

        Args:
            progress: called with the sum so far, after each batch.
        """
        total = Report()
        for part in self._parts():
            total.add(part)
            if progress is not None:
                progress(total)
            if len(total.failures) >= FAILURES_MAX:
                break
        return total

    def _parts(self) -> Iterator[Report]:
        """The batches' reports. What is under way is bounded, and so is memory."""
        until = None if self.seconds is None else time.monotonic() + self.seconds
        batches = self._batches(until)
        if self.jobs == 1:
            for seeds in batches:
                yield self.batch(seeds)
            return
        with ProcessPoolExecutor(self.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            running: set[Future[Report]] = set()
            try:
                for seeds in batches:
                    running.add(pool.submit(self.batch, seeds))
                    while len(running) > self.jobs:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            yield future.result()
                for future in running:
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches(self, until: float | None) -> Iterator[range]:
        for number in count():
            first = number * BATCH
            last = first + BATCH if self.histories is None else min(first + BATCH, self.histories)
            if first >= last or (until is not None and time.monotonic() >= until):
                return
            yield range(self.seed + first, self.seed + last)

    def batch(self, seeds: range) -> Report:
        """The histories of some seeds."""
        report = Report()
        began_s = time.process_time()
        for seed in seeds:
            simulation = Simulation(seed, faults=self.faults, replicas=self.replicas, hubs=self.hubs, steps=self.steps)
            report.histories += 1
            try:
                report.add_history(simulation.run())
            except SimulationFailedError as failure:
                report.failures.append(f"seed {VERSION}:{seed}: {failure}")
        report.cpu_s = time.process_time() - began_s
        return report
