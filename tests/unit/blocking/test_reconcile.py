"""reconcile: one blocking round against a hub in another thread, and every way in which it can go wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Change, Replica, reconcile, serve
from crdt_sync.blocking import reconcile as package  # noqa: F401  it is the same name in both places
from crdt_sync.errors import (
    AdmissionError,
    HandshakeError,
    InputError,
    PeerUnreachableError,
    StoreClosedError,
    StoreFullError,
    StoreReadOnlyError,
    SyncError,
    SyncTimeoutError,
    TransactionError,
)
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.transport.base import Channel, ChannelLimits
from crdt_sync.transport.websocket import listen
from tests.unit.aio.network import Line, Task, fill, memory, pump_of, titles, until

PATIENCE_S = 20.0


class Elsewhere:
    """A thread with an event loop, in which a test runs what listens."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(self._call(work), self._loop).result(PATIENCE_S)

    async def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return await work()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    @contextmanager
    def entered(self, make: Callable[[], Any]) -> Iterator[Any]:
        """An async context manager, entered in that thread."""
        manager: list[Any] = []

        async def enter() -> Any:
            made = make()
            manager.append(await made if asyncio.iscoroutine(made) else made)
            return await manager[0].__aenter__()

        value = self.run(enter)
        try:
            yield value
        finally:
            self.run(lambda: manager[0].__aexit__(None, None, None))


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


class Hub:
    """A replica that is served in another thread."""

    def __init__(self, elsewhere: Elsewhere, url: str, replica: Replica) -> None:
        self.url, self.port = url, int(url.rpartition(":")[2])
        self._elsewhere, self.replica = elsewhere, replica

    def do(self, work: Callable[[Replica], Any]) -> Any:
        """Call something with its replica in its thread."""

        async def call() -> Any:
            return work(self.replica)

        return self._elsewhere.run(call)


@pytest.fixture
def hub(elsewhere: Elsewhere) -> Iterator[Hub]:
    async def open_it() -> Replica:
        return memory()

    async def close_it() -> None:
        replica.close()

    replica = elsewhere.run(open_it)
    with elsewhere.entered(lambda: serve(replica)) as server:
        yield Hub(elsewhere, server.url, replica)
    elsewhere.run(close_it)


@pytest.fixture
def one() -> Iterator[Replica]:
    with memory() as replica:
        yield replica


@contextmanager
def listening(elsewhere: Elsewhere, handler: Callable[[Channel], Awaitable[None]]) -> Iterator[str]:
    with elsewhere.entered(lambda: listen(handler)) as listener:
        yield listener.url


def test_one_round_syncs_both_ways_and_says_what_it_did(hub: Hub, one: Replica) -> None:
    hub.do(lambda replica: replica.create(Task, title="theirs"))
    one.create(Task, title="mine")
    report = reconcile(one, hub.url)
    assert titles(one) == hub.do(titles) == {"mine", "theirs"}
    assert (report.url, report.proven_equal, report.completed) == (hub.url, True, 1)
    assert (report.traffic.entries_in, report.traffic.entries_out) == (1, 1)
    assert dict(report.fingerprints) == {"": one.port.fingerprint("").hex()}
    assert 0 < report.traffic.handshake_bytes < report.traffic.bytes_in + report.traffic.bytes_out
    again = reconcile(one, hub.url)
    assert again.proven_equal
    assert (again.completed, again.traffic.entries_in) == (0, 0)


def test_large_values_go_both_ways_over_a_channel_for_small_messages(hub: Hub, one: Replica) -> None:
    hub.do(lambda replica: fill(replica, 1, name="theirs", size=200_000))
    fill(one, 2, name="mine", size=200_000)
    assert reconcile(one, hub.url, limits=ChannelLimits(message_bytes_max=70_000)).proven_equal
    assert titles(one) == hub.do(titles) == {"theirs 0", "mine 0", "mine 1"}


def test_observers_are_told_and_may_write(hub: Hub, one: Replica) -> None:
    seen: list[Change] = []

    def answer(change: Change) -> None:
        seen.append(change)
        if change.origin == "remote":
            one.create(Task, title="answer")

    one.observe(answer)
    hub.do(lambda replica: replica.create(Task, title="question"))
    assert reconcile(one, hub.url, timeout_s=3).proven_equal
    assert [change.origin for change in seen] == ["remote", "local"]
    assert reconcile(one, hub.url).proven_equal
    assert hub.do(titles) == {"question", "answer"}


def test_what_an_observer_writes_goes_out_in_the_same_round(elsewhere: Elsewhere, hub: Hub, one: Replica) -> None:
    one.observe(lambda change: one.create(Task, title="answer") if change.origin == "remote" else None)
    hub.do(lambda replica: replica.create(Task, title="question"))
    assert reconcile(one, hub.url).proven_equal
    elsewhere.run(lambda: until(lambda: titles(hub.replica) == {"question", "answer"}))


@contextmanager
def told_ends(elsewhere: Elsewhere, replica: Replica) -> Iterator[tuple[str, list[str]]]:
    """A peer's url, and with which codes its conversations ended once the block is left."""
    ends: list[str] = []
    handled = threading.Event()

    async def talk(channel: Channel) -> None:
        pump = pump_of(replica, channel, initiator=False)
        await pump.run()
        assert pump.conversation.end is not None
        ends.append(pump.conversation.end.code)
        handled.set()

    with listening(elsewhere, talk) as url:
        yield url, ends
        assert handled.wait(PATIENCE_S)


def test_leave_is_taken(elsewhere: Elsewhere, hub: Hub, one: Replica) -> None:
    with told_ends(elsewhere, hub.replica) as (url, ends):
        reconcile(one, url)
    assert ends == ["bye"]


def test_a_failure_of_ours_is_told_before_it_is_raised(
    elsewhere: Elsewhere, hub: Hub, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise StoreFullError("the disk is full")

    hub.do(lambda replica: replica.create(Task, title="theirs"))
    monkeypatch.setattr(one.port, "accept_runs", full)
    with told_ends(elsewhere, hub.replica) as (url, ends), pytest.raises(StoreFullError):
        reconcile(one, url)
    assert ends == ["internal"]


def test_nothing_answers(one: Replica) -> None:
    with pytest.raises(PeerUnreachableError, match="cannot be reached"):
        reconcile(one, "ws://127.0.0.1:9")


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1"])
def test_what_is_not_a_url(one: Replica, url: str) -> None:
    with pytest.raises(InputError):
        reconcile(one, url)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), "x", None, True])
def test_a_timeout_is_positive(one: Replica, timeout_s: Any) -> None:
    with pytest.raises(InputError, match="timeout_s"):
        reconcile(one, "ws://127.0.0.1:9", timeout_s=timeout_s)


def test_a_read_only_or_closed_replica(tmp_path: Path, hub: Hub) -> None:
    Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state").close()
    with Replica.open(tmp_path / "a.db", [Task], read_only=True) as reader, pytest.raises(StoreReadOnlyError):
        reconcile(reader, hub.url)
    with pytest.raises(StoreClosedError):
        reconcile(reader, hub.url)


def test_amid_a_transaction(hub: Hub, one: Replica) -> None:
    with one.transaction(), pytest.raises(TransactionError):
        reconcile(one, hub.url)


def test_the_same_device_is_refused(hub: Hub, one: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one._state, "identity", hub.replica._state.identity)
    with pytest.raises(AdmissionError, match="same device"):
        reconcile(one, hub.url)


def test_another_space(hub: Hub, one: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one._state, "space", bytes(32))
    with pytest.raises(HandshakeError) as caught:
        reconcile(one, hub.url)
    assert caught.value.code == "wrong_space"


def test_a_peer_that_says_nothing(elsewhere: Elsewhere, one: Replica) -> None:
    async def silence(channel: Channel) -> None:
        while True:
            await channel.receive()

    with listening(elsewhere, silence) as url, pytest.raises(SyncTimeoutError, match=r"nothing went forward for 0.1 s"):
        reconcile(one, url, timeout_s=0.1)


def test_a_port_that_accepts_and_says_nothing(one: Replica) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PeerUnreachableError, match="in time"):
            reconcile(one, url, timeout_s=0.1)


def test_a_peer_that_hangs_up(elsewhere: Elsewhere, one: Replica) -> None:
    async def hang_up(channel: Channel) -> None:
        await channel.close()

    with listening(elsewhere, hang_up) as url, pytest.raises(SyncError, match="connection was lost") as caught:
        reconcile(one, url)
    assert "goes on from there" in caught.value.hint


def test_a_hub_that_shuts_down_amid_it_says_so(elsewhere: Elsewhere, hub: Hub, one: Replica) -> None:
    """The goodbye is found though sending fails first."""
    fill(one, 50, size=2_000)
    accept = hub.replica.port.accept_runs

    def close_then_accept(runs: Any) -> Any:
        for pump in servers[0]._running:
            pump.close(ErrorCode.SHUTDOWN, "going down")
        return accept(runs)

    servers: list[Any] = []
    hub.do(lambda replica: setattr(replica.port, "accept_runs", close_then_accept))
    with elsewhere.entered(lambda: serve(hub.replica)) as server:
        servers.append(server)
        with pytest.raises(SyncError, match="going down"):
            reconcile(one, server.url)


def test_a_full_disk_is_raised_and_told(hub: Hub, one: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise StoreFullError("the disk is full")

    hub.do(lambda replica: replica.create(Task, title="theirs"))
    with monkeypatch.context() as patch:
        patch.setattr(one.port, "accept_runs", full)
        with pytest.raises(StoreFullError):
            reconcile(one, hub.url)
    assert reconcile(one, hub.url).proven_equal
    assert titles(one) == {"theirs"}


def test_a_full_disk_at_the_hub_is_an_error_with_its_code(hub: Hub, one: Replica) -> None:
    def full(*_: Any) -> Any:
        raise StoreFullError("the disk is full")

    one.create(Task)
    hub.do(lambda replica: setattr(replica.port, "accept_runs", full))
    with pytest.raises(SyncError, match="internal"):
        reconcile(one, hub.url)
    assert one.pending_count() == 1


def test_a_cut_amid_it_keeps_what_was_acknowledged(elsewhere: Elsewhere, hub: Hub, one: Replica) -> None:
    fill(one, 200, size=8_000)
    line = Line(hub.port)
    line.cut_after_bytes = 800_000
    with elsewhere.entered(line.open):
        with pytest.raises(SyncError, match="connection was lost"):
            reconcile(one, line.url)
        assert reconcile(one, line.url).proven_equal
    assert hub.do(titles) == titles(one)
    assert hub.do(lambda replica: replica._state.totals.foreign_entries) == 200
    assert one.pending_count() == 0


@pytest.mark.parametrize("upload", [True, False])
def test_a_long_first_sync_outlives_the_timeout_while_it_goes_forward(hub: Hub, one: Replica, upload: bool) -> None:
    """Each look at the clock is a second later, so a total of 10 s would be over long before the end."""
    if upload:
        fill(one, 400, size=8_000)
    else:
        hub.do(lambda replica: fill(replica, 400, size=8_000))
    looked_s = [0.0]

    def monotonic() -> float:
        looked_s[0] += 1.0
        return looked_s[0]

    report = reconcile(one, hub.url, timeout_s=10, monotonic=monotonic)
    assert report.proven_equal
    assert report.seconds > 15
    assert len(titles(one)) == hub.do(lambda replica: replica.count(Task)) == 400
