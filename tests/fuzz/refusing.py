"""What every target holds an input to: it is taken, or refused with a documented error that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from crdt_sync.errors import CRDTSyncError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refused:
    """The error with which something was refused."""

    error: CRDTSyncError


def attempt(work: Callable[[], T]) -> T | Refused:
    """What some work gives, or how it was refused; any other exception is a finding."""
    try:
        return work()
    except CRDTSyncError as error:
        refused = Refused(error)
    assert refused.error.message, "an error that does not say what is wrong"
    assert refused.error.hint, f"an error without a hint: {refused.error.message}"
    return refused
