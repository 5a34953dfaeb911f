"""One channel's whole conversation without I/O: handshake, then session, with the replica behind it.

Shells (asyncio, blocking, the test kit) only move bytes. The order that they must keep is: feed what came, send what
`data_to_send` gives, then `publish`; so that what was received is durable, then acknowledged, then shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import (
    AdmissionError,
    CRDTSyncError,
    EntryError,
    HandshakeError,
    RemoteProtocolError,
    SyncError,
)
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.events import (
    Acknowledged,
    AllProven,
    ContentDiffers,
    DocumentsReceived,
    Drained,
    Ended,
    Event,
    ForeignFork,
    OwnAhead,
    OwnFork,
    PeerReady,
    ProvenEqual,
    RecordsReceived,
    RunsReceived,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.session import Session
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.port import Port
from crdt_sync.replica.state import Change
from crdt_sync.security.handshake import NONCE_BYTES, Handshake

log = logging.getLogger("crdt_sync.sync")

Admit = Callable[[PeerIdentity], str | None]
"""Why a proven peer may not come in, or None where it may."""

PERMANENT_CODES = frozenset(
    (
        ErrorCode.MALFORMED,
        ErrorCode.TOO_LARGE,
        ErrorCode.UNKNOWN_MESSAGE,
        ErrorCode.UNEXPECTED_MESSAGE,
        ErrorCode.VERSION,
        ErrorCode.LIMITS,
        ErrorCode.REFUSED,
        ErrorCode.REPLACED,
    )
)
"""Codes after which dialling again would end the same way."""


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What one conversation moved, handshake included; frames as the channel carries them."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0
    handshake_bytes: int = 0
    """of both ways"""
    entries_in: int = 0
    """applied from the peer"""
    statuses: int = 0
    """entries that either side did not apply"""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a conversation ended.

    Args:
        code: the session's error code or the handshake's.
        text: for people.
        by_peer: who ended it.
        retry_after_s: when the ending side thinks that trying again makes sense.
        permanent: whether dialling again would end the same way.
    """

    code: str
    text: str
    by_peer: bool
    retry_after_s: float | None = None
    permanent: bool = False

    def error(self) -> SyncError:
        """The end as an error."""
        text = f"the {'peer' if self.by_peer else 'session'} ended with {self.code}: {self.text}".rstrip(": ")
        if self.code == ErrorCode.REFUSED.value:
            return AdmissionError(text)
        return RemoteProtocolError(text, code=self.code, retry_after_s=self.retry_after_s)


def _admit_all(peer: PeerIdentity) -> str | None:
    del peer
    return None


@dataclass(slots=True)
class _Progress:
    asked: int = 0
    proven: int = -1
    fingerprints: dict[str, str] = field(default_factory=dict)


class Conversation:
    """Handshake and session of one channel.

    Invariants:
        1. `receive` never raises for what a peer sends; the end is in `end`.
        2. It raises what the store raises (a full disk, say); the conversation is over then.

    Args:
        port: the replica.
        initiator: whether this side opened the channel.
        admit: judges the peer once it is proven.
        limits: what the session may cost.
    """

    def __init__(
        self, port: Port, *, initiator: bool, admit: Admit = _admit_all, limits: WireLimits | None = None
    ) -> None:
        self._port = port
        self._initiator = initiator
        self._admit = admit
        self._limits = limits
        self._handshake = Handshake(
            initiator=initiator, key=port.key, space=port.space, nonce=port.entropy(NONCE_BYTES)
        )
        self._out: list[bytes] = list(self._handshake.start())
        self._changes: list[Change] = []
        self._news = False
        self._progress = _Progress()
        self.session: Session | None = None
        self.end: End | None = None
        self.traffic = Traffic()
        self.clock_offset_ms = 0
        """The peer's clock minus ours, when it said hello."""

    def __repr__(self) -> str:
        if self.end is not None:
            return f"<conversation ended {self.end.code}>"
        return repr(self.session) if self.session is not None else "<conversation handshake>"

    @property
    def peer(self) -> PeerIdentity | None:
        """Who is at the other end, once it is proven."""
        return None if self.session is None else self.session.peer

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Partition → fingerprint (hex) that both sides were proven to share last."""
        return self._progress.fingerprints

    def proven(self, token: int) -> bool:
        """Whether both sides were proven equal at or after `request_proof` gave ``token``."""
        return self._progress.proven >= token

    def request_proof(self) -> int:
        """Ask for proof that both sides hold the same from now on; returns a token for `proven`.

        Raises:
            HandshakeError: there is no session yet.
        """
        if self.session is None:
            raise HandshakeError("there is no session yet", code="unexpected_message")
        self._progress.asked = self.session.request_proof()
        return self._progress.asked

    def receive(self, data: bytes) -> None:
        """Take one message of the channel."""
        if self.end is not None:
            return
        self.traffic.bytes_in += len(data)
        self.traffic.messages_in += 1
        if self.session is None:
            self._shake(data)
        else:
            self.session.receive(data)
        self._handle_events()

    def data_to_send(self) -> list[bytes]:
        """The next messages for the channel; call it until it returns nothing."""
        frames, self._out = self._out, []
        if not frames and self.session is not None:
            frames = self.session.data_to_send()
            self._handle_events()
        self.traffic.messages_out += len(frames)
        self.traffic.bytes_out += sum(map(len, frames))
        return frames

    def publish(self) -> None:
        """Tell observers what was received, after it was acknowledged."""
        if self._changes or self._news:
            changes, self._changes, self._news = self._changes, [], False
            self._port.publish(changes)

    def wake(self) -> None:
        """The replica has new commits."""
        if self.session is not None and self.end is None:
            self.session.wake()

    def tick(self) -> None:
        """Time goes on; call it about once a second, or when `tick_due_ms` says."""
        if self.session is not None and self.end is None:
            self.session.tick(self._port.now_ms())
            self._handle_events()

    @property
    def tick_due_ms(self) -> int | None:
        """When `tick` would change something."""
        return None if self.session is None else self.session.tick_due_ms

    def close(self, code: ErrorCode = ErrorCode.BYE, text: str = "", *, retry_after_s: float | None = None) -> None:
        """End the conversation; `data_to_send` gives one last message."""
        if self.end is not None:
            return
        if self.session is None:
            self.end = End(code=code.value, text=text, by_peer=False, retry_after_s=retry_after_s)
            return
        self.session.close(code, text, retry_after_s=retry_after_s)
        self._handle_events()

    def _shake(self, data: bytes) -> None:
        self.traffic.handshake_bytes += len(data)
        answers = self._handshake.receive(data)
        self._out += answers
        failed = self._handshake.failed
        if failed is not None:
            error = self._handshake.error()
            by_peer = self._handshake.failed_by_peer
            self.end = End(code=failed.value, text=error.message, by_peer=by_peer, permanent=True)
            return
        peer = self._handshake.peer
        if peer is None:
            return
        self.traffic.handshake_bytes = self.traffic.bytes_in + self.traffic.bytes_out + sum(map(len, self._out))
        self.session = Session(
            initiator=self._initiator,
            peer=peer,
            source=self._port,
            limits=self._limits,
            now_ms=self._port.now_ms(),
        )
        refusal = self._admit(peer)
        if refusal is not None:
            self.session.close(ErrorCode.REFUSED, refusal)
        elif peer.public_key == self._port.key.public_key:
            self.session.close(ErrorCode.REFUSED, "this is the same device: a replica cannot sync with its own copy")

    def _handle_events(self) -> None:
        if self.session is None:
            return
        events = self.session.events()
        while events:
            for event in events:
                try:
                    self._handle(self.session, event)
                except EntryError as error:
                    self.session.close(ErrorCode.MALFORMED, error.message)
                except CRDTSyncError:
                    self.session.close(ErrorCode.INTERNAL, "the replica could not take this in")
                    raise
            events = self.session.events()

    def _handle(self, session: Session, event: Event) -> None:
        match event:
            case PeerReady():
                self.clock_offset_ms = event.hello.time_ms - self._port.now_ms()
            case RecordsReceived() | RunsReceived() | DocumentsReceived():
                self._take_in(session, event)
            case Acknowledged():
                self.traffic.statuses += len(event.statuses)
                self._port.acknowledged(session.peer.device_id, event.vector, event.statuses)
            case OwnFork() | OwnAhead() | ForeignFork() | ContentDiffers():
                self._mend(session, event)
            case ProvenEqual():
                self._progress.fingerprints[event.partition] = self._port.fingerprint(event.partition).hex()
            case AllProven():
                self._progress.proven = max(self._progress.proven, event.token or 0)
            case Drained():
                pass
            case Ended():
                self._ended(event)
            case _:
                assert_never(event)

    def _take_in(self, session: Session, event: RecordsReceived | RunsReceived | DocumentsReceived) -> None:
        """Hand the replica what the peer sent; durable when it returns."""
        match event:
            case RecordsReceived():
                self._news |= self._port.accept_records(event.records) > 0
            case RunsReceived():
                self._took(session, event.batch, self._port.accept_runs(event.runs))
            case DocumentsReceived():
                self._took(session, event.batch, self._port.accept_documents(event.partition, event.documents))
            case _:
                assert_never(event)

    def _mend(self, session: Session, event: OwnFork | OwnAhead | ForeignFork | ContentDiffers) -> None:
        """Act on what shows that one of the two pasts was rewound, doubled or damaged."""
        match event:
            case OwnFork():
                self._port.own_fork(event.partition, event.author)
                session.restate()
            case OwnAhead():
                self._port.own_ahead(event.partition, event.author)
            case ForeignFork():
                log.warning("peer %s holds another branch of author %d", session.peer.device_id, event.author)
            case ContentDiffers():
                log.warning("%d documents differ at equal vectors and are derived anew", len(event.keys))
                self._port.rederive(event.keys)
                session.repaired(event.partition)
            case _:
                assert_never(event)

    def _took(self, session: Session, number: int, batch: Batch) -> None:
        session.persisted(number, batch.outcome)
        if batch.restated:
            session.restate()
        self.traffic.entries_in += batch.entries
        self.traffic.statuses += len(batch.outcome.statuses)
        self._changes += batch.changes
        self._news |= batch.entries > 0 or bool(batch.changes)

    def _ended(self, event: Ended) -> None:
        self.end = End(
            code=event.code.value,
            text=event.text,
            by_peer=event.by_peer,
            retry_after_s=event.retry_after_s,
            permanent=event.code in PERMANENT_CODES,
        )
