"""Whatever is given in the place of an argument, the error is typed, says what to give, and names no command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import (
    BackoffPolicy,
    OperationQueue,
    PrometheusCollector,
    Replica,
    RetryPolicy,
    SyncManager,
    connect,
    reconcile,
    serve,
)
from crdt_sync.errors import InputError
from crdt_sync.replica.fitting import MESSAGE_BYTES_MIN
from crdt_sync.transport.base import ChannelLimits
from tests.unit.aio.network import Task

NAN = float("nan")
URL = "ws://127.0.0.1:1"
TOO_SMALL = ChannelLimits(message_bytes_max=MESSAGE_BYTES_MIN - 1)

CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("operation(None)", lambda replica: replica.operation(None)),
    ("operation([])", lambda replica: replica.operation([])),
    ("operation(x)", lambda replica: replica.operation("x")),
    ("sync_log(limit)", lambda replica: replica.sync_log(limit=0)),
    ("enqueue(None)", lambda replica: OperationQueue(replica).enqueue("create", Task, None)),  # type: ignore[arg-type]  # wrong
    ("OperationQueue(None)", lambda _: OperationQueue(None)),  # type: ignore[arg-type]  # wrong on purpose
    ("OperationQueue(x)", lambda _: OperationQueue("x.db")),  # type: ignore[arg-type]  # wrong on purpose
    ("pending_max", lambda replica: OperationQueue(replica, pending_max=0)),
    ("give_back(None)", lambda replica: OperationQueue(replica).give_back(None)),  # type: ignore[arg-type]  # wrong
    ("give_back([])", lambda replica: OperationQueue(replica).give_back(["x"])),  # type: ignore[arg-type]  # wrong
    ("SyncManager(None)", lambda _: SyncManager(None, [URL])),  # type: ignore[arg-type]  # wrong on purpose
    *(
        (f"SyncManager(peers={peers!r})", lambda replica, peers=peers: SyncManager(replica, peers))
        for peers in (None, 5, URL, [None], [["a"]], [5], ["http://x"])
    ),
    ("policy", lambda replica: SyncManager(replica, [URL], policy=5)),  # type: ignore[arg-type]  # wrong on purpose
    ("limits", lambda replica: SyncManager(replica, [URL], limits=5)),  # type: ignore[arg-type]  # wrong on purpose
    *(
        (f"limits too small, peers={peers}", lambda replica, peers=peers: SyncManager(replica, peers, limits=TOO_SMALL))
        for peers in ([URL], [])
    ),
    *(
        (f"RetryPolicy({name}={value!r})", lambda _, name=name, value=value: RetryPolicy(**{name: value}))
        for name in ("pause_s", "pause_s_max", "failures_max")
        for value in ("x", None, NAN, True)
    ),
    *(
        (f"BackoffPolicy({name}={value!r})", lambda _, name=name, value=value: BackoffPolicy(**{name: value}))
        for name in ("base_s", "factor", "stable_after_s", "retry_after_s_max")
        for value in ("x", None, NAN, True)
    ),
    ("reconcile(5)", lambda replica: reconcile(replica, 5)),  # type: ignore[arg-type]  # wrong on purpose
    ("reconcile(None)", lambda _: reconcile(None, URL)),  # type: ignore[arg-type]  # wrong on purpose
    ("reconcile(limits=5)", lambda replica: reconcile(replica, URL, limits=5)),  # type: ignore[arg-type]  # wrong
    ("reconcile(limits too small)", lambda replica: reconcile(replica, URL, limits=TOO_SMALL)),
    ("reconcile(nan)", lambda replica: reconcile(replica, URL, timeout_s=NAN)),
    ("durability", lambda _: Replica.open(":memory:", [Task], durability="off")),  # type: ignore[arg-type]  # wrong
    ("PrometheusCollector(None)", lambda _: PrometheusCollector(None)),  # type: ignore[arg-type]  # wrong on purpose
    ("labels", lambda replica: PrometheusCollector(replica, labels=5)),  # type: ignore[arg-type]  # wrong on purpose
]


def check(error: InputError) -> None:
    assert error.message
    assert error.hint
    assert "--help" not in error.hint


@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
def test_a_wrong_argument_is_bad_input(call: Callable[[Any], Any]) -> None:
    with Replica.open(":memory:", [Task]) as replica:
        with pytest.raises(InputError) as caught:
            call(replica)
        check(caught.value)
        assert replica.pending_count() == 0


def test_a_wrong_progress_is_bad_input(tmp_path: Path) -> None:
    with Replica.open(":memory:", [Task]) as replica:
        with pytest.raises(InputError) as caught:
            replica.backup(tmp_path / "copy.db", progress=5)  # type: ignore[arg-type]  # wrong on purpose
        check(caught.value)
        assert not (tmp_path / "copy.db").exists()


async def _sync(replica: Replica, timeout_s: Any) -> None:
    async with SyncManager(replica, [URL]) as manager:
        await manager.sync(timeout_s=timeout_s)


async def _serve(replica: Replica, **wrong: Any) -> None:
    async with serve(replica, **wrong):
        pass


async def _connect(replica: Any, url: Any, **wrong: Any) -> None:
    async with connect(replica, url, **wrong):
        pass


AWAITED: list[tuple[str, Callable[[Replica], Awaitable[None]]]] = [
    *((f"sync({value!r})", lambda replica, value=value: _sync(replica, value)) for value in (NAN, "x", True, -1)),
    *(
        (f"serve({wrong})", lambda replica, wrong=wrong: _serve(replica, **wrong))
        for wrong in ({"host": 5}, {"host": None}, {"retry_after_s": "x"}, {"retry_after_s": NAN}, {"sessions_max": 0})
    ),
    ("serve(limits too small)", lambda replica: _serve(replica, limits=TOO_SMALL)),
    ("connect(limits too small)", lambda replica: _connect(replica, URL, limits=TOO_SMALL)),
    ("connect(5)", lambda replica: _connect(replica, 5)),
    ("connect(None)", lambda _: _connect(None, URL)),
]


@pytest.mark.parametrize("call", [call for _, call in AWAITED], ids=[name for name, _ in AWAITED])
async def test_a_wrong_argument_of_what_is_awaited_is_bad_input(call: Callable[[Replica], Awaitable[None]]) -> None:
    with Replica.open(":memory:", [Task]) as replica:
        with pytest.raises(InputError) as caught:
            await call(replica)
        check(caught.value)
