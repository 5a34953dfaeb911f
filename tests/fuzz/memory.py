"""How much memory one input takes, the engine's with it, which Python's own counters do not see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import resource

INPUT_MB_MAX: Final = 400
"""One input that takes more is a finding."""
_RESET: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")


def peak_mb() -> float:
    """The most that this process ever had, in MB; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def refuse_much(target: Callable[[bytes], None], data: bytes) -> None:
    """Run an input; where the process's peak grows by too much with it, that is a finding. Costs next to nothing.

    Raises:
        MemoryError: it grew by more than one input may take.
    """
    before = peak_mb()
    target(data)
    grown = peak_mb() - before
    if grown > INPUT_MB_MAX:
        raise MemoryError(f"one input took {grown:,.0f} MB")


def taken_mb(work: Callable[[], None]) -> float:
    """How much more memory the process had at any moment of some work than before, in MB.

    Linux tells it; elsewhere it is what a peak that was never reached before tells, so at least it.
    """
    if not _RESET.exists():
        before = peak_mb()
        work()
        return peak_mb() - before
    _RESET.write_text("5", encoding="ascii")  # the peak is counted from now
    before = _status_mb("VmRSS")
    work()
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{name}:"))
