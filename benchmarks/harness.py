"""Runs the contestants of a workload in turns and sums up what they measured.

Two shared cores make wall time alone worthless, so every measurement has CPU seconds beside it, contestants take turns
within a round, and what counts is the ratio to the floor that ran in the same rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from types import TracebackType
from typing import Self

FLOOR = "floor"
WARM_UP = 0
"""The number of the round that is run and not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one run of the benchmarks was asked for.

    Args:
        records: how many records the workloads handle.
        rounds: how many rounds count, after a warm-up.
        seed: of the generator.
    """

    records: int = 10_000
    rounds: int = 5
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of one contestant in one round: name of a figure → its value."""

    row: str
    figures: Mapping[str, float]


Contestant = Callable[[Settings, int], Sequence[Measurement]]
"""Does the work once, for the settings and the number of the round; stops where its result is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The spread of one figure over all rounds that count."""

    least: float
    middle: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of one contestant over all rounds."""

    name: str
    contestant: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a figure is shown.

    Args:
        figure: its name.
        title: head of the column.
        digits: behind the point.
        has_ratio: whether its ratio to the floor's gets a column too.
    """

    figure: str
    title: str
    digits: int = 1
    has_ratio: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A piece of work that all contestants do alike.

    Args:
        name: as on the command line.
        title: what is done.
        contestants: name → contestant.
        columns: the figures to show.
        notes: what is not equal work, and what the figures mean.
        floors: the contestants that the others are compared with.
    """

    name: str
    title: str
    contestants: Mapping[str, Contestant]
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    floors: tuple[str, ...] = (FLOOR,)


class Stopwatch:
    """Wall and CPU seconds of this process within the block."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self._stopped = False

    def __enter__(self) -> Self:
        self._wall, self._cpu = perf_counter(), process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped:
            self.stop()

    def stop(self) -> None:
        """Stop before the end of the block."""
        self.cpu_s, self.wall_s = process_time() - self._cpu, perf_counter() - self._wall
        self._stopped = True


def run(workload: Workload, settings: Settings, *, tell: Callable[[str], None]) -> list[Row]:
    """Run a workload: a warm-up, then the rounds, all contestants in turns.

    Args:
        workload: what to run.
        settings: how much of it.
        tell: called with a line on what goes on.
    """
    measured: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for number in range(WARM_UP, settings.rounds + 1):
        for name, contestant in workload.contestants.items():
            tell(f"{workload.name}: round {number} of {settings.rounds}, {name}")
            for measurement in contestant(settings, number):
                if number != WARM_UP:
                    measured.setdefault((measurement.row, name), []).append(measurement.figures)
    return [
        Row(name=row, contestant=contestant, figures=dict(_spread(rounds)))
        for (row, contestant), rounds in measured.items()
    ]


def ratio(rows: Sequence[Row], row: Row, figure: str, *, floor: str = FLOOR) -> float | None:
    """The least of a figure in terms of a floor's of the same row; None where there is none.

    The least, because noise on a shared machine only adds.
    """
    for other in rows:
        if other.name == row.name and other.contestant == floor and other is not row:
            held, own = other.figures.get(figure), row.figures.get(figure)
            return own.least / held.least if held is not None and own is not None and held.least else None
    return None


def _spread(rounds: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, Figure]]:
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        yield name, Figure(least=min(values), middle=median(values), most=max(values))
