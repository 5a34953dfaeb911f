"""Keeps the tables current: for whoever asks this replica, and for other readers of the file."""

from __future__ import annotations

import logging

from crdt_sync.core.logs import told
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.derive import derive_marked
from crdt_sync.replica.observers import Observers
from crdt_sync.replica.records import Records
from crdt_sync.replica.state import State

log = logging.getLogger("crdt_sync.replica")

TEXT_DERIVE_INTERVAL_MS = 1_000


class Upkeep:
    """Decides when documents that are marked are derived; large texts at most once a second unless they are asked for.

    There is no thread behind it: it works when it is called.

    Args:
        state: the replica.
        records: tells whether a transaction is open; nothing can be derived then.
        observers: tells of commits.
    """

    def __init__(self, state: State, records: Records, observers: Observers) -> None:
        self._state = state
        self._records = records
        self._texts_derived_ms = 0
        self._stale = False
        """Whether anything was committed since all texts were derived last."""
        observers.add_waker(self._note_commit)

    def before_reading(self, *, texts_too: bool) -> None:
        """Bring the tables up to date for a question.

        Args:
            texts_too: the question is about texts.
        """
        if self._state.identity is None:
            return
        if self._records.in_transaction:
            self._records.show()
            return
        now_ms = self._state.now_ms()
        if texts_too or self._is_due(now_ms):
            self._derive_all(now_ms)
        else:
            derive_marked(self._state, texts_too=False)

    def now_and_then(self) -> None:
        """Bring everything up to date if the last time is a second ago.

        A failure is logged: the caller asked for something else, and this is tried again.
        """
        if not self._stale or self._state.identity is None or self._records.in_transaction:
            return
        now_ms = self._state.now_ms()
        if not self._is_due(now_ms):
            return
        try:
            self._derive_all(now_ms)
        except CRDTSyncError as error:
            told(log, logging.WARNING, "the tables could not be brought up to date", reason=error.message)

    def _is_due(self, now_ms: int) -> bool:
        return not 0 <= now_ms - self._texts_derived_ms < TEXT_DERIVE_INTERVAL_MS

    def _derive_all(self, now_ms: int) -> None:
        self._texts_derived_ms = now_ms
        derive_marked(self._state, texts_too=True)
        self._stale = False

    def _note_commit(self) -> None:
        self._stale = True
