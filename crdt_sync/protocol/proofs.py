"""Proof that both sides hold equal content: fingerprints, compared at equal vectors only.

Each side says its fingerprint behind the data that it covers, so the other side passes through the same vector when it
has persisted that data, and compares there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.comparing import SHORT_HASH_BYTES, Fingerprint
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Source
from crdt_sync.protocol.vectors import vector_hash

_SAID_MAX = 4
"""Own fingerprints remembered for each partition, in case the peer answers to one while we have moved on."""
_FIRST_PAUSE_MS = 5
_PATIENT_ATTEMPTS = 40
_LATER_PAUSE_MS = 60_000
"""Pause after so many attempts: most likely the vectors cannot become equal, because an entry was refused."""
_MISSES_MAX = 64
"""A fingerprint that was heard and is no longer wanted here is forgotten after so many vectors that are not its own;
its sender says a newer one if it still wants proof."""


class Comparison(Enum):
    """What comparing two fingerprints showed."""

    NONE = "none"
    EQUAL = "equal"
    DIFFERENT = "different"


@dataclass(slots=True)
class _Partition:
    open: bool = True
    heard: Fingerprint | None = None
    said: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """By short vector hash: the whole vector hash and the fingerprint."""
    round: int = 0
    paused: bool = False
    """A fingerprint is wanted, and only the pause since the last one is in the way."""
    misses: int = 0
    attempts: int = 0
    next_attempt_ms: int = 0
    proven_token: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Outcome of a comparison of one partition."""

    comparison: Comparison
    vector_hash: bytes = b""
    fingerprint: bytes = b""
    token: int = 0


_NOTHING = Proven(comparison=Comparison.NONE)


class Proofs:
    """Fingerprints said, heard and wanted, by partition.

    Invariants:
        1. A fingerprint is said only when it is wanted (the first catch-up, a request of either side) or when the peer
           said one for the vector that we are at; never because of an edit alone.
        2. Fingerprints of different repair rounds are not compared.
        3. For one vector a fingerprint is computed once, until a new request or a repair.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self._partitions: dict[str, _Partition] = {}
        self._busy: dict[str, None] = {}
        """Partitions in which something may have to be said or compared, in order of first mention."""
        self.wanted = True
        """Not every partition is proven yet."""
        self._outbox: deque[Fingerprint] = deque()
        self.token = 0
        """The latest own request."""
        self.peer_token = 0
        """The peer's latest request."""

    def request(self) -> int:
        """Want proofs that are at or after now; returns the request's token."""
        self.token += 1
        self.reopen()
        return self.token

    def receive_request(self, token: int) -> None:
        """The peer wants proofs; raises `PeerError` if its tokens do not grow."""
        if token <= self.peer_token:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "a proof request that was made before")
        self.peer_token = token
        self.reopen()

    def receive(self, fingerprint: Fingerprint) -> None:
        """The peer says what it holds."""
        if fingerprint.token > self.token:
            raise PeerError(ErrorCode.UNEXPECTED_MESSAGE, "a proof for a request that was not made")
        if fingerprint.partition not in self._partitions and len(self._partitions) >= self._limits.partitions_max:
            raise PeerError(ErrorCode.TOO_LARGE, "more partitions than a session may have")
        state = self._state(fingerprint.partition)
        if fingerprint.round >= state.round:
            state.heard, state.misses = fingerprint, 0
            self._busy[fingerprint.partition] = None

    def partitions(self) -> tuple[str, ...]:
        """Partitions in which something is to be said or compared."""
        if self.wanted:
            for partition in (*self._source.partitions(), DEFAULT_PARTITION):
                self._state(partition)
        return tuple(self._busy)

    def advance(self, partition: str, *, ready: bool, now_ms: int) -> Proven:
        """Say and compare what can be now.

        ``ready``: everything this side has is sent, and everything the peer is known to hold is here.
        """
        state = self._state(partition)
        heard = state.heard if state.heard is not None and state.heard.round == state.round else None
        want = state.open and ready
        state.paused = False
        if heard is None and not want:
            self._rest(partition, state)
            return _NOTHING
        if heard is None or heard.vector_hash not in state.said:
            held = self._source.vector().get(partition, {})
            full = vector_hash(held, horizon=self._source.horizon(partition))
            short = full[:SHORT_HASH_BYTES]
            met = heard is not None and heard.vector_hash == short
            if short not in state.said and (met or want):
                state.paused = not met and now_ms < state.next_attempt_ms
                if not state.paused:
                    self._say(partition, state, full, now_ms)
        outcome = _NOTHING if heard is None else self._compare(state, heard)
        self._rest(partition, state)
        return outcome

    def reconsider_ms(self) -> int | None:
        """When `advance` has more to say, if only a pause is in the way."""
        states = (self._partitions[name] for name in self._busy)
        return min((state.next_attempt_ms for state in states if state.paused), default=None)

    def all_proven(self, partitions: set[str]) -> bool:
        """Whether every one of these partitions was proven equal since the latest own request."""
        return all(
            name in self._partitions and self._partitions[name].proven_token >= self.token for name in partitions
        )

    def next_round(self, partition: str) -> int:
        """Begin another repair; returns its number, from 1. Raises `PeerError` if there were too many."""
        state = self._state(partition)
        if state.round >= self._limits.rounds_max:
            raise PeerError(ErrorCode.NOT_CONVERGING, "fingerprints differ after every allowed repair")
        return state.round + 1

    def repaired(self, partition: str, round_: int) -> None:
        """A repair is finished; fingerprints are compared again."""
        state = self._state(partition)
        self._busy[partition] = None
        if round_ != state.round + 1:
            raise LocalProtocolError(f"repair {state.round + 1} is under way, not {round_}")
        state.round = round_
        state.open, state.attempts, state.next_attempt_ms = True, 0, 0
        state.said.clear()
        if state.heard is not None and state.heard.round < round_:
            state.heard = None

    def next_fingerprint(self) -> Fingerprint | None:
        """A fingerprint to send, behind all runs."""
        return self._outbox.popleft() if self._outbox else None

    def _state(self, partition: str) -> _Partition:
        state = self._partitions.get(partition)
        if state is None:
            state = self._partitions[partition] = _Partition()
            self._busy[partition] = None
        return state

    def reopen(self) -> None:
        """Compare everything anew."""
        self.wanted = True
        self._busy.update(dict.fromkeys(self._partitions))
        for state in self._partitions.values():
            state.open, state.attempts, state.next_attempt_ms = True, 0, 0
            state.said.clear()

    def _rest(self, partition: str, state: _Partition) -> None:
        if state.heard is not None and not state.open:
            state.misses += 1
            if state.misses > _MISSES_MAX:
                state.heard = None
        if state.heard is None and not state.open:
            self._busy.pop(partition, None)

    def _say(self, partition: str, state: _Partition, full: bytes, now_ms: int) -> None:
        short, fingerprint = full[:SHORT_HASH_BYTES], self._source.fingerprint(partition)
        if len(state.said) >= _SAID_MAX:
            del state.said[next(iter(state.said))]
        state.said[short] = (full, fingerprint)
        longest_ms = self._limits.proof_pause_ms_max if state.attempts < _PATIENT_ATTEMPTS else _LATER_PAUSE_MS
        pause_ms = min(_FIRST_PAUSE_MS << min(state.attempts, 16), longest_ms)
        state.attempts += 1
        state.next_attempt_ms = now_ms + pause_ms
        self._outbox.append(
            Fingerprint(
                partition=partition,
                vector_hash=short,
                fingerprint=fingerprint,
                round=state.round,
                token=self.peer_token,
            )
        )

    def _compare(self, state: _Partition, heard: Fingerprint) -> Proven:
        said = state.said.get(heard.vector_hash)
        if said is None:
            return _NOTHING
        state.heard = None
        if said[1] != heard.fingerprint:
            return Proven(comparison=Comparison.DIFFERENT, vector_hash=said[0], token=heard.token)
        state.proven_token = max(state.proven_token, heard.token)
        if heard.token >= self.token:
            state.open, state.attempts = False, 0
        return Proven(comparison=Comparison.EQUAL, vector_hash=said[0], fingerprint=said[1], token=heard.token)
