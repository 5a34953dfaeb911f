"""Every message of a session: its type number, its fields, and how they are packed.

`Hello` is fixed bytes, so that any later version can read it; id lists are plain bytes; all others are one msgpack
array. Types from 0x80 on are optional: who does not know one skips it. An unknown type below ends the session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from crdt_sync.core.entry import SEQUENCE_MAX, ChainHash
from crdt_sync.core.ids import Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.protocol.codes import NUMBER_OF, ErrorCode, MessageType, PeerError, code_of
from crdt_sync.protocol.comparing import Documents, Fingerprint, Listing, Proof, Want
from crdt_sync.protocol.durable import Holdings
from crdt_sync.protocol.fields import COUNT_MAX, author_number, boolean, exactly, integer, one_count, sized, text_line
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.opening import Held, HeldDigest, Hello, Records, VectorDigest, VectorMessage
from crdt_sync.protocol.snapshots import Snapshot
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Position, check_partition, flatten_vector, restore_vector
from crdt_sync.protocol.wire import join_message, pack, unpack

OPTIONAL = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """A batch of runs. Batches of runs and documents count together from 1, without a number on the wire."""

    TYPE: ClassVar = MessageType.RUNS
    runs: tuple[bytes, ...]

    def payload(self) -> bytes:
        return pack(self.runs)

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Runs:
        runs = unpack(payload, items_max=ENTRY_LIMITS.run_bytes_max)
        if not runs or any(type(run) is not bytes for run in runs):
            raise PeerError(ErrorCode.MALFORMED, "a batch that holds something else than runs")
        return cls(runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """All batches up to ``batch`` are durable.

    The sender of the batches takes every run in them for held, except what ``corrections`` says of an author.
    """

    TYPE: ClassVar = MessageType.ACK
    batch: int
    corrections: dict[str, dict[Author, Position]]
    statuses: tuple[EntryStatus, ...]

    def payload(self) -> bytes:
        items: list[Any] = [self.batch]
        if self.corrections or self.statuses:
            items += [flatten_vector(self.corrections), [_pack_status(status) for status in self.statuses]]
        return pack(items)

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Ack:
        items = unpack(payload, items_max=max(2 * limits.partitions_max, limits.statuses_max))
        batch, corrections, statuses = (*items, (), ()) if len(items) == 1 else exactly(items, 3)
        if type(corrections) is not tuple or type(statuses) is not tuple:
            raise PeerError(ErrorCode.MALFORMED, "an acknowledgement of the wrong shape")
        if len(statuses) > limits.statuses_max:
            raise PeerError(ErrorCode.TOO_LARGE, "more statuses than allowed")
        return cls(
            batch=integer(batch, COUNT_MAX),
            corrections=restore_vector(corrections, limits),
            statuses=tuple(_read_status(status, limits) for status in statuses),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """So many bytes of bulk data more may be sent."""

    TYPE: ClassVar = MessageType.CREDIT
    amount: int

    def payload(self) -> bytes:
        return pack((self.amount,))

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Credit:
        return cls(amount=one_count(payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """The sender's chain hash (16 bytes of it) where the receiver stated another one."""

    TYPE: ClassVar = MessageType.FORK
    partition: str
    author: Author
    position: Position

    def payload(self) -> bytes:
        return pack((self.partition, self.author, self.position.sequence, self.position.hash[:WIRE_HASH_BYTES]))

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Fork:
        partition, author, sequence, digest = exactly(unpack(payload, items_max=4), 4)
        position = Position(integer(sequence, SEQUENCE_MAX, least=1), ChainHash(sized(digest, WIRE_HASH_BYTES)))
        return cls(partition=check_partition(partition), author=author_number(author), position=position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """The sender ends the session because of this."""

    TYPE: ClassVar = MessageType.ERROR
    code: ErrorCode
    text: str
    retry_after_ms: int

    def payload(self) -> bytes:
        return pack((NUMBER_OF[self.code], self.text, self.retry_after_ms))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Error:
        number, text, retry_after_ms = exactly(unpack(payload, items_max=3), 3)
        code = code_of(integer(number, COUNT_MAX))
        return cls(code=code, text=text_line(text, limits), retry_after_ms=integer(retry_after_ms, 2**32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """The sender ends the session as intended."""

    TYPE: ClassVar = MessageType.BYE

    def payload(self) -> bytes:
        return b""

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Bye:
        sized(payload, 0)
        return cls()


Message = (
    Hello
    | Held
    | HeldDigest
    | Records
    | VectorMessage
    | VectorDigest
    | Runs
    | Ack
    | Credit
    | Fork
    | Fingerprint
    | Proof
    | Listing
    | Want
    | Documents
    | Snapshot
    | Holdings
    | Error
    | Bye
)

_READERS: dict[int, Callable[[bytes, WireLimits], Message]] = {
    kind.TYPE: kind.read
    for kind in (
        Hello,
        Held,
        HeldDigest,
        Records,
        VectorMessage,
        VectorDigest,
        Runs,
        Ack,
        Credit,
        Fork,
        Fingerprint,
        Proof,
        Listing,
        Want,
        Documents,
        Snapshot,
        Holdings,
        Error,
        Bye,
    )
}


def encode_message(message: Message) -> bytes:
    """A message as it stands in a packet."""
    return join_message(message.TYPE, message.payload())


def decode_message(kind: int, payload: bytes, limits: WireLimits) -> Message | None:
    """Read a message; None for an optional one of a type that this version does not know.

    Raises:
        PeerError: an unknown required type, or a payload of the wrong shape or size.
    """
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(payload, limits)
    if kind & OPTIONAL:
        return None
    raise PeerError(ErrorCode.UNKNOWN_MESSAGE, f"message type {kind} is not known here")


def _pack_status(status: EntryStatus) -> tuple[Any, ...]:
    parked = status.kind is StatusKind.PARKED
    return (status.partition, status.author, status.sequence, parked, status.code, status.reason, status.retry)


def _read_status(raw: Any, limits: WireLimits) -> EntryStatus:
    if type(raw) is not tuple:
        raise PeerError(ErrorCode.MALFORMED, "a status of the wrong shape")
    partition, author, sequence, parked, code, reason, retry = exactly(raw, 7)
    return EntryStatus(
        partition=check_partition(partition),
        author=author_number(author),
        sequence=integer(sequence, SEQUENCE_MAX),
        kind=StatusKind.PARKED if boolean(parked) else StatusKind.REFUSED,
        code=text_line(code, limits),
        reason=text_line(reason, limits),
        retry=boolean(retry),
    )
