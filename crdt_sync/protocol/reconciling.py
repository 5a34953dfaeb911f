"""Fingerprints and repairs of one session together: prove equality; where it fails, repair by content, prove again."""

from __future__ import annotations

from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.comparing import Documents, Fingerprint, Listing, Proof, Want
from crdt_sync.protocol.events import ContentDiffers, Event, ProvenEqual
from crdt_sync.protocol.fetching import Fetching
from crdt_sync.protocol.flow import Outflow
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.listing import Answers, Repair, Step
from crdt_sync.protocol.messages import Message
from crdt_sync.protocol.proofs import Comparison, Proofs
from crdt_sync.protocol.source import ApplyOutcome, Source
from crdt_sync.protocol.standing import Standing


class Reconciling:
    """What a session does about equality.

    Invariants:
        1. A partition that is being repaired is not compared.
        2. Requests for documents are answered only when our own repair of that partition has derived its documents
           anew, so nobody is sent what the log does not say.
        3. At most one request of ours is unanswered, whether a repair made it or entries wait for it.
    """

    def __init__(
        self, source: Source, limits: WireLimits, outflow: Outflow, standing: Standing, events: list[Event]
    ) -> None:
        self._source = source
        self._limits = limits
        self._outflow = outflow
        self._standing = standing
        self._events = events
        self.proofs = Proofs(source, limits)
        self._repairs: dict[str, Repair] = {}
        self._answers = Answers(source, limits)
        self._fetching = Fetching(source, limits)
        self._look_due = True

    def look(self) -> None:
        """Something changed that fingerprints depend on."""
        self._look_due = True

    def tick(self) -> None:
        """Time went on, and a pause between two attempts may be over."""
        if self.proofs.reconsider_ms() is not None:
            self._look_due = True

    def due_ms(self) -> int | None:
        """When `tick` may change something."""
        return self.proofs.reconsider_ms() if self._outflow.at_end else None

    def request(self) -> int:
        """Want proof anew; returns its token."""
        self._look_due = True
        return self.proofs.request()

    def reopen(self) -> None:
        """Vectors were stated anew: what was proven needs to be proven again, without a request."""
        self._look_due = True
        self.proofs.reopen()

    def covered(self) -> bool:
        """Everything that the peer is known to hold is here."""
        return all(self._standing.covered(partition) for partition in self._standing.known)

    def all_proven(self) -> bool:
        """Every partition that either side is known to have was proven equal since the latest own request."""
        partitions = {*self._source.partitions(), *self._standing.known, DEFAULT_PARTITION}
        return self.proofs.all_proven(partitions)

    def receive(self, message: Fingerprint | Proof | Want | Listing) -> None:
        """Take a message of the peer; raises `PeerError`."""
        self._look_due = True
        match message:
            case Fingerprint():
                self.proofs.receive(message)
                self._prove_partition(message.partition, ready=False, now_ms=0)
            case Proof():
                self.proofs.receive_request(message.token)
            case Want():
                self._answers.receive(message)
            case Listing():
                self._receive_listing(message)

    def receive_documents(self, documents: Documents, batch: int) -> None:
        """An answer to a request came in as this batch; raises `PeerError`."""
        if self._fetching.asked:
            self._fetching.receive_documents(documents, batch)
            return
        repair = self._repairs.get(documents.partition)
        if repair is None:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "documents that nobody asked for")
        repair.receive_documents(documents, batch)

    def persisted(self, batch: int, outcome: ApplyOutcome | None) -> None:
        """The host has committed a batch; with what entries of it wait for."""
        self._look_due = True
        if outcome is not None:
            self._fetching.need(outcome.lacking)
            self._standing.fell_short(outcome.statuses)
        if self._fetching.persisted(batch):
            self._standing.restate()  # so that the peer sends again what was parked
            self.reopen()
        for repair in list(self._repairs.values()):
            repair.persisted(batch)
            self._finish(repair)

    def derived(self, partition: str) -> None:
        """The host has derived differing documents anew; raises `LocalProtocolError` if it was not asked to."""
        repair = self._repairs.get(partition)
        if repair is None:
            raise LocalProtocolError(f"partition {partition!r} is not being repaired")
        repair.derived()
        self._finish(repair)

    @property
    def owes_answer(self) -> bool:
        """Whether the peer waits for documents."""
        return self._answers.partition is not None

    def next_message(self, *, now_ms: int, may_answer: bool = True) -> Message | None:
        """What to say next about equality; called when no run can be sent.

        Args:
            now_ms: the time.
            may_answer: documents may go out; else they wait.
        """
        if self._outflow.at_end:
            self.prove(now_ms=now_ms)
        fingerprint = self.proofs.next_fingerprint()
        if fingerprint is not None or not self._outflow.may_send:
            return fingerprint
        if not any(repair.asked for repair in self._repairs.values()):
            want = self._fetching.next_want()
            if want is not None:
                return want
        for repair in list(self._repairs.values()):
            message = self._next_of(repair)
            if message is not None:
                return message
        return self._next_answer() if may_answer else None

    def prove(self, *, now_ms: int) -> None:
        """Compare and say fingerprints where something changed; raises `PeerError` when repairs do not help."""
        if not self._look_due:
            return
        self._look_due = False
        for partition in self.proofs.partitions():
            ready = self._outflow.at_end and self._standing.comparable(partition)
            self._prove_partition(partition, ready=ready, now_ms=now_ms)

    def _prove_partition(self, partition: str, *, ready: bool, now_ms: int) -> None:
        if partition in self._repairs:
            return
        outcome = self.proofs.advance(partition, ready=ready, now_ms=now_ms)
        if outcome.comparison is Comparison.EQUAL:
            self._events.append(
                ProvenEqual(
                    partition=partition,
                    vector_hash=outcome.vector_hash,
                    fingerprint=outcome.fingerprint,
                    token=outcome.token or None,
                )
            )
        elif outcome.comparison is Comparison.DIFFERENT:
            self._begin(partition)

    def _begin(self, partition: str) -> Repair:
        round_ = self.proofs.next_round(partition)
        repair = Repair(self._source, self._limits, partition=partition, round_=round_)
        self._repairs[partition] = repair
        return repair

    def _receive_listing(self, listing: Listing) -> None:
        repair = self._repairs.get(listing.partition) or self._begin(listing.partition)
        if repair.round != listing.round:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "a listing of another round")
        self._tell_differing(repair, repair.receive_listing(listing))

    def _next_of(self, repair: Repair) -> Message | None:
        listing = repair.next_listing()
        if listing is not None:
            self._tell_differing(repair, repair.finish_listing())
            return listing
        is_free = not self._fetching.asked and not any(other.asked for other in self._repairs.values())
        return repair.next_want() if is_free else None

    def _next_answer(self) -> Documents | None:
        partition = self._answers.partition
        if partition is None:
            return None
        repair = self._repairs.get(partition)
        if repair is not None and repair.step in (Step.LISTING, Step.DERIVING):
            return None
        documents = self._answers.next_documents()
        self._outflow.sent_documents()
        return documents

    def _tell_differing(self, repair: Repair, keys: tuple[DocumentKey, ...]) -> None:
        if keys:
            self._events.append(ContentDiffers(partition=repair.partition, keys=keys))
        self._finish(repair)

    def _finish(self, repair: Repair) -> None:
        if repair.step is Step.DONE:
            del self._repairs[repair.partition]
            self.proofs.repaired(repair.partition, repair.round)
            self._look_due = True
