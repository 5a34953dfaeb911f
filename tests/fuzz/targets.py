"""Every target: what it is fed with, and the function that holds one input against what must be true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crdt_sync.storage.base import Table
from crdt_sync.testing.simulation.schedule import ACTIONS
from tests.fuzz import entries, files, opening, putting_back, quarantined, replicas, stores, wire

Run = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place where bytes come in.

    Args:
        name: on the command line, and of the folder of its corpus.
        run: raises for an input that is a finding, and for no other.
        words: what inputs are made of; a fuzzer that only flips bytes would never spell them.
        bytes_max: of inputs that are made up.
    """

    name: str
    run: Run
    words: tuple[str, ...] = ()
    bytes_max: int = 4096


_RUNS: Final[tuple[Run, ...]] = (
    wire.frames,
    wire.messages,
    wire.session,
    opening.handshake,
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
    putting_back.backups,
    putting_back.schedules,
    quarantined.quarantined,
)
_TYPES: Final = (
    "none any bool int float str bytes datetime date time timedelta Decimal UUID Text Counter Set List Map Ref"
)
_KEYS: Final = "type one_of merge default required renamed_from key unique on_duplicate on_edit_after_delete version"
_MERGES: Final = "plain ask three_way first max min merge_with list[ dict[str, tuple[ Set[ List[ Map[str, Ref["
_CELLS: Final = (
    '{"$value": "c0"}',
    "null",
    "true",
    "1e400",
    "NaN",
    '"\\ud800"',
    "2026-01-31T10:00:00+02:00",
    "P1D",
    "-1",
    "AA==",
    "0190a6b0-0000-7000-8000-000000000001",
)
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "schedules": ("crdt-sync simulation ", " seed=", " replicas=", " hubs=", "\n", "#", *sorted(ACTIONS)),
    "models": (*_TYPES.split(), *_KEYS.split(), *_MERGES.split(), "[Task.fields]\n", ' = "', " = {type = "),
    "quarantined": (
        *(
            f'"{name}": '
            for name in ("table", "key", "value", "reason", "sum", "author", "first", "last", "own", "records")
        ),
        *(f'"{table}"' for table in Table),
    ),
    "csv": (*files.Row.model_fields, *_CELLS, '""', "\r\n"),
    "jsonl": (*(f'"{name}": ' for name in files.Row.model_fields), *_CELLS, '{"model": "Row", "fields": {', "\n"),
}
TARGETS: Final = {run.__name__: Target(name=run.__name__, run=run, words=_WORDS.get(run.__name__, ())) for run in _RUNS}
