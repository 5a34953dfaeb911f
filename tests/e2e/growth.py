"""What processes and files take over time, whether that grows, and how it looks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from crdt_sync.testing.growth import Series


def named(name: str, unit: str) -> Series:
    """A figure that is to be sampled; connections come and go with the network, so how many there are is not judged."""
    return Series(name=name, unit=unit, is_judged=unit == "MB")


def table(series: Sequence[Series]) -> str:
    """All series: at the start, the middle and the end, how they grew, and their picture."""
    lines = [f"{'':24} {'first':>9} {'middle':>9} {'last':>9} {'most':>9}  growth of the second half"]
    for each in series:
        shown = (each.values[0], each.values[each.judged_from], each.values[-1], max(each.values))
        numbers = " ".join(f"{value:9,.1f}" for value in shown)
        verdict = "flat" if each.is_flat else "GROWS"
        lines += [f"{f'{each.name}, {each.unit}':24} {numbers}  {each.growth:+.1%} {verdict}", f"  {each.bars()}"]
    return "\n".join(lines)


def read_samples(path: Path) -> list[Series]:
    """The series of a file of samples, also of one whose last line was cut off.

    Args:
        path: its first line has names and units, and each further one a time and the values, as JSON.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head, *samples = [json.loads(line) for line in lines if line.endswith("\n")]
    series = [named(name, unit) for name, unit in head]
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
