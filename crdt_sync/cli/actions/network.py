"""The action that syncs with a peer once; the serving process does it without stopping to serve."""

from __future__ import annotations

import time
from dataclasses import dataclass

from crdt_sync.aio import connect
from crdt_sync.blocking import reconcile
from crdt_sync.cli.actions.base import Action, Json
from crdt_sync.replica import Replica
from crdt_sync.replica.report import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParams:
    """Args: url: of the peer; timeout_s: how long it may take."""

    url: str
    timeout_s: float = 60.0


def sync(replica: Replica, params: SyncParams) -> Json:
    """One round with a peer."""
    report = reconcile(replica, params.url, timeout_s=params.timeout_s)
    return _report_json(
        params.url,
        traffic=report.traffic,
        completed=report.completed,
        seconds=report.seconds,
        fingerprints=dict(report.fingerprints),
    )


async def sync_while_serving(replica: Replica, params: SyncParams) -> Json:
    """One round with a peer, in an event loop that has other work too."""
    began, completed = time.monotonic(), replica.port.completed
    async with connect(replica, params.url) as peer:
        await peer.caught_up(timeout_s=params.timeout_s)
        traffic, fingerprints = peer.traffic, dict(peer.fingerprints)
    return _report_json(
        params.url,
        traffic=traffic,
        completed=replica.port.completed - completed,
        seconds=time.monotonic() - began,
        fingerprints=fingerprints,
    )


def _report_json(url: str, *, traffic: Traffic, completed: int, seconds: float, fingerprints: dict[str, str]) -> Json:
    return {
        "url": url,
        "seconds": round(seconds, 3),
        "completed_operations": completed,
        "received_entries": traffic.entries_in,
        "sent_entries": traffic.entries_out,
        "bytes_out": traffic.bytes_out,
        "bytes_in": traffic.bytes_in,
        "messages_out": traffic.messages_out,
        "messages_in": traffic.messages_in,
        "proven_equal": True,
        "fingerprints": fingerprints,
    }


SYNC = Action(name="sync", params=SyncParams, work=sync, writes=True)
