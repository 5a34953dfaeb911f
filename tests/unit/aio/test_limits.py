"""A channel for small messages carries everything: what the session puts into one frame follows it. Real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from crdt_sync import Replica, SyncManager, connect, serve
from crdt_sync.protocol.limits import FRAME_BYTES_FLOOR
from crdt_sync.security.channel import SEAL_BYTES
from crdt_sync.transport.base import ChannelLimits
from tests.unit.aio.network import PATIENCE_S, QUICK, fill, titles

SMALL: dict[str, Any] = {"limits": ChannelLimits(message_bytes_max=70_000)}
SMALLEST: dict[str, Any] = {"limits": ChannelLimits(message_bytes_max=FRAME_BYTES_FLOOR + SEAL_BYTES)}
SIDES = [({}, SMALL), (SMALL, {}), (SMALL, SMALL), (SMALLEST, {}), ({}, SMALLEST)]


@pytest.mark.parametrize(("hubs", "devices"), SIDES)
async def test_large_values_go_both_ways(
    hub: Replica, one: Replica, hubs: dict[str, Any], devices: dict[str, Any]
) -> None:
    fill(hub, 1, name="hub", size=200_000)
    fill(one, 2, name="one", size=200_000)
    async with serve(hub, **hubs) as server, SyncManager(one, [server.url], policy=QUICK, **devices) as sync:
        report = await sync.sync(timeout_s=PATIENCE_S)
        assert (report.proven_equal, dict(report.errors)) == (True, {})
        assert sync.peers[0].reconnects == 0
    assert titles(hub) == titles(one) == {"hub 0", "one 0", "one 1"}


async def test_they_go_over_one_connection(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, connect(one, server.url, **SMALL) as peer:
        fill(hub, 1, name="hub", size=200_000)
        fill(one, 1, name="one", size=200_000)
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert peer.reconnects == 0
    assert titles(hub) == titles(one) == {"hub 0", "one 0"}
