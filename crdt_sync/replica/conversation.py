"""One channel's whole conversation without I/O: handshake, then session, with the replica behind it.

Shells (asyncio, blocking, the test kit) only move bytes. The order that they must keep is: feed what came, send what
`data_to_send` gives, then `publish`; so that what was received is durable, then acknowledged, then shown. `publish` may
be called amid the sending too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import assert_never

from crdt_sync.core.logs import told
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import EntryError, LocalProtocolError, StoreError
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
    HoldingsReceived,
    OwnAhead,
    OwnFork,
    PeerReady,
    ProvenEqual,
    Received,
    RecordsReceived,
    RunsReceived,
    SnapshotReceived,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.source import EntryStatus
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.ending import LOST, PERMANENT_CODES, STORE_RETRY_AFTER_S, End
from crdt_sync.replica.news import News, Progress
from crdt_sync.replica.port import Port
from crdt_sync.replica.report import Traffic
from crdt_sync.security.channel import KEY_BYTES
from crdt_sync.security.handshake import Handshake

log = logging.getLogger("crdt_sync.sync")

Admit = Callable[[PeerIdentity], str | None]
"""Why a proven peer may not come in, or None where it may."""

TICK_S, TICK_S_MIN = 1.0, 0.001


def _admit_all(peer: PeerIdentity) -> str | None:
    del peer
    return None


class Conversation:
    """Handshake and session of one channel.

    Invariants:
        1. `receive` never raises for what a peer sends; the end is in `end`.
        2. Every call raises what the store raises (a full disk, say). The conversation is over then, and `data_to_send`
           still gives the message that says so; what was not durable by then is never acknowledged.

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
        self._admit, self._limits = admit, limits
        self._handshake = Handshake(initiator=initiator, key=port.key, space=port.space, secret=port.entropy(KEY_BYTES))
        self._out: list[bytes] = list(self._handshake.start())
        self._held, self._released = News(), News()
        self._progress = Progress()
        self._lost = False
        self.session: Session | None = None
        self.end: End | None = None
        self.steps = 0
        """Grows with each step forward: a phase begun, data taken in, data of ours acknowledged, a proof."""
        self.traffic = Traffic()
        self._doubts, self._awaited, self._peer_epoch = False, port.awaited(), b""
        self.obstacle = ""
        """What keeps both sides from being proven equal, as far as it is known; to be put behind an error's text."""
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
            LocalProtocolError: there is no session yet.
        """
        if self.session is None:
            raise LocalProtocolError("there is no session yet")
        return self.session.request_proof()

    def receive(self, data: bytes) -> None:
        """Take one message of the channel."""
        if self.end is not None:
            return
        for counted in (self.traffic, self._port.totals):
            counted.came(data)
        with self._ending_on_failure():
            if self.session is None:
                self._shake(data)
            elif (frame := self._handshake.channel.open(data)) is None:
                self.session.close(ErrorCode.ALTERED, "a message was changed, lost, repeated or put in on the way")
            else:
                self.session.receive(frame)
            self._handle_events()

    def data_to_send(self) -> list[bytes]:
        """The next messages for the channel; call it until it returns nothing."""
        if self._lost:
            return []
        frames, self._out = self._out, []
        if not frames and self.session is not None:
            with self._ending_on_failure():
                frames = self.session.data_to_send()
                self._handle_events()
            frames = [self._handshake.channel.seal(frame) for frame in frames]
            if not self.session.owes_acknowledgement:
                self._release()
        self.traffic.entries_out = 0 if self.session is None else self.session.entries_out
        for counted in (self.traffic, self._port.totals):
            counted.went(frames)
        return frames

    def publish(self) -> None:
        """Tell observers what was received and is acknowledged by the messages given so far; call when they are sent.

        Once the conversation has ended, observers are told the rest too: it is durable all the same.
        """
        if self.end is not None:
            self._release()
        if self._released.changes or self._released.anything:
            changes, self._released = self._released.changes, News()
            self._port.publish(changes)

    def wake(self) -> None:
        """The replica has new commits."""
        if self.session is not None and self.end is None:
            self._awaited.ask(self.session)
            self.session.wake()

    def tick(self) -> None:
        """Time goes on; call it when `next_tick_s` is over, or earlier."""
        if self.session is not None and self.end is None:
            with self._ending_on_failure():
                self.session.tick(self._port.now_ms())
                self._handle_events()
            if self._doubts:
                self._port.end_doubt(self.session.peer.device_id, if_late=True)

    @property
    def next_tick_s(self) -> float:
        """How many seconds to wait for the next message at most before calling `tick`."""
        due_ms = None if self.session is None or self.end is not None else self.session.tick_due_ms
        return TICK_S if due_ms is None else min(TICK_S, max(TICK_S_MIN, (due_ms - self._port.now_ms()) / 1000))

    def close(self, code: ErrorCode = ErrorCode.BYE, text: str = "", *, retry_after_s: float | None = None) -> None:
        """End the conversation; `data_to_send` gives one last message."""
        if self.end is not None:
            return
        if self.session is None:
            self._finish(End(code=code.value, text=text, by_peer=False, retry_after_s=retry_after_s))
            return
        self.session.close(code, text, retry_after_s=retry_after_s)
        self._handle_events()

    def lost(self, text: str, *, by_peer: bool = True) -> None:
        """The channel is gone: nothing more can be said. Without effect on a conversation that has ended.

        Args:
            text: why.
            by_peer: False where this side let go of it.
        """
        self._lost = True
        if self.end is None:
            self._finish(End(code=LOST, text=text, by_peer=by_peer))

    def _shake(self, data: bytes) -> None:
        self.traffic.handshake_bytes += len(data)
        answers = self._handshake.receive(data)
        self._out += answers
        failed = self._handshake.failed
        if failed is not None:
            error = self._handshake.error()
            self._finish(
                End(
                    code=failed.value,
                    text=error.message,
                    by_peer=self._handshake.failed_by_peer,
                    permanent=bool(self._handshake.shown),
                    handshake=True,
                    shown=self._handshake.shown,
                    hint=error.hint,
                )
            )
        peer = self._handshake.peer
        if failed is not None or peer is None:
            return
        self.traffic.handshake_bytes = self.traffic.bytes_in + self.traffic.bytes_out + sum(map(len, self._out))
        self.steps += 1
        self._held.changes += [*self._port.leave_lost_authors(), *self._port.step_around()]  # mostly done before
        now_ms = self._port.now_ms()
        self.session = Session(
            initiator=self._initiator, peer=peer, source=self._port, limits=self._limits, now_ms=now_ms
        )
        self.obstacle = self._port.obstacle(peer.public_key)
        refusal = self._admit(peer)
        if refusal is not None:
            self.session.close(ErrorCode.REFUSED, refusal)
        elif peer.public_key == self._port.key.public_key:
            self.session.close(ErrorCode.REFUSED, "this is the same device: a replica cannot sync with its own copy")

    def _release(self) -> None:
        """What was received so far is acknowledged, so it may be shown."""
        self._released.changes += self._held.changes
        self._released.anything |= self._held.anything
        self._held = News()

    def _handle_events(self) -> None:
        if self.session is None:
            return
        events = self.session.events()
        while events:
            for at, event in enumerate(events):
                try:
                    self._handle(self.session, event)
                except EntryError as error:
                    self.session.close(ErrorCode.MALFORMED, error.message)
                    self._skip_to_end(events[at + 1 :])
                    break
            events = self.session.events()

    def _skip_to_end(self, events: list[Event]) -> None:
        """Of what came behind something that cannot be taken in, only the end of the session counts."""
        for event in events:
            if isinstance(event, Ended):
                self._ended(event)

    @contextmanager
    def _ending_on_failure(self) -> Iterator[None]:
        """Whatever the replica raises ends the conversation."""
        try:
            yield
        except BaseException as error:
            if self.session is not None:
                after_s = STORE_RETRY_AFTER_S if isinstance(error, StoreError) else None
                self.session.close(ErrorCode.INTERNAL, "the replica could not go on", retry_after_s=after_s)
                self._skip_to_end(self.session.events())
            if self.end is None:
                self._finish(End(code=ErrorCode.INTERNAL.value, text="the replica could not go on", by_peer=False))
            raise

    def _handle(self, session: Session, event: Event) -> None:
        match event:
            case PeerReady():
                self.steps, self._peer_epoch = self.steps + 1, event.hello.epoch
                self.clock_offset_ms = self._port.totals.greeted(event.hello.time_ms - self._port.now_ms())
            case RecordsReceived() | RunsReceived() | DocumentsReceived() | SnapshotReceived() | HoldingsReceived():
                self._take_in(session, event)
            case Acknowledged():
                self.steps += bool(event.vector)
                self._note(event.statuses)
                self._port.acknowledged(session.peer.device_id, event.vector, event.statuses, but_for=event.but_for)
            case OwnFork() | OwnAhead() | ForeignFork() | ContentDiffers():
                self._mend(session, event)
            case ProvenEqual():
                self._progress.fingerprints[event.partition] = event.fingerprint.hex()
            case AllProven():
                self.steps += 1
                self._progress.proven = max(self._progress.proven, event.token or 0)
                self._port.told_holdings(session.peer.public_key, session.told_holdings())
                self._port.equal(session.peer.device_id)
            case Drained():
                pass
            case Ended():
                self._ended(event)
            case _:
                assert_never(event)

    def _take_in(self, session: Session, event: Received) -> None:
        """Hand the replica what the peer sent; durable when it returns."""
        self.steps += 1
        match event:
            case RecordsReceived():
                self._took(session, self._port.accept_records(event.records))
            case RunsReceived():
                self._took(session, self._port.accept_runs(event.runs), number=event.batch)
            case DocumentsReceived():
                self._took(session, self._port.accept_documents(event.partition, event.documents), number=event.batch)
            case SnapshotReceived():
                self._take_snapshot(session, event)
            case HoldingsReceived():
                self._held.anything |= self._port.accept_holdings(event.vectors, sender=session.peer.public_key) > 0
            case _:
                assert_never(event)

    def _take_snapshot(self, session: Session, event: SnapshotReceived) -> None:
        batch = self._port.accept_snapshot(event, session.peer.public_key)
        took_over, batch.restated = batch.restated, False
        self._took(session, batch, number=event.batch)
        if took_over:
            session.took_over()

    def _mend(self, session: Session, event: OwnFork | OwnAhead | ForeignFork | ContentDiffers) -> None:
        """Act on what shows that one of the two pasts was rewound, doubled or damaged."""
        match event:
            case OwnFork() | ForeignFork():
                self._met_branch(session, event)
            case OwnAhead():
                self._port.own_ahead(event.partition, event.author)
            case ContentDiffers():
                told(log, logging.WARNING, "documents differ at equal vectors", documents=len(event.keys))
                self._port.rederive(event.keys)
                session.repaired(event.partition)
            case _:
                assert_never(event)

    def _met_branch(self, session: Session, event: OwnFork | ForeignFork) -> None:
        name, device = (event.partition, event.author), session.peer.device_id
        if isinstance(event, OwnFork) and self._port.own_fork(*name, device=device):
            self._doubts = True
            session.restate()
        self.obstacle = self._port.branch_met(*name, event.position, device=device)

    def _took(self, session: Session, batch: Batch, *, number: int | None = None) -> None:
        if number is not None:
            session.persisted(number, batch.outcome)
        if batch.restated:
            session.restate()
        self._awaited.add(batch.waiting)
        self._awaited.ask(session)
        self.traffic.entries_in += batch.entries
        self._note(batch.outcome.statuses)
        self._held.changes += batch.changes
        self._held.anything |= batch.entries + batch.records > 0

    def _note(self, statuses: tuple[EntryStatus, ...]) -> None:
        self.traffic.statuses += len(statuses)
        for item in statuses:
            self.obstacle = f": entry {item.sequence} of author {item.author} was {item.kind.value} ({item.reason})"

    def _finish(self, end: End) -> None:
        flight = None if self.session is None else self.session.sending.flight
        if self.session is not None and flight is not None and end.fault is not None:
            device, reason = self.session.peer.device_id, end.error().message
            if self._port.ended_at(device, flight, end.fault, reason=reason, epoch=self._peer_epoch):
                end = replace(end, permanent=False)
        self.end = end
        self._port.session_ended(had_begun=self.session is not None)
        if self._doubts and self.session is not None:
            self._doubts = False
            self._port.end_doubt(self.session.peer.device_id)

    def _ended(self, event: Ended) -> None:
        self._finish(
            End(
                code=event.code.value,
                text=event.text,
                by_peer=event.by_peer,
                retry_after_s=event.retry_after_s,
                permanent=event.code in PERMANENT_CODES,
            )
        )
