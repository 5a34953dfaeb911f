"""Keeps Python's cycle collector out of bulk work, in which it would look at each document again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

BULK_DOCUMENTS: Final = 64
"""From so many documents on, the pause is worth its two calls."""


@contextmanager
def collector_paused(*, documents: int) -> Iterator[None]:
    """Do bulk work without looking for reference cycles meanwhile.

    Taking in a thousand records makes some ten thousand objects that all live until the end of the transaction; the
    collector would go through them, and through the whole application, again and again, and find no cycle. That was a
    quarter of the time. What is freed by reference counting is freed as ever, and the work is bounded by an entry's or
    a batch's size.

    Args:
        documents: how many documents the work is about, at most; nothing is paused for a few.
    """
    if documents < BULK_DOCUMENTS or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class BulkWork:
    """Has the collector look less often while a long transaction is open, whose code is the app's.

    It is not stopped: what the app leaves in cycles meanwhile stays bounded. Instances share the collector's one
    threshold, which is set back when the last of them ends.
    """

    YOUNG_OBJECTS: Final = 50_000
    """New objects between two looks: what a transaction of a thousand records makes."""
    _lock: Final = Lock()
    _open = 0
    _before = (0, 0, 0)

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """May be called again."""
        if self._begun:
            return
        self._begun = True
        with BulkWork._lock:
            BulkWork._open += 1
            if BulkWork._open == 1:
                BulkWork._before = gc.get_threshold()
                young, *older = BulkWork._before
                gc.set_threshold(max(young, self.YOUNG_OBJECTS) if young else 0, *older)

    def end(self) -> None:
        """May be called without `begin`."""
        if not self._begun:
            return
        self._begun = False
        with BulkWork._lock:
            BulkWork._open -= 1
            if BulkWork._open == 0:
                gc.set_threshold(*BulkWork._before)
