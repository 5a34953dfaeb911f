"""One replica's side of the exchange with one peer, without I/O: bytes in, events and bytes out."""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from crdt_sync.core.ids import Author
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.protocol.codes import ErrorCode, MessageType, PeerError
from crdt_sync.protocol.comparing import Documents, Fingerprint, Listing, Proof, Want
from crdt_sync.protocol.durable import Holdings
from crdt_sync.protocol.events import Acknowledged, AllProven, Drained, Ended, Event, PeerReady, RecordsReceived
from crdt_sync.protocol.flow import Inflow, Outflow
from crdt_sync.protocol.holdings import RecordExchange
from crdt_sync.protocol.limits import FRAME_BYTES_FLOOR, WireLimits
from crdt_sync.protocol.messages import Ack, Bye, Credit, Error, Fork, Message, Runs, decode_message
from crdt_sync.protocol.opening import Held, HeldDigest, Hello, Records, VectorDigest, VectorMessage
from crdt_sync.protocol.receiving import Receiving
from crdt_sync.protocol.reconciling import Reconciling
from crdt_sync.protocol.sending import Sending
from crdt_sync.protocol.snapshots import Snapshot
from crdt_sync.protocol.source import ApplyOutcome, Source
from crdt_sync.protocol.standing import Standing
from crdt_sync.protocol.states import TRANSITIONS, Phase, Signal, Verdict, verdict
from crdt_sync.protocol.telling import Telling
from crdt_sync.protocol.wire import FrameDecoder, encode_frames, join_message, split_packet

WIRE_VERSIONS = (0,)
_BULK = frozenset(
    {MessageType.RUNS, MessageType.LISTING, MessageType.WANT, MessageType.DOCUMENTS, MessageType.SNAPSHOT}
)
_PACKET_BYTES_ENOUGH = 64 * 1024
"""A packet of this side takes no further message from here on: the first batch need not wait for a second."""
_PACKET_MESSAGES_MAX = 256
"""Messages that this side puts into one packet; a peer may send `WireLimits.messages_max`."""


class Session:
    """The state machine of one channel.

    The host feeds `receive`, drains `events`, sends what `data_to_send` returns until it returns nothing, and does both
    again after every call. It tells what happens on its side: `persisted`, `wake`, `repaired`, `tick`.

    Invariants:
        1. Whatever a peer sends ends in events, at worst in `Ended`; `receive` raises only what the source raises.
        2. Every call changes state; `_next` alone decides what is sent.
        3. Nothing is acknowledged, and nothing stands in a vector or fingerprint, that the source does not hold.
        4. A run goes out once, in the order of the log, and never to the peer it came from.
        5. Records go before the runs that need them, fingerprints behind the runs that they cover. Where `wake` is
           told late a fingerprint may run ahead of runs: it is compared at its own vector only, so it waits for them.

    Args:
        initiator: this side opened the channel; only shown.
        peer: who the handshake proved to be at the other end.
        source: the replica; read inside of every call.
        limits: what the session may cost.
        now_ms: clock of this replica in ms since 1970, told to the peer; later times come with `tick`.
        versions: versions of the wire that this side speaks.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        peer: PeerIdentity,
        source: Source,
        limits: WireLimits | None = None,
        now_ms: int,
        versions: tuple[int, ...] = WIRE_VERSIONS,
    ) -> None:
        self.peer, self.initiator = peer, initiator
        self.state = Phase.HELLO
        self.hello: Hello | None = None
        """The peer's."""
        self._source, self._versions = source, versions
        self._limits = limits = limits or WireLimits()
        self._now_ms = self._began_ms = now_ms
        self._decoder = FrameDecoder(limits)
        self._frame_bytes_max = FRAME_BYTES_FLOOR
        self._records = RecordExchange(source, limits)
        self._standing = Standing(source, limits)
        self._outflow = Outflow()
        self._inflow = Inflow(source, limits, window_bytes=1 << limits.credit_bytes_log2)
        self._events: list[Event] = []
        self._reconciling = Reconciling(source, limits, self._outflow, self._standing, self._events)
        out, look = self._outflow, self._reconciling.look
        self.sending = Sending(source, limits, out, self._standing, public_key=peer.public_key, looked=look)
        self._receiving = Receiving(self._inflow, self._standing, self._reconciling, self.sending.snapshots)
        self._telling = Telling(source, peer.public_key, now_ms)
        self._queue: list[Message] = []
        self._said_all = False  # there was nothing more to send, and nothing has changed since
        self._hello_due, self._drained_told, self._proven_told = True, False, -1
        self._farewell: Message | None = None

    def __repr__(self) -> str:
        side, out, into = "to" if self.initiator else "from", self._outflow, self._inflow
        return (
            f"<session {side} {self.peer.device_id} {self.state.value},"
            f" sent {out.sent} acked {out.acked}, received {into.received} persisted {into.persisted}>"
        )

    @property
    def drained(self) -> bool:
        """Nothing is left to send, and the peer has acknowledged all that was sent."""
        return self._standing.complete and self._outflow.at_end and self._outflow.settled

    @property
    def entries_out(self) -> int:
        """How many entries were sent that the peer was not known to have."""
        return self._outflow.entries

    @property
    def owes_acknowledgement(self) -> bool:
        """Something is persisted whose acknowledgement `data_to_send` has not given yet."""
        return self._inflow.owes_acknowledgement or any(isinstance(message, Ack) for message in self._queue)

    def receive(self, data: bytes) -> None:
        """Take one frame from the channel. Never raises for what a peer sends."""
        if self.state is Phase.ENDED:
            return
        try:
            packet = self._decoder.feed(data)
            if packet is None:
                return
            for kind, payload in split_packet(packet, self._limits):
                message = decode_message(kind, payload, self._limits)
                if message is not None:
                    self._take(message, len(payload))
        except PeerError as fault:
            self._fail(fault)
        self._progress()

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        drained = self._events.copy()
        self._events.clear()
        return drained

    def data_to_send(self) -> list[bytes]:
        """The next frames for the channel: one packet, about a batch at most. Call it until it returns nothing."""
        if self._said_all:
            return []
        parts, size, message = list[bytes](), 0, None
        try:
            while size < _PACKET_BYTES_ENOUGH and len(parts) < _PACKET_MESSAGES_MAX:
                message = self._next()
                if message is None:
                    break
                payload = message.payload()
                if message.TYPE in _BULK:
                    self._outflow.spend(len(payload))
                parts.append(join_message(message.TYPE, payload))
                size += len(parts[-1])
        except PeerError as fault:
            self._fail(fault)
            return self.data_to_send()
        self._progress()
        self._said_all = message is None and not self._events
        return encode_frames(b"".join(parts), frame_bytes_max=self._frame_bytes_max) if parts else []

    def tick(self, now_ms: int) -> None:
        """Time goes on. Call it about as often as `tick_due_ms` says, or once a second."""
        due_ms, same_second = self.tick_due_ms, now_ms // 1000 == self._now_ms // 1000
        self._now_ms = now_ms
        if self._said_all and same_second and (due_ms is None or now_ms < due_ms):
            return  # pauses of which `tick_due_ms` does not tell are over with a second
        opening = self.state in (Phase.HELLO, Phase.RECORDS, Phase.VECTORS)
        if opening and now_ms - self._began_ms > self._limits.hello_timeout_ms:
            self._fail(PeerError(ErrorCode.TIMEOUT, "records and vectors were not exchanged in time"))
        self._reconciling.tick()
        self._progress()

    @property
    def tick_due_ms(self) -> int | None:
        """When `tick` would change something, if only time is in the way."""
        if self.state in (Phase.HELLO, Phase.RECORDS, Phase.VECTORS):
            return self._began_ms + self._limits.hello_timeout_ms + 1
        return self._reconciling.due_ms() if self.state is not Phase.ENDED else None

    def wake(self) -> None:
        """The source has new commits or records that did not come from this session."""
        self._said_all = False
        self._records.wake()
        self.sending.wake()
        self._reconciling.look()

    def persisted(self, batch: int, outcome: ApplyOutcome | None = None) -> None:
        """A batch of `RunsReceived` or `DocumentsReceived` is durable; only then is it acknowledged.

        Raises:
            LocalProtocolError: batches out of order.
        """
        if self.state is Phase.ENDED:
            return
        self._inflow.persist(batch, outcome.statuses if outcome is not None else ())
        self._reconciling.persisted(batch, outcome)
        self._progress()

    def restate(self) -> None:
        """Our own vector was changed otherwise than by growing: tell it again; the peer plans anew."""
        self._said_all = False
        self._standing.restate()
        self._inflow.ask_again(())
        self._reconciling.reopen()

    def ask_again(self, chains: Collection[tuple[str, Author]]) -> None:
        """What was parked of these can be taken in by now: the peer sends it again."""
        self._said_all = False
        if not self._standing.restate_due:
            self._inflow.ask_again(chains)

    def took_over(self) -> None:
        """A snapshot is taken over: tell our new vector, and send again what the peer put aside."""
        self.restate()
        self._outflow.restart()

    def told_holdings(self) -> dict[bytes, int]:
        """Which signed vectors the peer knows: public key → stamp."""
        return self._telling.known

    def repaired(self, partition: str) -> None:
        """The documents of `ContentDiffers` are derived anew and durable; what still differs is fetched.

        Raises:
            LocalProtocolError: this partition is not waiting for it.
        """
        if self.state is not Phase.ENDED:
            self._reconciling.derived(partition)
            self._progress()

    def request_proof(self) -> int:
        """Want proof that both sides are equal at or after now; `AllProven` with this token, or a later one, is it."""
        token = self._reconciling.request()
        self._said_all = False
        self._queue = [*(message for message in self._queue if not isinstance(message, Proof)), Proof(token=token)]
        return token

    def close(self, code: ErrorCode = ErrorCode.BYE, text: str = "", *, retry_after_s: float | None = None) -> None:
        """End the session; `data_to_send` gives one last packet."""
        self._end(code, text, retry_after_s=retry_after_s, by_peer=False)

    def _next(self) -> Message | None:
        """The next message to send: the one place where that is decided."""
        if self.state is Phase.ENDED:
            farewell, self._farewell = self._farewell, None
            return farewell
        if self._hello_due:
            self._hello_due = False
            return Hello.of(self._source, self._limits, self._versions, now_ms=self._now_ms)
        opening = self._records.statement() or self._standing.statement() or self._records.next_message()
        if opening is not None or self.state in (Phase.HELLO, Phase.RECORDS, Phase.VECTORS):
            return opening
        if not self._queue:
            self._queue += [*self._inflow.acks(), *self._standing.forks_to_tell()]
        if self._queue:
            return self._queue.pop(0)
        sending, comparing, now_ms = self.sending, self._reconciling, self._now_ms
        bulk = self._inflow.credit() or sending.next_message(now_ms=now_ms, owes_answer=comparing.owes_answer)
        self._drained_told &= not isinstance(bulk, Runs)
        return bulk or self._attested(comparing.next_message(now_ms=now_ms, may_answer=not sending.is_trying))

    def _attested(self, message: Message | None) -> Message | None:
        """Signed vectors go ahead of the fingerprint that stands for them, and now and then while nothing is said."""
        is_due = isinstance(message, Fingerprint) or (message is None and self._telling.is_due(self._now_ms))
        holdings = self._telling.next_message(now_ms=self._now_ms) if is_due else None
        if holdings is not None and message is not None:
            self._queue.append(message)
        return message if holdings is None else holdings

    def _take(self, message: Message, size_bytes: int) -> None:
        """Change state by one message of the peer; raises `PeerError`."""
        allowed = verdict(self.state, message.TYPE)
        if allowed is Verdict.REFUSE:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, f"{message.TYPE.name} in phase {self.state.value}")
        if allowed is Verdict.DROP:
            return
        if message.TYPE in _BULK:
            self._inflow.receive_bulk(size_bytes)
        match message:
            case Hello() | Held() | HeldDigest() | Records() | VectorMessage() | VectorDigest():
                self._take_opening(message)
            case Runs() | Documents() | Snapshot():
                self._events.append(self._receiving.receive(message, size_bytes))
            case Holdings():
                self._events.append(self._telling.receive(message, self._limits))
            case Ack() | Credit():
                self._take_return(message)
            case Fork():
                self._events += self._standing.receive_fork(message)
            case Fingerprint() | Proof() | Want() | Listing():
                self._reconciling.receive(message)
                self._inflow.release(size_bytes if message.TYPE in _BULK else 0)
            case Error() | Bye():
                self._take_end(message)
            case _:
                assert_never(message)
        if len(self._events) > self._limits.events_max:
            raise PeerError(ErrorCode.OVERLOADED, "more events than the host drains")

    def _take_opening(self, message: Hello | Held | HeldDigest | Records | VectorMessage | VectorDigest) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Held():
                self._records.receive_held(message)
            case HeldDigest():
                self._records.receive_digest(message.digest)
            case Records():
                self._records.receive_records(message.records)
                self._events.append(RecordsReceived(records=message.records))
            case VectorDigest():
                self._standing.receive_digest(message.digest)
                self._tell_peer_vector()
            case VectorMessage():
                self._events += self._standing.receive_vector(message.vector)
                self.sending.plan()
                self._reconciling.reopen()
                self._tell_peer_vector()
            case _:
                assert_never(message)
        if self.state is Phase.RECORDS and self._records.settled:
            self._signal(Signal.RECORDS_SETTLED)
        if self.state is Phase.VECTORS and self._standing.complete:
            self._signal(Signal.VECTORS_KNOWN)

    def _take_end(self, message: Error | Bye) -> None:
        if isinstance(message, Bye):
            self._end(ErrorCode.BYE, "", retry_after_s=None, by_peer=True)
        else:
            retry_after_s = message.retry_after_ms / 1000 if message.retry_after_ms else None
            self._end(message.code, message.text, retry_after_s=retry_after_s, by_peer=True)

    def _greet(self, hello: Hello) -> None:
        self._frame_bytes_max = hello.agree(self._limits, self._versions)
        self.hello = hello
        self._outflow.open(1 << hello.credit_bytes_log2)
        self._events.append(PeerReady(hello=hello))
        self._signal(Signal.GREETED)

    def _take_return(self, message: Ack | Credit) -> None:
        if isinstance(message, Credit):
            self._outflow.receive_credit(message.amount)
            return
        is_again = message.batch == self._outflow.acked
        heads = self._outflow.receive_ack(message.batch)
        vector = self._standing.brought(heads, but_for=message.corrections)
        self._events += self._standing.receive_positions(message.corrections)
        if is_again:
            self.sending.ask_again(message.corrections)
        for partition, authors in self._standing.stated(message.corrections).items():
            vector.setdefault(partition, {}).update(authors)
        self._events.append(Acknowledged(vector=vector, statuses=message.statuses))
        self._reconciling.look()

    def _tell_peer_vector(self) -> None:
        if self._standing.complete:
            self._events.append(self._standing.word())

    def _progress(self) -> None:
        """Move on by what the last call changed."""
        self._said_all = False
        if self.state in (Phase.HELLO, Phase.RECORDS, Phase.VECTORS, Phase.ENDED):
            return
        try:
            if self._outflow.at_end:
                self._reconciling.prove(now_ms=self._now_ms)
        except PeerError as fault:
            self._fail(fault)
            return
        if self.drained and not self._drained_told:
            self._drained_told = True
            self._events.append(Drained())
        if self.state is Phase.STREAMING and self.drained and self._reconciling.covered():
            self._signal(Signal.CAUGHT_UP)
        proofs = self._reconciling.proofs
        if self.state is Phase.STREAMING or self._proven_told >= proofs.token or not self._reconciling.all_proven():
            return
        self._proven_told, proofs.wanted = proofs.token, False
        if self.state is Phase.FINGERPRINTS:
            self._signal(Signal.PROVEN)
        self._events.append(AllProven(token=proofs.token or None))

    def _signal(self, signal: Signal) -> None:
        self.state, self._said_all = TRANSITIONS[self.state, signal], False

    def _fail(self, fault: PeerError) -> None:
        self._end(fault.error_code, fault.message, retry_after_s=fault.retry_after_s, by_peer=False)

    def _end(self, code: ErrorCode, text: str, *, retry_after_s: float | None, by_peer: bool) -> None:
        if self.state is Phase.ENDED:
            return
        self._signal(Signal.OVER)
        text = text[: self._limits.text_chars_max]
        if not by_peer and code is ErrorCode.BYE:
            self._farewell = Bye()
        elif not by_peer:
            retry_after_ms = min(2**32, int((retry_after_s or 0) * 1000))
            self._farewell = Error(code=code, text=text, retry_after_ms=retry_after_ms)
        self._events.append(Ended(code=code, text=text, retry_after_s=retry_after_s, by_peer=by_peer))
