"""One blocking round against a peer in this thread, whose every message and silence the test decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest

from crdt_sync import Change, Replica, reconcile
from crdt_sync.errors import SyncError, SyncTimeoutError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, StatusKind
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.conversation import TICK_S, Conversation
from crdt_sync.transport.base import ChannelLimits, CloseCode, channel_closed
from tests.unit.aio.network import Task, memory

MODULE = import_module("crdt_sync.blocking.reconcile")
"""The package gives its function the same name."""

URL = "ws://127.0.0.1:9"


@dataclass
class Direct:
    """A `BlockingChannel` with the peer's conversation at its other end; waiting takes no time."""

    peer: Conversation
    remote: str = "direct"
    closed: bool = False
    lost: bool = False
    """Nothing can be sent any more; what the peer said before can be read."""
    waited_s: list[float] = field(default_factory=list)
    said: deque[bytes] = field(default_factory=deque)
    before_send: Callable[[], None] = lambda: None
    before_silence: Callable[[], None] = lambda: None
    silent: Callable[[], bool] = lambda: False

    def send(self, data: bytes) -> None:
        self.before_send()
        if self.lost:
            raise channel_closed(code=CloseCode.LOST, remote=self.remote)
        self.peer.receive(data)
        self.listen()

    def listen(self) -> None:
        """Take what the peer has to say."""
        while frames := self.peer.data_to_send():
            if not self.silent():
                self.said.extend(frames)

    def receive(self, *, timeout_s: float) -> bytes:
        self.waited_s.append(timeout_s)
        self.listen()
        if self.said:
            return self.said.popleft()
        if self.lost:
            raise channel_closed(code=CloseCode.LOST, remote=self.remote)
        self.before_silence()
        raise SyncTimeoutError("nothing came")

    def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        self.closed = True


@pytest.fixture
def one() -> Iterator[Replica]:
    with memory() as replica:
        yield replica


@pytest.fixture
def hub() -> Iterator[Replica]:
    with memory() as replica:
        yield replica


@pytest.fixture
def line(hub: Replica, monkeypatch: pytest.MonkeyPatch) -> Direct:
    made = Direct(Conversation(hub.port, initiator=False))
    monkeypatch.setattr(MODULE, "dial_blocking", lambda url, limits: made)
    return made


def test_a_round_ends_with_a_closed_channel(line: Direct, one: Replica) -> None:
    assert reconcile(one, URL).proven_equal
    assert line.closed


def test_what_is_durable_is_told_though_the_acknowledgement_cannot_be_sent(
    line: Direct, hub: Replica, one: Replica
) -> None:
    hub.create(Task, title="news")
    seen: list[Change] = []
    one.observe(seen.append)
    line.before_send = lambda: setattr(line, "lost", one.count(Task) > 0)
    with pytest.raises(SyncError, match="connection was lost"):
        reconcile(one, URL)
    assert [change.origin for change in seen] == ["remote"]
    assert line.closed


def test_why_the_peer_hung_up_is_read_though_sending_fails(line: Direct, one: Replica) -> None:
    def hang_up() -> None:
        if line.peer.session is not None and not line.lost:
            line.peer.close(ErrorCode.SHUTDOWN, "going down")
            line.listen()
            line.lost = True

    line.before_send = hang_up
    with pytest.raises(SyncError, match="going down"):
        reconcile(one, URL)


def test_a_peer_that_is_silent_after_the_handshake_meets_the_sessions_deadline(
    line: Direct, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms, looked_s = [1_000_000], iter(range(1_000))
    monkeypatch.setattr(one._state, "now_ms", lambda: now_ms[0])
    line.silent = lambda: line.peer.session is not None
    line.before_silence = lambda: now_ms.__setitem__(0, now_ms[0] + 6_000)
    with pytest.raises(SyncError, match="not exchanged in time"):
        reconcile(one, URL, timeout_s=100, monotonic=lambda: float(next(looked_s)))


def test_waiting_is_never_longer_than_until_the_next_tick(line: Direct, one: Replica) -> None:
    looked_s = iter(range(1_000))
    line.silent = lambda: True
    with pytest.raises(SyncTimeoutError):
        reconcile(one, URL, timeout_s=30, monotonic=lambda: float(next(looked_s)))
    assert len(line.waited_s) > 20
    assert max(line.waited_s) <= TICK_S


def test_waiting_in_vain_names_what_is_in_the_way(
    line: Direct, hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.create(Task, title="x")
    identity = one._state.identity
    assert identity is not None
    status = EntryStatus(
        partition="", author=identity.author, sequence=1, kind=StatusKind.PARKED, code="missing_cause", reason="not yet"
    )

    def park(runs: Any) -> Batch:
        return Batch(outcome=ApplyOutcome(statuses=(status,)))

    monkeypatch.setattr(hub.port, "accept_runs", park)
    looked_s = iter(range(1_000))
    with pytest.raises(SyncTimeoutError, match=rf"for 5 s: entry 1 of author {identity.author} was parked \(not yet\)"):
        reconcile(one, URL, timeout_s=5, monotonic=lambda: float(next(looked_s)))


def test_dialling_and_sending_take_no_longer_than_the_caller_waits(
    one: Replica, hub: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ChannelLimits] = []

    def dial(url: str, *, limits: ChannelLimits) -> Direct:
        given.append(limits)
        return Direct(Conversation(hub.port, initiator=False))

    monkeypatch.setattr(MODULE, "dial_blocking", dial)
    reconcile(one, URL, timeout_s=0.5)
    assert (given[0].open_timeout_s, given[0].idle_timeout_s) == (0.5, 0.5)
