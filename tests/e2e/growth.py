"""What processes and files take over time, whether that grows, and how it looks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, mean

GROWTH_MAX = 0.05
"""Flat: the straight line through the second half of the samples rises by no more than this part of their mean."""
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 60


@dataclass(slots=True, kw_only=True)
class Series:
    """One figure over time.

    Args:
        name: what it is.
        unit: of its values.
    """

    name: str
    unit: str
    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, value: float, *, at_s: float) -> None:
        self.times_s.append(at_s)
        self.values.append(value)

    @property
    def judged_from(self) -> int:
        """The sample that its second half begins with."""
        return len(self.values) // 2

    @property
    def growth(self) -> float:
        """How much it rises over its second half, as a part of the mean there."""
        times, values = self.times_s[self.judged_from :], self.values[self.judged_from :]
        if len(values) < 2 or not mean(values):
            return 0.0
        return linear_regression(times, values).slope * (times[-1] - times[0]) / mean(values)

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow; connections come and go with the network, so how many there are is not judged."""
        return self.unit != "MB" or self.growth <= GROWTH_MAX

    def line(self) -> str:
        """The figure as a row of bars from 0 to its greatest value."""
        count = min(COLUMNS, len(self.values))
        edges = [len(self.values) * at // count for at in range(count + 1)] if count else []
        means = [mean(self.values[start:end]) for start, end in pairwise(edges)]
        top = max(means, default=0.0) or 1.0
        return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in means)


def table(series: Sequence[Series]) -> str:
    """All series: at the start, the middle and the end, how they grew, and their picture."""
    lines = [f"{'':24} {'first':>9} {'middle':>9} {'last':>9} {'most':>9}  growth of the second half"]
    for each in series:
        shown = (each.values[0], each.values[each.judged_from], each.values[-1], max(each.values))
        numbers = " ".join(f"{value:9,.1f}" for value in shown)
        verdict = "flat" if each.is_flat else "GROWS"
        lines += [f"{f'{each.name}, {each.unit}':24} {numbers}  {each.growth:+.1%} {verdict}", f"  {each.line()}"]
    return "\n".join(lines)


def read_samples(path: Path) -> list[Series]:
    """The series of a file of samples, also of one whose last line was cut off.

    Args:
        path: its first line has names and units, and each further one a time and the values, as JSON.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head, *samples = [json.loads(line) for line in lines if line.endswith("\n")]
    series = [Series(name=name, unit=unit) for name, unit in head]
    for at_s, *values in samples:
        for each, value in zip(series, values, strict=True):
            each.add(value, at_s=at_s)
    return series


def rss_mb(pid: int) -> float:
    """What a process holds in memory."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no memory is told of process {pid}")


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def files_mb(folder: Path, pattern: str) -> float:
    """What files take together; one may vanish meanwhile."""
    total = 0
    for path in folder.glob(pattern):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # a log that was brought into its file just now
    return total / 1024**2
