"""What a conversation has to tell observers, and those who wait for proof."""

from __future__ import annotations

from dataclasses import dataclass, field

from crdt_sync.replica.state import Change


@dataclass(slots=True)
class Progress:
    """What was proven."""

    proven: int = -1
    fingerprints: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class News:
    """What observers, and the pumps of other sessions, are to be told."""

    changes: list[Change] = field(default_factory=list)
    anything: bool = False
