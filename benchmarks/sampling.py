"""Where the time goes: a sampling profiler that tells modules of the package apart.

A profiler that traces calls makes small functions look dear; this one looks at the stack a thousand times a second and
counts the innermost module of crdt_sync that is on it, so time in SQLite, lz4 or msgpack counts for whoever called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from time import perf_counter, process_time
from types import FrameType, TracebackType
from typing import Self

PERIOD_S = 0.001
WAITING, OTHER = "waiting", "elsewhere (event loop, websockets, the benchmark)"
_PACKAGE = "crdt_sync"


class Sampler:
    """Samples the main thread within the block."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._wall_s = self._cpu_s = 0.0

    def __enter__(self) -> Self:
        self._start, self._cpu_start = perf_counter(), process_time()
        self._handler = signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, PERIOD_S, PERIOD_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        self._wall_s, self._cpu_s = perf_counter() - self._start, process_time() - self._cpu_start

    def spent(self) -> Mapping[str, float]:
        """Module → CPU seconds of the block, shared out by samples; waiting has wall seconds."""
        total = sum(self._seen.values())
        busy = total - self._seen[WAITING]
        return {
            name: self._wall_s * number / total if name == WAITING else self._cpu_s * number / busy
            for name, number in self._seen.items()
            if number
        }

    def _sample(self, number: int, frame: FrameType | None) -> None:
        innermost = frame
        while frame is not None:
            module = module_of(frame.f_code.co_filename)
            if module:
                self._seen[module] += 1
                return
            frame = frame.f_back
        waits = innermost is not None and innermost.f_code.co_filename.endswith("selectors.py")
        self._seen[WAITING if waits else OTHER] += 1


def module_of(path: str) -> str:
    """The module of the package that a source file is, or an empty string."""
    parts = PurePath(path).with_suffix("").parts
    if _PACKAGE not in parts:
        return ""
    return ".".join(parts[len(parts) - parts[::-1].index(_PACKAGE) :])
