"""Repair by content: which documents differ, and the exchange of what each side lacks of them.

Both sides list (document, version) in pages, each compares the other's pages with its own store, so both find the same
documents. The host derives those anew from its own log; what still differs is fetched, cut by the document's state
vector. Then fingerprints are compared again.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.errors import EntryError, LocalProtocolError
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.comparing import Documents, Listing, Want
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Source


class Step(Enum):
    """How far a repair is on this side."""

    LISTING = "listing"
    DERIVING = "deriving"
    """The host derives the differing documents anew."""
    FETCHING = "fetching"
    DONE = "done"


class Repair:
    """One round of repairing one partition.

    Invariants:
        1. Both listings ascend; a page is compared with our own store at the moment at which it comes.
        2. At most one `Want` of ours is unanswered.
        3. It is done when the host has persisted the answers to everything it wanted.
    """

    def __init__(self, source: Source, limits: WireLimits, *, partition: str, round_: int) -> None:
        self._source = source
        self._limits = limits
        self.partition = partition
        self.round = round_
        self.step = Step.LISTING
        self._told_to: DocumentKey | None = None
        self._told_all = False
        self._heard_to: DocumentKey | None = None
        self._heard_all = False
        self._differing: list[DocumentKey] = []
        self._wanted: deque[DocumentKey] = deque()
        self._asked = False
        self._last_batch = 0

    @property
    def asked(self) -> bool:
        """A request of ours is unanswered."""
        return self._asked

    def receive_listing(self, listing: Listing) -> tuple[DocumentKey, ...]:
        """Compare a page of the peer's.

        Returns:
            The differing documents once both sides have listed everything, else nothing.

        Raises:
            PeerError: out of order, or behind the last page.
        """
        if self._heard_all:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "a listing behind its last page")
        keys = [key for key, _ in listing.pairs]
        if keys and self._heard_to is not None and keys[0] <= self._heard_to:
            raise PeerError(ErrorCode.MALFORMED, "a listing out of order")
        if not keys and not listing.final:
            raise PeerError(ErrorCode.MALFORMED, "an empty page of a listing")
        if any(_partition_of(key) != self.partition for key in keys):
            raise PeerError(ErrorCode.MALFORMED, "a document of another partition")
        self._compare(dict(listing.pairs), None if listing.final else keys[-1])
        if keys:
            self._heard_to = keys[-1]
        self._heard_all = listing.final
        return self._finish_listing()

    def next_listing(self) -> Listing | None:
        """Our next page."""
        if self._told_all:
            return None
        limit = self._limits.listing_page_keys
        pairs = self._source.listing(self.partition, after=self._told_to, limit=limit)
        self._told_all = len(pairs) < limit
        if pairs:
            self._told_to = pairs[-1][0]
        return Listing(partition=self.partition, round=self.round, final=self._told_all, pairs=pairs)

    def finish_listing(self) -> tuple[DocumentKey, ...]:
        """To be called when a page was sent: the differing documents, if that was the last one on both sides."""
        return self._finish_listing()

    def derived(self) -> None:
        """The host has derived the differing documents anew; raises `LocalProtocolError` if it was not asked to."""
        if self.step is not Step.DERIVING:
            raise LocalProtocolError(f"partition {self.partition!r} is not waiting for a repair by its host")
        self.step = Step.FETCHING if self._wanted else Step.DONE

    def next_want(self) -> Want | None:
        """The next request for documents, one at a time."""
        if self.step is not Step.FETCHING or self._asked or not self._wanted:
            return None
        self._asked = True
        count = min(len(self._wanted), self._limits.want_page_keys)
        keys = [self._wanted.popleft() for _ in range(count)]
        return Want(partition=self.partition, documents=tuple([(key, self._source.state_vector(key)) for key in keys]))

    def receive_documents(self, documents: Documents, batch: int) -> None:
        """An answer came in as this batch; raises `PeerError` if nothing was asked."""
        if not self._asked:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "documents that nobody asked for")
        if any(_partition_of(key) != self.partition for key, _ in documents.documents):
            raise PeerError(ErrorCode.MALFORMED, "a document of another partition")
        self._last_batch = batch
        self._asked = not documents.final

    def persisted(self, batch: int) -> None:
        """The host has committed every batch up to this one."""
        if self.step is Step.FETCHING and not self._asked and not self._wanted and batch >= self._last_batch:
            self.step = Step.DONE

    def _compare(self, theirs: dict[DocumentKey, bytes], last: DocumentKey | None) -> None:
        ours: dict[DocumentKey, bytes] = {}
        after, limit = self._heard_to, self._limits.listing_page_keys
        while True:
            page = self._source.listing(self.partition, after=after, limit=limit)
            ours.update((key, version) for key, version in page if last is None or key <= last)
            if len(page) < limit or (last is not None and page[-1][0] >= last):
                break
            after = page[-1][0]
            if len(ours) > len(theirs) + self._limits.differing_keys_max:
                break  # more differ than one round takes; the next round finds the rest
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key) and len(self._differing) < self._limits.differing_keys_max:
                self._differing.append(key)
                if key in theirs:
                    self._wanted.append(key)

    def _finish_listing(self) -> tuple[DocumentKey, ...]:
        if self.step is not Step.LISTING or not (self._told_all and self._heard_all):
            return ()
        keys, self._differing = tuple(self._differing), []
        self.step = Step.DERIVING if keys else Step.DONE
        return keys


class Answers:
    """Documents that the peer asked for.

    Invariant: at most one request at a time is held.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self._partition = ""
        self._pending: deque[tuple[DocumentKey, bytes]] = deque()

    @property
    def partition(self) -> str | None:
        """The partition asked for, while a request is open."""
        return self._partition if self._pending else None

    def receive(self, want: Want) -> None:
        """Take a request; raises `PeerError` if the last one is not answered yet."""
        if self._pending:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "a second request before the first is answered")
        if len(want.documents) > self._limits.want_page_keys:
            raise PeerError(ErrorCode.TOO_LARGE, "more documents than one request may name")
        if any(_partition_of(key) != want.partition for key, _ in want.documents):
            raise PeerError(ErrorCode.MALFORMED, "a document of another partition")
        self._partition = want.partition
        self._pending.extend(want.documents)

    def next_documents(self) -> Documents:
        """The next part of the answer, about a batch large, or one larger document."""
        found: list[tuple[DocumentKey, bytes]] = []
        size = 0
        while self._pending and size < self._limits.batch_bytes_max:
            key, state_vector = self._pending[0]
            content = self._content(key, state_vector)
            if content is not None:
                if found and size + len(content) > self._limits.batch_bytes_max:
                    break
                found.append((key, content))
                size += len(content)
            self._pending.popleft()
        return Documents(partition=self._partition, final=not self._pending, documents=tuple(found))

    def _content(self, key: DocumentKey, state_vector: bytes) -> bytes | None:
        try:
            content = self._source.content(key, state_vector)
        except EntryError as error:
            raise PeerError(ErrorCode.MALFORMED, error.message) from None
        # A document that fits into no packet cannot be sent; the fingerprints then say so.
        fits = content is not None and len(content) <= self._limits.packet_bytes_max - self._limits.batch_bytes_max
        return content if fits else None


def _partition_of(key: DocumentKey) -> str:
    try:
        return split_document_key(key)[0]
    except EntryError as error:
        raise PeerError(ErrorCode.MALFORMED, error.message) from None
