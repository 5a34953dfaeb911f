"""Exchange of space records: each side says which it holds, then each sends what the other lacks."""

from __future__ import annotations

from collections import deque

from blake3 import blake3

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.opening import Held, HeldDigest, Records
from crdt_sync.protocol.source import Source


def record_id(record: bytes) -> bytes:
    """The first 16 bytes of a space record's blake3."""
    return blake3(record).digest(RECORD_HASH_BYTES)


class RecordExchange:
    """Which space records still have to go to the peer.

    Invariants:
        1. Records are sent in the order of their arrival here, each at most once, none that the peer has.
        2. It remembers ids only of records that the peer has and the cursor has not passed.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self._ids, self._end = self._read_ids()
        self._digest = _digest(self._ids)
        self._cursor = 0
        self._skip: set[bytes] = set()
        self._backlog: deque[bytes] = deque()
        self._stated_in_full = len(self._ids) <= limits.eager_records_max
        self._stated = False
        self._due = True
        self.settled = False
        """Both sides know what the other lacks; records may flow."""

    def statement(self) -> Held | HeldDigest | None:
        """What has to be said about the records held, once."""
        if self._stated:
            return None
        self._stated = True
        if not self._stated_in_full:
            return HeldDigest(digest=self._digest)
        held, self._ids = Held(ids=tuple(self._ids)), []
        return held

    def receive_held(self, held: Held) -> None:
        """The peer's list."""
        if self.settled:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "records are settled already")
        if _digest(held.ids) == self._digest:
            self._settle_equal()
            return
        if not self._stated_in_full:  # the peer could not tell from our hash what we lack
            self._stated_in_full, self._stated = True, False
        self._skip = set(held.ids)
        self.settled = True

    def receive_digest(self, digest: bytes) -> None:
        """The peer's hash; if it is not ours, its list follows, and ours has to be in full."""
        if self.settled:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "records are settled already")
        if digest == self._digest:
            self._settle_equal()
        elif not self._stated_in_full:
            self._stated_in_full, self._stated = True, False

    def receive_records(self, records: tuple[bytes, ...]) -> None:
        """Records from the peer are not sent back to it."""
        for record in records:
            self._skip.add(record_id(record))
        if len(self._skip) > 2 * self._limits.records_max:
            raise PeerError(ErrorCode.TOO_LARGE, "more records than a session may bring")

    def wake(self) -> None:
        """There may be new records here."""
        self._due = True

    def next_message(self) -> Records | None:
        """Records that the peer lacks, up to a batch."""
        batch: list[bytes] = []
        size = 0
        while size < self._limits.batch_bytes_max and self._refill():
            record = self._backlog.popleft()
            name = record_id(record)
            if name in self._skip:
                self._skip.discard(name)
                continue
            batch.append(record)
            size += len(record)
        return Records(records=tuple(batch)) if batch else None

    def _refill(self) -> bool:
        if not self._backlog and self._due and self.settled:
            records, self._cursor = self._source.space_records(self._cursor)
            self._backlog.extend(records)
            self._due = bool(records)
        return bool(self._backlog)

    def _settle_equal(self) -> None:
        self._cursor, self.settled, self._ids = self._end, True, []

    def _read_ids(self) -> tuple[list[bytes], int]:
        ids: list[bytes] = []
        cursor = 0
        while True:
            records, following = self._source.space_records(cursor)
            if not records:
                return ids, cursor
            ids.extend(record_id(record) for record in records)
            cursor = following


def _digest(ids: list[bytes] | tuple[bytes, ...]) -> bytes:
    return blake3(b"".join(sorted(ids)), derive_key_context="crdt_sync 2026 records held").digest(RECORD_HASH_BYTES)
