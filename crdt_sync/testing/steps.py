"""What happens in a history, as values: each is one thing that a user, a network or a machine does.

Replicas and records are numbers: a record is counted among those of its model that the replica shows, modulo how many
there are, so that a step stays possible when others before it are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdt_sync.testing.editing import Edit


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A user of replica `on` creates a record."""

    on: int
    model: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A user changes a record; several edits are one transaction."""

    on: int
    model: str
    record: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Users of replicas `on`, `on + 1`, … make one edit each of one record, and do not know of the others'."""

    on: int
    model: str
    record: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """A user deletes a record."""

    on: int
    model: str
    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A user restores a record, counted among all of its model that were ever created."""

    on: int
    model: str
    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """A user settles a conflict by one of its candidates; both are counted among what there is."""

    on: int
    conflict: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meet:
    """A session between two replicas; ``cut`` ends the connection after so many frames."""

    left: int
    right: int
    cut: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """All that one replica has is brought to another, and nothing back."""

    source: int
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """The first replica, whose store is a file, is closed, or its process killed, and opened again."""

    kill: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """A user undoes the latest transaction of a replica that is not undone yet, or redoes what was undone last."""

    on: int
    redo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """A replica folds what everybody is known to hold."""

    on: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The clock of one replica goes on, or back."""

    on: int
    ms: int


Step = Create | Change | Race | Delete | Restore | Resolve | Meet | Carry | Reopen | TakeBack | Compact | Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens on some replicas, one step after the other.

    Args:
        replicas: how many.
        steps: what happens.
    """

    replicas: int
    steps: tuple[Step, ...]
