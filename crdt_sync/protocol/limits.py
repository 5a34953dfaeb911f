"""Bounds of the wire. Those of entries are constants of the space and live in `core.limits`."""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.core.limits import ENTRY_LIMITS

KIB = 1024
FRAME_BYTES_FLOOR = 4 * KIB
"""Every peer accepts frames of this size; the first flight, sent before anything is negotiated, keeps to it."""
CREDIT_BYTES_FLOOR = 64 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """What one session may cost its replica.

    Frame and credit are told to the peer, rounded down to a power of two; the lower frame of the two sides holds.

    Raises:
        ValueError: a bound below what the protocol needs to work at all.
    """

    frame_bytes_max: int = 1024 * KIB
    """Of one frame on the channel, everything but the seal included; larger packets travel in several."""
    packet_bytes_max: int = ENTRY_LIMITS.entry_bytes_max + 1024 * KIB
    """Of one packet, decompressed and put together again: the largest run and some control messages."""
    batch_bytes_max: int = ENTRY_LIMITS.run_bytes_max + 512
    """Runs, documents or records sent in one message, unless a single one is larger."""
    credit_bytes: int = 4096 * KIB
    """Bulk data that a peer may have sent and this side not yet persisted; one message may overdraw it."""
    rounds_max: int = 3
    """Repairs by content in one session, in one partition."""
    hello_timeout_ms: int = 10_000
    """Until records and vectors are exchanged."""
    messages_max: int = 1024
    """In one packet."""
    eager_vector_bytes_max: int = 1536
    """A vector up to this size goes into the first flight; of a larger one only its hash."""
    eager_records_max: int = 96
    """So many record ids go into the first flight; of more only the hash of all."""
    records_max: int = 100_000
    """Ids of space records in one message."""
    record_bytes_max: int = 64 * KIB
    partitions_max: int = 10_000
    authors_max: int = 100_000
    """Authors in one vector."""
    statuses_max: int = 1024
    """Statuses in one acknowledgement."""
    text_chars_max: int = 200
    """Of an error's or a status's text."""
    listing_page_keys: int = 2_000
    want_page_keys: int = 500
    differing_keys_max: int = 50_000
    """Differing documents handled in one repair round; the rest waits for the next one."""
    holdings_max: int = 1_024
    """Signed vectors in one message."""
    events_max: int = 10_000
    """Events waiting to be drained."""
    proof_pause_ms_max: int = 1_000
    """Longest pause between two attempts to prove equality while both sides keep changing."""

    def __post_init__(self) -> None:
        if self.frame_bytes_max < FRAME_BYTES_FLOOR or self.credit_bytes < CREDIT_BYTES_FLOOR:
            raise ValueError(f"frames need {FRAME_BYTES_FLOOR} bytes and credit {CREDIT_BYTES_FLOOR} at the least")
        if self.packet_bytes_max < ENTRY_LIMITS.entry_bytes_max + 64 * KIB:
            raise ValueError("a packet must have room for the largest entry of the space")
        if self.eager_vector_bytes_max + 16 * self.eager_records_max > FRAME_BYTES_FLOOR - 512:
            raise ValueError("the first flight must fit into the smallest frame")
        counts = (self.batch_bytes_max, self.rounds_max, self.listing_page_keys, self.want_page_keys, self.events_max)
        if min(counts) < 1:
            raise ValueError("limits are positive")

    @property
    def frame_bytes_log2(self) -> int:
        """What the hello says of the largest frame."""
        return self.frame_bytes_max.bit_length() - 1

    @property
    def credit_bytes_log2(self) -> int:
        """What the hello says of the window."""
        return self.credit_bytes.bit_length() - 1
