"""What a simulated world takes when all in it has come to rest, sampled again and again."""

from __future__ import annotations

import gc
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from crdt_sync.replica.horizons import APPLIED
from crdt_sync.storage.base import Table
from crdt_sync.testing.growth import Series
from crdt_sync.testing.simulation.world import World

_MB = 1024**2
_STATM = Path("/proc/self/statm")
_CACHE = type(lru_cache(maxsize=1)(int))


class Sampler:
    """Takes samples at rests.

    Args:
        series: they are put into.
    """

    def __init__(self, series: list[Series]) -> None:
        self._series = series
        self._waiting = 0
        self._caches = _bounded_caches()

    def note(self, world: World) -> None:
        """How long the queues are between rests."""
        pending = (host.replica.pending_count() for host in world.hosts if host.replica is not None and host.up)
        self._waiting = max(self._waiting, *pending, 0)

    def sample(self, world: World) -> None:
        """What there is now, when all has come to rest."""
        hosts = len(world.hosts)
        tables = [(name, table) for host in world.hosts for name, table in host.disk.tables.items() if name in Table]
        at_s, waiting, self._waiting = world.loop.time(), self._waiting, 0
        for cache in self._caches:
            cache.cache_clear()
        gc.collect()
        self._add("memory blocks", "blocks", sys.getallocatedblocks(), at_s=at_s)
        if _STATM.exists():
            pages = int(_STATM.read_text(encoding="ascii").split()[1])
            self._add("resident memory", "MB", pages * os.sysconf("SC_PAGE_SIZE") / _MB, at_s=at_s)
        sizes: dict[bool, list[int]] = {True: [], False: []}
        for name, table in tables:
            for key, data in table.rows.items():
                sizes[_stays(name, key)].append(len(key) + len(data))
        self._add("rows of a store", "rows", len(sizes[False]) / hosts, at_s=at_s)
        self._add("a store", "kB", sum(sizes[False]) / hosts / 1024, at_s=at_s)
        self._add("horizons of a store", "kB", sum(sizes[True]) / hosts / 1024, at_s=at_s, is_judged=False)
        self._add("longest queue", "operations", waiting, at_s=at_s, is_judged=False)
        self._add("most unread frames", "frames", world.network.unread_max, at_s=at_s, is_judged=False)

    def _add(self, name: str, unit: str, value: float, *, at_s: float, is_judged: bool = True) -> None:
        series = next((each for each in self._series if each.name == name), None)
        if series is None:
            series = Series(name=name, unit=unit, is_judged=is_judged)
            self._series.append(series)
        series.add(value, at_s=at_s)


def _stays(table: Table, key: bytes) -> bool:
    """Whether a row is of horizons: records that stay, and which were applied. They grow by design, and slowly."""
    return table is Table.RECORD or (table is Table.META and key == APPLIED)


def _bounded_caches() -> list[Any]:
    """The package's caches of results, but for those without a bound: they fill over many thousands of edits.

    They are emptied before a sample, so that what grows is not taken for what fills up, nor the other way round.
    """
    loaded = [vars(module) for name, module in sys.modules.items() if name.startswith("crdt_sync.")]
    found: list[Any] = [each for names in loaded for each in names.values() if isinstance(each, _CACHE)]
    return [cache for cache in found if cache.cache_parameters()["maxsize"] is not None]
