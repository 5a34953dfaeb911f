"""Documents that entries of the peer wait for, fetched from it: a horizon removed them here, and not for the peer.

Such an entry is by a device that was not waited for. It is acknowledged as not held until what it belongs to is here,
so that nobody is told that a change is safe of which only half is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.comparing import Documents, Want
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Lacking, Source

ASKED_MAX: Final = 65_536
"""So much is remembered of what was asked for in one session; beyond it, entries wait for the next one."""


class Fetching:
    """What one session asks for outside of repairs.

    Invariants:
        1. At most one request is unanswered.
        2. For one entry a document is asked for once: where that did not help, asking again would not.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self._asked: set[Lacking] = set()
        self._wanted: dict[DocumentKey, None] = {}
        self._requested: frozenset[DocumentKey] = frozenset()
        self._last_batch: int | None = None
        self._helped = False

    @property
    def asked(self) -> bool:
        """A request is unanswered, or its answer is not durable yet."""
        return bool(self._requested)

    def need(self, lacking: Iterable[Lacking]) -> None:
        """Entries of the peer wait for these documents."""
        for item in lacking:
            if item not in self._asked and len(self._asked) < ASKED_MAX:
                self._asked.add(item)
                self._wanted[item.document] = None

    def next_want(self) -> Want | None:
        """The next request: documents of one partition."""
        if self.asked or not self._wanted:
            return None
        partition = split_document_key(next(iter(self._wanted)))[0]
        same = [key for key in self._wanted if split_document_key(key)[0] == partition]
        keys = same[: self._limits.want_page_keys]
        for key in keys:
            del self._wanted[key]
        self._requested, self._last_batch = frozenset(keys), None
        return Want(partition=partition, documents=tuple([(key, self._source.state_vector(key)) for key in keys]))

    def receive_documents(self, documents: Documents, batch: int) -> None:
        """An answer came in as this batch; raises `PeerError` if it is none to what was asked."""
        keys = {key for key, _ in documents.documents}
        if self._last_batch is not None or not keys <= self._requested:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "documents that nobody asked for")
        self._helped |= bool(keys)
        self._last_batch = batch if documents.final else None

    def persisted(self, batch: int) -> bool:
        """The host has committed every batch up to this one; whether what waited can be sent again now."""
        if self._last_batch is None or batch < self._last_batch:
            return False
        self._requested, self._last_batch = frozenset(), None
        if self._wanted:
            return False
        helped, self._helped = self._helped, False
        return helped
