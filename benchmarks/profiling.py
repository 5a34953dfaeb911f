"""Tables of where the time of a workload goes, by module."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.first_sync import BATCHES, PARTS, sync_once
from benchmarks.harness import Settings
from benchmarks.records import Generator
from benchmarks.report import grid
from benchmarks.sampling import WAITING, Sampler
from benchmarks.write import BATCH, ReplicaWriter

LEAST_SHARE = 0.01
"""Modules with less are summed up."""


def profile_first_sync(settings: Settings) -> str:
    """Where server and device spend the time of a first sync."""
    lines: list[str] = []
    for batch in BATCHES:
        spent: dict[str, Counter[str]] = {"device": Counter(), "server": Counter()}
        for _ in range(settings.rounds):
            done = sync_once(PARTS["crdt_sync"], settings, batch=batch, profiled=True)
            spent["device"].update(done["spent"])
            spent["server"].update(done["server_spent"])
        for part, by_module in spent.items():
            title = f"first-sync, written {batch:,} a transaction: {part}"
            lines += share_table(title, by_module, records=settings.records * settings.rounds)
    return "\n".join(lines)


def profile_write(settings: Settings) -> str:
    """Where local writes in transactions spend their time."""
    lines: list[str] = []
    for batch, records in ((BATCH, settings.records), (1, max(1, settings.records // 10))):
        for name, sampler in _sampled_writes(settings, records=records, batch=batch):
            title = f"write, {name}, {batch:,} a transaction, normal"
            lines += share_table(title, sampler.spent(), records=records)
    return "\n".join(lines)


def _sampled_writes(settings: Settings, *, records: int, batch: int) -> Iterator[tuple[str, Sampler]]:
    generator = Generator(settings.seed)
    values, titles = generator.records(records), generator.titles(records)
    with tempfile.TemporaryDirectory() as folder:
        writer = ReplicaWriter(Path(folder), durability="normal")
        work: dict[str, Callable[[int], None]] = {
            "create": lambda start: writer.create(values[start : start + batch]),
            "update": lambda start: writer.update(start, titles[start : start + batch]),
            "delete": lambda start: writer.delete(start, min(batch, records - start)),
        }
        for name, act in work.items():
            with Sampler() as sampler:
                for start in range(0, records, batch):
                    act(start)
            yield name, sampler
        writer.close()


def share_table(title: str, spent: Mapping[str, float], *, records: int) -> list[str]:
    """The modules that spent most, as a table."""
    busy = {name: seconds for name, seconds in spent.items() if name != WAITING}
    total = sum(busy.values()) or 1.0
    shown = {name: seconds for name, seconds in busy.items() if seconds >= LEAST_SHARE * total}
    rest = total - sum(shown.values())
    ordered = sorted(shown.items(), key=lambda item: -item[1])
    rows = [(name, seconds) for name, seconds in [*ordered, ("everything else", rest), ("sum", total)] if seconds]
    body = [[name, f"{seconds / records * 1e6:.1f}", f"{100 * seconds / total:.0f}"] for name, seconds in rows]
    waited = f" (and waiting {spent[WAITING] / records * 1e6:.1f})" if WAITING in spent else ""
    return [f"### {title}{waited}", "", *grid(["module", "CPU µs a record", "%"], body), ""]


PROFILES: Mapping[str, Callable[[Settings], str]] = {"first-sync": profile_first_sync, "write": profile_write}
