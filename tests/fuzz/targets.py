"""Every target: what it is fed with, and the function that holds one input against what must be true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz import entries, files, replicas, stores, wire

Run = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place where bytes come in.

    Args:
        name: on the command line, and of the folder of its corpus.
        run: raises for an input that is a finding, and for no other.
        bytes_max: of inputs that are made up.
    """

    name: str
    run: Run
    bytes_max: int = 4096


_RUNS: Final[tuple[Run, ...]] = (
    wire.frames,
    wire.messages,
    wire.session,
    entries.entries,
    entries.values,
    entries.updates,
    entries.contents,
    replicas.runs,
    replicas.bases,
    stores.rows,
    stores.damaged,
    files.models,
    files.csv,
    files.jsonl,
)
TARGETS: Final = {run.__name__: Target(name=run.__name__, run=run) for run in _RUNS}
