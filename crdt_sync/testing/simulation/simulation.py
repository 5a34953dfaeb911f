"""`Simulation`: one seed, one history."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from crdt_sync.errors import InputError
from crdt_sync.testing.arguments import whole
from crdt_sync.testing.simulation.history import History, SimulationFailedError, replay, shortest
from crdt_sync.testing.simulation.schedule import ALL_FAULTS, STEPS, VERSION, Fault, draw, seed_of

HUBS = (0, 0, 1, 1, 1, 1, 1, 1, 2)
REPLICAS = (2, 2, 2, 3)
"""What is drawn where a simulation is not told how many there are."""


class Simulation:
    """A history of replicas that sync while everything fails that may fail.

    Args:
        seed: draws the history: a number, or as a failure prints it (``1:815``).
        faults: the kinds that may happen, by name or as `Fault`; None for all of them.
        replicas: devices that dial; None leaves it to the seed.
        hubs: replicas that only listen; None leaves it to the seed. Without any, devices dial each other.
        steps: how many things are done.

    Raises:
        InputError: a seed of another version of the simulator, an unknown fault, or numbers that cannot be.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        faults: Iterable[Fault | str] | None = None,
        replicas: int | None = None,
        hubs: int | None = None,
        steps: int = STEPS,
    ) -> None:
        number = seed_of(seed)
        shape = Random(f"{VERSION}/shape/{number}")
        drawn_hubs, drawn_replicas = shape.choice(HUBS), shape.choice(REPLICAS)
        hubs = drawn_hubs if hubs is None else whole(hubs, what="hubs")
        replicas = max(drawn_replicas, 2 - hubs) if replicas is None else replicas
        self.schedule = draw(number, faults=faults_of(faults), replicas=replicas, hubs=hubs, steps=steps)

    def __repr__(self) -> str:
        schedule = self.schedule
        return (
            f"<Simulation {VERSION}:{schedule.seed} {schedule.replicas} replicas, {schedule.hubs} hubs, "
            f"{len(schedule.steps)} steps>"
        )

    def run(self, *, shorten: bool = True) -> History:
        """Run the history to its end.

        Args:
            shorten: where it fails, look for fewer steps that fail alike.

        Raises:
            SimulationFailedError: an invariant was broken; it prints the schedule and a diagram.
        """
        try:
            return replay(self.schedule)
        except SimulationFailedError as failure:
            if not shorten:
                raise
            found = failure
        raise shortest(found)


def faults_of(names: Iterable[Fault | str] | None) -> frozenset[Fault]:
    """Kinds of faults by name; None for all of them.

    Raises:
        InputError: there is none of a name.
    """
    if names is None:
        return ALL_FAULTS
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError("faults are a list of names", hint='Write faults=["cut"], also for one kind.')
    try:
        return frozenset(Fault(name) for name in names)
    except ValueError as error:
        raise InputError(f"unknown fault: {error}", hint=f"There are: {', '.join(Fault)}.") from None
