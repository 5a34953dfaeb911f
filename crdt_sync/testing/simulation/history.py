"""One simulated history: a schedule is run to its end, and all of it is looked at."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crdt_sync.security.identity import signatures_remembered
from crdt_sync.testing.simulation.invariant import BrokenInvariantError
from crdt_sync.testing.simulation.loop import VirtualLoop
from crdt_sync.testing.simulation.schedule import FAULT_STEPS, VERSION, Schedule, schedule_of
from crdt_sync.testing.simulation.truth import Truth
from crdt_sync.testing.simulation.world import World

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder is made there under a name that nobody can guess
"""Where the system keeps files in memory: keys and fences are synced at each opening, which costs time on a disk."""
RUNS_MAX = 400
"""Histories that are tried at most to make a schedule short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a simulated history went that broke no invariant.

    Args:
        schedule: what was done.
        digest: a hash over all that happened; the same in every run of one schedule.
        counts: what happened → how often; faults, frames and edits.
        virtual_s: time that passed on the hosts' clocks, in seconds, including nights.
        lost: edits that were lost with a store that the simulation destroyed.
    """

    schedule: Schedule
    digest: str
    counts: Mapping[str, int]
    virtual_s: float
    lost: int

    @property
    def faults(self) -> dict[str, int]:
        """Kind of fault → how often it was injected."""
        told: dict[str, int] = {}
        for step, fault in FAULT_STEPS.items():
            if count := self.counts.get(step, 0):
                told[fault.value] = told.get(fault.value, 0) + count
        return told


class SimulationFailedError(AssertionError):
    """A simulated history broke an invariant. The text has the schedule, which can be run again, and a diagram.

    Args:
        name: of the invariant, or of the exception that nobody expected.
        problem: what is wrong.
        schedule: that leads there.
        diagram: the end of the history, as mermaid text.
    """

    def __init__(self, name: str, problem: str, *, schedule: Schedule, diagram: str) -> None:
        super().__init__(
            f"{problem}\n\nseed {VERSION}:{schedule.seed}, {len(schedule.steps)} steps; "
            f"run it again with `replay` or `crdt-sync simulate --schedule FILE`:\n\n{schedule.as_text()}\n{diagram}"
        )
        self.name = name
        self.problem = problem
        self.schedule = schedule
        self.diagram = diagram


def replay(schedule: Schedule | str) -> History:
    """Run a schedule.

    Args:
        schedule: or its text, as a failure prints it.

    Raises:
        SimulationFailedError: it breaks an invariant.
        InputError: the text is of another version of the simulator, or is no schedule.
    """
    schedule = schedule if isinstance(schedule, Schedule) else schedule_of(schedule)
    loop = VirtualLoop()
    with tempfile.TemporaryDirectory(prefix="crdt-sync-simulation-", dir=_MEMORY if _MEMORY.is_dir() else None) as at:
        try:
            with quiet(), signatures_remembered():
                world = World(loop, schedule, folder=Path(at))
                return loop.run_until_complete(_run(world))
        finally:
            loop.close()


def shortest(failure: SimulationFailedError, *, runs_max: int = RUNS_MAX) -> SimulationFailedError:
    """Leave out steps of a failing schedule as long as it fails alike.

    Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.

    Args:
        failure: of the schedule.
        runs_max: histories that are tried at most.

    Returns:
        The failure of the shortest schedule found.
    """
    size, runs = max(1, len(failure.schedule.steps) // 2), 0
    while runs < runs_max:
        steps = failure.schedule.steps
        shorter: SimulationFailedError | None = None
        for at in range(0, len(steps), size):
            runs += 1
            shorter = _failure_of(failure.schedule.with_steps((*steps[:at], *steps[at + size :])), failure.name)
            if shorter is not None or runs >= runs_max:
                break
        if shorter is not None:
            failure = shorter
        elif size == 1:
            break
        else:
            size //= 2
    return failure


def _failure_of(schedule: Schedule, name: str) -> SimulationFailedError | None:
    try:
        replay(schedule)
    except SimulationFailedError as failure:
        return failure if failure.name == name else None
    return None


async def _run(world: World) -> History:
    truth = Truth(world)
    try:
        await world.begin()
        for step in world.schedule.steps:
            await world.take(step)
            truth.after_step()
        await world.calm()
        await truth.at_rest()
        _raise_failures(world)
    except BrokenInvariantError as error:
        raise _failed(world, error.name, str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:  # the engine's panics are no Exceptions
        raise _failed(world, type(error).__name__, f"{type(error).__name__}: {error}") from error
    finally:
        await world.end()
    return History(
        schedule=world.schedule,
        digest=world.trace.digest,
        counts=dict(world.trace.counts),
        virtual_s=world.loop.time() + world.slept_ms / 1000,
        lost=world.story.lost,
    )


def _raise_failures(world: World) -> None:
    for error in world.network.failures:
        raise error


def _failed(world: World, name: str, problem: str) -> SimulationFailedError:
    return SimulationFailedError(name, problem, schedule=world.schedule, diagram=world.trace.diagram())


@contextmanager
def quiet() -> Iterator[None]:
    """What the package logs about the faults of a simulation is no news to anybody."""
    log = logging.getLogger("crdt_sync")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
