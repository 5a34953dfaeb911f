"""What targets look at afterwards, and where they put files."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from crdt_sync import Replica
from crdt_sync.core.ids import DEFAULT_PARTITION
from tests.unit.replica.devices import Person, Task

_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []


@cache
def folder() -> Path:
    """For files that are made; it goes with the process."""
    _KEPT.append(tempfile.TemporaryDirectory())
    return Path(_KEPT[-1].name)


def seen(replica: Replica) -> Any:
    """What an app sees of a replica."""
    records = {model.__name__: [item.model_dump() for item in replica.find(model)] for model in (Task, Person)}
    conflicts = sorted(conflict.id for conflict in replica.conflicts())
    replica.pending_count()
    list(replica.invalid())
    return records, conflicts, replica.port.fingerprint(DEFAULT_PARTITION)
