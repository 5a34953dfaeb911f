"""Where the peer stands: what it holds of each author, which authors are forked, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterable

from crdt_sync.core.entry import SEQUENCE_MAX, ChainHash
from crdt_sync.core.ids import Author
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.events import Acknowledged, ForeignFork, OwnAhead, OwnFork
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Fork
from crdt_sync.protocol.opening import VectorDigest, VectorMessage
from crdt_sync.protocol.source import EntryStatus, Source, StatusKind
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Position, Vector, flat_digest, flatten_vector

_EVERYTHING = Position(SEQUENCE_MAX, ChainHash(bytes(WIRE_HASH_BYTES)))
"""Known of a forked author, so that nothing of it is sent."""

ForkEvent = OwnFork | OwnAhead | ForeignFork


class Standing:
    """What is known of the peer's vector.

    Invariants:
        1. ``known`` holds at least what the peer lacks nothing of; positions that our own log has passed and the peer
           holds may be left out of it (`prune`), so an idle session costs no memory per author.
        2. A forked author stays in ``known`` as wholly known until the peer states a new vector.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self._own = _copy(source.vector())
        self._digest = flat_digest(flatten_vector(self._own))
        self._stated_in_full = sum(map(len, flatten_vector(self._own))) <= limits.eager_vector_bytes_max
        self._statement_due = True
        self.restate_due = False
        """Our vector is stated again."""
        self.known: dict[str, dict[Author, Position]] = {}
        self.complete = False
        """The peer's vector is known."""
        self._forked: set[tuple[str, Author]] = set()
        self._forks_to_tell: list[Fork] = []

    def statement(self) -> VectorMessage | VectorDigest | None:
        """What has to be said about our own vector now."""
        if self._statement_due:
            self._statement_due = False
            if not self._stated_in_full:
                return VectorDigest(digest=self._digest)
            return VectorMessage(vector=self._own)
        if not self.complete:
            return None
        self._own = {}
        if not self.restate_due:
            return None
        self.restate_due = False
        return VectorMessage(vector=_copy(self._source.vector()))

    def restate(self) -> None:
        """State the vector again, as it is when it is sent, in place of what would have been told of our forks."""
        self.restate_due = True
        own = self._source.own_authors()
        self._forks_to_tell = [fork for fork in self._forks_to_tell if fork.author not in own]

    def receive_digest(self, digest: bytes) -> None:
        """The hash of the peer's vector; if it is not ours, its vector follows, and ours has to be in full."""
        if self.complete:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "the vector is known already")
        if digest == self._digest:
            self.known = _copy(self._own)
            self.complete = True
        elif not self._stated_in_full:
            self._stated_in_full = self._statement_due = True

    def receive_vector(self, vector: dict[str, dict[Author, Position]]) -> list[ForkEvent]:
        """The peer's vector in full, for the first time or anew. Everything is planned from it."""
        if not self.complete and not self._stated_in_full and flat_digest(flatten_vector(vector)) != self._digest:
            self._stated_in_full = self._statement_due = True
        self.complete = True
        self.known = vector
        self._forked = set()
        return self._check(vector)

    def receive_positions(self, positions: Vector) -> list[ForkEvent]:
        """Positions that the peer states in an acknowledgement; they replace what was known."""
        for partition, authors in positions.items():
            for author, position in authors.items():
                if (partition, author) not in self._forked:
                    self.known.setdefault(partition, {})[author] = position
        return self._check(positions)

    def receive_fork(self, fork: Fork) -> list[ForkEvent]:
        """The peer holds another branch than the one whose position we stated."""
        held = self._source.hash_at(fork.partition, fork.author, fork.position.sequence)
        if held is None or held[:WIRE_HASH_BYTES] == fork.position.hash:
            return []
        return self._mark(fork.partition, fork.author, fork.position)

    def advance(self, heads: Iterable[tuple[str, Author, int]]) -> None:
        """The peer holds these entries, because it sent or acknowledged them."""
        for partition, author, sequence in heads:
            authors = self.known.setdefault(partition, {})
            known = authors.get(author)
            if known is None or known.sequence < sequence:
                digest = self._source.hash_at(partition, author, sequence)
                authors[author] = Position(sequence, digest or ChainHash(b""))

    def brought(
        self, heads: Iterable[tuple[str, Author, int]], *, but_for: Vector
    ) -> dict[str, dict[Author, Position]]:
        """The positions at which these entries stand, but for those of some authors."""
        vector: dict[str, dict[Author, Position]] = {}
        for partition, author, sequence in heads:
            digest = self._source.hash_at(partition, author, sequence)
            if digest is not None and author not in but_for.get(partition, ()):
                vector.setdefault(partition, {})[author] = Position(sequence, digest)
        return vector

    def fell_short(self, statuses: Iterable[EntryStatus]) -> None:
        """Entries that the peer sent were not applied here. It need not hold them either: it passes whole runs on."""
        own = self._source.vector() if statuses else {}
        for status in statuses:
            authors, name = self.known.get(status.partition, {}), (status.partition, status.author)
            is_branch = name in self._forked or not (status.retry or status.kind is StatusKind.REFUSED)
            known, held = authors.get(status.author), own.get(status.partition, {}).get(status.author)
            if is_branch or known is None or known.sequence <= (0 if held is None else held.sequence):
                continue
            if held is None:
                del authors[status.author]
            else:
                authors[status.author] = held

    def stated(self, positions: Vector) -> dict[str, dict[Author, Position]]:
        """Positions of the peer without forked authors, with our own objects, and their whole hashes, where equal."""
        own = self._source.vector()
        stated: dict[str, dict[Author, Position]] = {}
        for partition, authors in positions.items():
            held = own.get(partition, {})
            for author, position in authors.items():
                if (partition, author) in self._forked:
                    continue
                ours = held.get(author)
                same = ours is not None and ours.sequence == position.sequence
                stated.setdefault(partition, {})[author] = ours if ours is not None and same else position
        return stated

    def word(self) -> Acknowledged:
        """All that the peer said that it holds, when its vector has come."""
        forked = frozenset(author for _, author in self._forked)
        return Acknowledged(vector=self.stated(self.known), but_for=forked)

    def forks_to_tell(self) -> list[Fork]:
        """Forks found since the last call, for the peer."""
        told, self._forks_to_tell = self._forks_to_tell, []
        return told

    def covered(self, partition: str) -> bool:
        """Whether our own vector has everything that the peer is known to hold of a partition."""
        own = self._source.vector().get(partition, {})
        return all(
            position.sequence <= (own[author].sequence if author in own else 0)
            for author, position in self.known.get(partition, {}).items()
            if (partition, author) not in self._forked
        )

    def comparable(self, partition: str) -> bool:
        """Whether vectors can be equal once what is sent has arrived: nothing is missing here, nothing is forked."""
        forked = any(name == partition for name, _ in self._forked)
        return not forked and self.covered(partition)

    def prune(self) -> None:
        """Forget what needs no remembering once every run up to our own vector was considered for sending."""
        own = self._source.vector()
        needed: dict[str, dict[Author, Position]] = {}
        for partition, authors in self.known.items():
            held = own.get(partition, {})
            for author, position in authors.items():
                if author not in held or position.sequence > held[author].sequence:
                    needed.setdefault(partition, {})[author] = position
        self.known = needed

    def _check(self, positions: Vector) -> list[ForkEvent]:
        events: list[ForkEvent] = []
        own = self._source.vector()
        own_authors = self._source.own_authors()
        for partition, authors in list(positions.items()):
            held = own.get(partition, {})
            for author, position in list(authors.items()):
                ours = held.get(author)
                if ours is not None and position.sequence and position.sequence <= ours.sequence:
                    events += self._compare(partition, author, position, ours)
                elif author in own_authors and position.sequence:
                    events.append(OwnAhead(partition=partition, author=author, position=position))
        return events

    def _compare(self, partition: str, author: Author, theirs: Position, ours: Position) -> list[ForkEvent]:
        same = ours.sequence == theirs.sequence
        digest = ours.hash if same else self._source.hash_at(partition, author, theirs.sequence)
        if digest is None or digest[:WIRE_HASH_BYTES] == theirs.hash[:WIRE_HASH_BYTES]:
            return []
        if (partition, author) not in self._forked:
            position = Position(theirs.sequence, digest)
            self._forks_to_tell.append(Fork(partition=partition, author=author, position=position))
        return self._mark(partition, author, theirs)

    def _mark(self, partition: str, author: Author, position: Position) -> list[ForkEvent]:
        if (partition, author) in self._forked:
            return []
        self._forked.add((partition, author))
        self.known.setdefault(partition, {})[author] = _EVERYTHING
        if author in self._source.own_authors():
            return [OwnFork(partition=partition, author=author, position=position)]
        return [ForeignFork(partition=partition, author=author, position=position)]


def _copy(vector: Vector) -> dict[str, dict[Author, Position]]:
    return {partition: dict(authors) for partition, authors in vector.items()}
