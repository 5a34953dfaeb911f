"""When a session tells its peer signed durable vectors, and which."""

from __future__ import annotations

from dataclasses import dataclass, field

from crdt_sync.protocol.durable import Holdings, decode_durable
from crdt_sync.protocol.events import HoldingsReceived
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Source

INTERVAL_MS = 60_000
"""In a session that stays open, vectors are told at most so often; and whenever fingerprints are."""


@dataclass(slots=True)
class Telling:
    """Which signed vectors the peer of one session knows, and when it is told more.

    Args:
        source: gives them.
        peer: the peer's public key.
        told_ms: when the peer was told last; at first, when the session began.
    """

    source: Source
    peer: bytes
    told_ms: int
    known: dict[bytes, int] = field(init=False)
    """Public key → stamp of the vector that the peer knows."""

    def __post_init__(self) -> None:
        self.known = dict(self.source.holdings_known(self.peer))

    def next_message(self, *, now_ms: int) -> Holdings | None:
        """What the peer does not know yet."""
        self.told_ms = now_ms
        vectors = self.source.holdings(self.known)
        self.known.update({vector.public_key: vector.stamp for vector in vectors})
        return Holdings(vectors=tuple([vector.encode() for vector in vectors])) if vectors else None

    def receive(self, message: Holdings, limits: WireLimits) -> HoldingsReceived:
        """The peer tells what it knows; raises `PeerError`."""
        vectors = tuple([decode_durable(data, limits) for data in message.vectors])
        for vector in vectors[: max(0, limits.authors_max - len(self.known))]:
            self.known[vector.public_key] = max(vector.stamp, self.known.get(vector.public_key, 0))
        return HoldingsReceived(vectors=vectors)

    def is_due(self, now_ms: int) -> bool:
        """Whether so much time is over that the peer is told without a fingerprint."""
        return now_ms - self.told_ms >= INTERVAL_MS
