"""The process behind `crdt-sync serve`: peers over the network, commands over the control socket, until a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from crdt_sync.aio import SyncManager, serve
from crdt_sync.cli.actions import Json, perform
from crdt_sync.cli.actions.base import device_json
from crdt_sync.cli.actions.network import SYNC, sync_while_serving
from crdt_sync.cli.control import control_socket
from crdt_sync.cli.opening import Place, open_replica
from crdt_sync.replica import Replica


async def serve_store(
    place: Place,
    *,
    host: str,
    port: int,
    open_space: bool,
    peers: Sequence[str],
    ready: Callable[[Json], None],
) -> None:
    """Serve a store until SIGINT or SIGTERM; then take leave of the peers and close the store cleanly.

    Args:
        place: the store.
        host: the address to listen on.
        port: the port; 0 picks a free one.
        open_space: admit devices from other machines.
        peers: urls of peers to stay connected with.
        ready: called once peers and commands can come, with where.

    Raises:
        CRDTSyncError: the store cannot be opened, or the port is taken.
    """
    stop = asyncio.Event()
    with open_replica(place) as replica:
        async with AsyncExitStack() as stack:
            _on_signals(stop.set)
            server = await stack.enter_async_context(serve(replica, host, port, open_space=open_space))
            if peers:  # without any it would name no home peers, in place of those that the app named
                await stack.enter_async_context(SyncManager(replica, peers))
            control = control_socket(replica.replica_id, store=place.path, answer=_answer_for(replica))
            await stack.enter_async_context(control)
            ready(
                {
                    "url": server.url,
                    "host": host,
                    "port": server.port,
                    "path": str(place.path),
                    **device_json(replica.device_names, replica.device_id or ""),
                    "pid": os.getpid(),
                }
            )
            await stop.wait()


def _answer_for(replica: Replica) -> Callable[[str, Any], Any]:
    async def answer(name: str, params: Any) -> Json:
        if name == SYNC.name:
            return await sync_while_serving(replica, SYNC.decode(params))
        return perform(replica, name, params)

    return answer


def _on_signals(stop: Callable[[], None]) -> None:
    """End on Ctrl-C and on SIGTERM. Where loops take no signal handlers (Windows), Ctrl-C cancels the main task."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            return
