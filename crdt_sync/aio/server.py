"""Admitting peers that dial in: `serve`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from crdt_sync.aio.pump import Pump
from crdt_sync.core.ids import DeviceId
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import AdmissionError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.facade import Replica
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits
from crdt_sync.transport.websocket import Listener, listen

log = logging.getLogger("crdt_sync.sync")

CLOSE_TIMEOUT_S = 5.0


class Server:
    """What `serve` gives: where it listens, and who is connected."""

    def __init__(self, replica: Replica, *, open_space: bool) -> None:
        self._replica = replica
        self._open_space = open_space
        self._pumps: dict[DeviceId, Pump] = {}
        self._running: set[Pump] = set()
        self._listener: Listener | None = None

    def __repr__(self) -> str:
        return f"<Server {self.url} {len(self._pumps)} connected>"

    @property
    def url(self) -> str:
        """Where to connect."""
        return "" if self._listener is None else self._listener.url

    @property
    def port(self) -> int:
        """The port; the one that was picked, if 0 was asked for."""
        return 0 if self._listener is None else self._listener.port

    @property
    def devices(self) -> tuple[DeviceId, ...]:
        """The devices that are connected."""
        return tuple(sorted(self._pumps))

    def attach(self, listener: Listener) -> None:
        """Note where it listens."""
        self._listener = listener

    async def talk(self, channel: Channel) -> None:
        """Run the conversation of a channel that was dialled in."""
        port = self._replica.port
        admit: Callable[[PeerIdentity], str | None] = lambda peer: self._judge(peer, channel)  # noqa: E731
        conversation = Conversation(port, initiator=False, admit=admit)
        pump = Pump(conversation, channel=channel, port=port)
        self._running.add(pump)
        entering = asyncio.create_task(self._enter(pump))
        try:
            await pump.run()
        finally:
            entering.cancel()
            self._running.discard(pump)
            peer = conversation.peer
            if peer is not None and self._pumps.get(peer.device_id) is pump:
                del self._pumps[peer.device_id]

    async def close(self) -> None:
        """End all sessions."""
        for pump in list(self._running):
            pump.conversation.close(ErrorCode.SHUTDOWN, "the server is shutting down")
            pump.wake()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S), asyncio.TaskGroup() as group:
                for pump in list(self._running):
                    group.create_task(pump.over())
        except TimeoutError:
            log.info("%d peers did not take leave in time", len(self._running))

    async def _enter(self, pump: Pump) -> None:
        """One session for each device: the newest holds."""
        await pump.ready()
        peer = pump.conversation.peer
        if peer is None or pump.conversation.end is not None:
            return
        before = self._pumps.get(peer.device_id)
        self._pumps[peer.device_id] = pump
        if before is not None:
            before.conversation.close(ErrorCode.REPLACED, "the same device connected again")
            before.wake()

    def _judge(self, peer: PeerIdentity, channel: Channel) -> str | None:
        del peer
        if self._open_space or is_loopback(channel.remote):
            return None
        return "this server admits devices from its own machine only; start it with open_space=True (--open)"


@asynccontextmanager
async def serve(
    replica: Replica,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    open_space: bool = False,
    limits: ChannelLimits = CHANNEL_LIMITS,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Admit peers until the block is left.

    Args:
        replica: what to sync; it stays usable, in the event loop's thread.
        host: the address to listen on.
        port: the port; 0 picks a free one.
        open_space: also admit devices from other machines. Anyone who can reach the port may then read and write:
            pairing comes in a later version.
        limits: of the channels.
        tls: for ``wss``.

    Raises:
        AddressInUseError: the port is taken.
        AdmissionError: another host than loopback without ``open_space``.
        StoreReadOnlyError: the replica was opened read-only.
    """
    if not open_space and not is_loopback(host):
        raise AdmissionError(f"listening on {host} would admit any device that can reach it")
    if open_space and not is_loopback(host):
        log.warning("open space: every device that reaches %s may read and write everything", host)
    replica.port.key  # noqa: B018  raises for a read-only replica before anybody is let in
    server = Server(replica, open_space=open_space)
    async with await listen(server.talk, host=host, port=port, limits=limits, tls=tls) as listener:
        server.attach(listener)
        try:
            yield server
        finally:
            await server.close()


def is_loopback(address: str) -> bool:
    """Whether a host, or ``host:port``, is this machine."""
    host = address.rsplit(":", 1)[0] if address.count(":") == 1 or address.startswith("[") else address
    host = host.strip("[]").split("%", 1)[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
