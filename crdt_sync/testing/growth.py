"""Figures over time, and whether they grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
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
        is_judged: whether it must be flat.
        times_s: when it was sampled, in seconds.
        values: what it was then.
    """

    name: str
    unit: str
    is_judged: bool = True
    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, value: float, *, at_s: float) -> None:
        """Take a sample, taken at a time in seconds."""
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
        if len(values) < 2 or times[0] == times[-1] or not mean(values):
            return 0.0
        return linear_regression(times, values).slope * (times[-1] - times[0]) / mean(values)

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow, or need not be flat."""
        return not self.is_judged or self.growth <= GROWTH_MAX

    def bars(self) -> str:
        """The figure as a row of bars from 0 to its greatest value."""
        count = min(COLUMNS, len(self.values))
        edges = [len(self.values) * at // count for at in range(count + 1)] if count else []
        means = [mean(self.values[start:end]) for start, end in pairwise(edges)]
        top = max(means, default=0.0) or 1.0
        return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in means)
