"""A replica in memory for the session's tests, and two sessions joined without a network."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from crdt_sync.core.entry import (
    ChainHash,
    Run,
    decode_run,
    encode_run,
    genesis_hash,
    next_hash,
    pack_entries,
    split_entries,
)
from crdt_sync.core.ids import Author, DocumentKey, document_key, natural_record_id
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.protocol.care import Care
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.events import (
    ContentDiffers,
    DocumentsReceived,
    Ended,
    Event,
    RecordsReceived,
    RunsReceived,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, Postponed, RunPage, SentRun, SnapshotPage, StatusKind
from crdt_sync.protocol.vectors import Position, Vector

Chain = tuple[str, Author]


def key_of(name: str, partition: str = "") -> DocumentKey:
    """Address of a test document."""
    return document_key(partition, "Task", natural_record_id("Task", name.encode()))


@dataclass
class FakeReplica:
    """A `Source` whose documents are last-entry-wins values. An entry is ``name=value``."""

    seed: int
    entries: dict[Chain, list[bytes]] = field(default_factory=dict)
    hashes: dict[Chain, list[ChainHash]] = field(default_factory=dict)
    log: list[tuple[bytes, str, Author, int]] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    documents: dict[DocumentKey, bytes] = field(default_factory=dict)
    authors: set[Author] = field(default_factory=set)
    refuse: set[bytes] = field(default_factory=set)
    withheld: dict[Author, int] = field(default_factory=dict)
    careful: Care = Care()  # noqa: RUF009  it is frozen
    evidence: list[bytes] = field(default_factory=list)
    fingerprints_computed: int = 0

    def __post_init__(self) -> None:
        self.space = b"s" * 32
        self.replica_id = self.seed.to_bytes(16, "big")
        self.epoch = bytes(8)
        self.author = Author(2**34 + self.seed)
        self.authors.add(self.author)

    # -- what a host does --

    def write(self, *texts: str, partition: str = "", author: Author | None = None) -> None:
        """One run of local entries."""
        author = author or self.author
        chain = self.entries.setdefault((partition, author), [])
        first = len(chain) + 1
        new = [text.encode() for text in texts]
        self._append(partition, author, new)
        run = Run(
            partition=partition,
            author=author,
            first_sequence=first,
            body=pack_entries(new),
            signature=blake3(b"".join(new)).digest(64),
        )
        self.log.append((encode_run(run), partition, author, len(chain)))

    def apply(self, data: bytes) -> tuple[EntryStatus, ...]:
        """Apply a received run."""
        run = decode_run(data)
        chain = self.entries.get((run.partition, run.author), [])
        incoming = split_entries(run.body)
        known = len(chain) + 1 - run.first_sequence
        if known < 0 or chain[run.first_sequence - 1 :] != incoming[: max(0, known)][: len(incoming)]:
            self.evidence.append(data)
            return (self._status(run, run.first_sequence, StatusKind.PARKED, "forked"),)
        fresh = incoming[known:]
        for offset, entry in enumerate(fresh):
            if entry in self.refuse:
                self._append(run.partition, run.author, fresh[:offset])
                sequence = run.first_sequence + known + offset
                return (self._status(run, sequence, StatusKind.REFUSED, "screening"),)
        if fresh:
            self._append(run.partition, run.author, fresh)
            last = run.first_sequence + len(incoming) - 1
            self.log.append((data, run.partition, run.author, last))
        return ()

    def _append(self, partition: str, author: Author, entries: list[bytes]) -> None:
        chain = self.entries.setdefault((partition, author), [])
        hashes = self.hashes.setdefault((partition, author), [genesis_hash(partition, author)])
        for entry in entries:
            chain.append(entry)
            hashes.append(next_hash(hashes[-1], entry))
            name, _, value = entry.partition(b"=")
            key = key_of(name.decode(errors="replace"), partition)
            # Any order of arrival gives the same winner, as a CRDT would.
            self.documents[key] = max(self.documents.get(key, b""), value + b"/" + str(author).encode())

    def _status(self, run: Run, sequence: int, kind: StatusKind, code: str) -> EntryStatus:
        return EntryStatus(
            partition=run.partition, author=run.author, sequence=sequence, kind=kind, code=code, reason="because"
        )

    # -- Source --

    def horizon(self, partition: str) -> bytes:
        return b""

    def floors(self) -> Vector:
        return {}

    def snapshot(
        self, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
    ) -> SnapshotPage:
        raise NotImplementedError  # nothing is ever folded here

    def holdings(self, known: Mapping[bytes, int]) -> tuple[DurableVector, ...]:
        return ()

    def holdings_known(self, public_key: bytes) -> Mapping[bytes, int]:
        return {}

    def held_back(self, public_key: bytes) -> Mapping[Author, int]:
        return self.withheld

    def handed_out(self, public_key: bytes, runs: Sequence[SentRun]) -> None:
        """Nothing here is written again."""

    def care(self, public_key: bytes) -> Care:
        return self.careful

    def vector(self) -> Vector:
        vector: dict[str, dict[Author, Position]] = {}
        for (partition, author), chain in self.entries.items():
            if chain:
                head = self.hashes[partition, author][-1]
                vector.setdefault(partition, {})[author] = Position(len(chain), head)
        return vector

    def hash_at(self, partition: str, author: Author, sequence: int) -> ChainHash | None:
        hashes = self.hashes.get((partition, author), [])
        return hashes[sequence] if sequence < len(hashes) else None

    def own_authors(self) -> frozenset[Author]:
        return frozenset(self.authors)

    def runs_after(self, cursor: int, known: Vector, *, bytes_max: int) -> RunPage:
        runs: list[tuple[bytes, str, Author, int]] = []
        size = 0
        while cursor < len(self.log):
            run, partition, author, last = self.log[cursor]
            position = known.get(partition, {}).get(author)
            if position is None or position.sequence < last:
                if runs and size + len(run) > bytes_max:
                    return RunPage(tuple(runs), cursor, True)
                runs.append(self.log[cursor])
                size += len(run)
            cursor += 1
        return RunPage(tuple(runs), cursor, False)

    def postponed(self) -> Postponed:
        return {}

    def space_records(self, after: int) -> tuple[tuple[bytes, ...], int]:
        page = tuple(self.records[after : after + 3])
        return page, after + len(page)

    def partitions(self) -> tuple[str, ...]:
        return tuple(sorted({partition for partition, _ in self.entries}))

    def fingerprint(self, partition: str) -> bytes:
        self.fingerprints_computed += 1
        pairs = self.listing(partition, after=None, limit=10**9)
        return blake3(b"".join(key + version for key, version in pairs)).digest(16)

    def listing(
        self, partition: str, *, after: DocumentKey | None, limit: int
    ) -> tuple[tuple[DocumentKey, bytes], ...]:
        prefix = bytes((len(partition.encode()),)) + partition.encode()
        keys = sorted(key for key in self.documents if key.startswith(prefix) and (after is None or key > after))
        return tuple((key, blake3(self.documents[key]).digest(16)) for key in keys[:limit])

    def state_vector(self, document: DocumentKey) -> bytes:
        return self.documents.get(document, b"")

    def content(self, document: DocumentKey, state_vector: bytes) -> bytes | None:
        held = self.documents.get(document)
        return held if held is not None and held > state_vector else None


IDENTITY = PeerIdentity.of(b"k" * 32)


@dataclass
class End:
    """One side: a replica, its session, and what came out of it."""

    replica: FakeReplica
    session: Session
    seen: list[Event] = field(default_factory=list)
    frames: int = 0
    bytes_sent: int = 0
    runs: list[bytes] = field(default_factory=list)
    """Received."""
    repair_at_once: bool = True
    hold: bool = False
    """Keep batches unpersisted."""
    held: list[Event] = field(default_factory=list)

    def handle(self) -> bool:
        """Do what a host does with events; whether there were any."""
        events = self.session.events()
        for event in events:
            self.seen.append(event)
            match event:
                case RecordsReceived(records=records):
                    self.replica.records.extend(record for record in records if record not in self.replica.records)
                case RunsReceived() | DocumentsReceived():
                    self.held.append(event)
                case ContentDiffers(partition=partition):
                    if self.repair_at_once:
                        self.session.repaired(partition)
                case _:
                    pass
        if not self.hold:
            self.persist()
        return bool(events)

    def persist(self) -> None:
        """Commit what was received."""
        held, self.held = self.held, []
        for event in held:
            match event:
                case RunsReceived(batch=batch, runs=runs):
                    self.runs.extend(runs)
                    statuses = tuple(status for run in runs for status in self.replica.apply(run))
                    self.session.persisted(batch, ApplyOutcome(statuses=statuses))
                case DocumentsReceived(batch=batch, documents=documents):
                    for key, content in documents:
                        self.replica.documents[key] = max(self.replica.documents.get(key, b""), content)
                    self.session.persisted(batch)
                case _:
                    pass

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.seen if isinstance(event, kind)]

    @property
    def ended(self) -> Ended | None:
        found = [event for event in self.seen if isinstance(event, Ended)]
        return found[0] if found else None


def make_end(replica: FakeReplica, *, initiator: bool, limits: WireLimits | None = None, now_ms: int = 10**12) -> End:
    return End(replica, Session(initiator=initiator, peer=IDENTITY, source=replica, limits=limits, now_ms=now_ms))


class Pair:
    """Two sessions and the frames between them."""

    def __init__(
        self, left: FakeReplica, right: FakeReplica, *, limits: WireLimits | None = None, seed: int = 0
    ) -> None:
        self.left = make_end(left, initiator=True, limits=limits)
        self.right = make_end(right, initiator=False, limits=limits)
        self.random = random.Random(seed)
        self.flights = 0
        self.now_ms = 10**12
        self.to_right: list[bytes] = []
        self.to_left: list[bytes] = []

    def ends(self) -> tuple[End, End]:
        return self.left, self.right

    def pump(self, end: End, wire: list[bytes]) -> bool:
        moved = end.handle()
        while frames := end.session.data_to_send():
            moved = True
            wire.extend(frames)
            end.frames += len(frames)
            end.bytes_sent += sum(map(len, frames))
        return end.handle() or moved

    def flight(self) -> bool:
        """Both send all they have, then both receive it; whether anything moved."""
        moved = self.pump(self.left, self.to_right) | self.pump(self.right, self.to_left)
        for wire, end in ((self.to_right, self.right), (self.to_left, self.left)):
            for frame in wire:
                end.session.receive(frame)
                end.handle()
            wire.clear()
        self.flights += moved
        return moved

    def settle(self, *, flights_max: int = 500) -> None:
        """Until nothing moves."""
        for _ in range(flights_max):
            if not self.flight():
                return
        raise RuntimeError(f"did not settle: {self.left.session!r} {self.right.session!r}")

    def tick(self, ms: int = 2_000) -> None:
        self.now_ms += ms
        for end in self.ends():
            end.session.tick(self.now_ms)

    def equal(self) -> bool:
        """Same vectors and same documents."""
        left, right = self.left.replica, self.right.replica
        return left.vector() == right.vector() and left.documents == right.documents
