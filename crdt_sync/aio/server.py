"""Admitting peers that dial in: `serve`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crdt_sync.aio.peers import check_usable
from crdt_sync.aio.pump import Pump
from crdt_sync.aio.shell import Shell
from crdt_sync.aio.upkeep import kept_current
from crdt_sync.core.checks import checked_instance, checked_seconds
from crdt_sync.core.ids import DeviceId
from crdt_sync.core.logs import told
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import AdmissionError, InputError, StoreError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.fitting import session_limits
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits, CloseCode
from crdt_sync.transport.websocket import Listener, listen

REPLACED_RETRY_AFTER_S = 5.0
"""When a session that gave way to a newer one of its device may come back; the newer one is mostly a short one."""

RETRY_AFTER_S = 5.0
"""When those may come back who are told that the server goes down, or has no room; they come spread over as long."""
RETRY_AFTER_S_MAX = 3600.0
SESSIONS_MAX = 1000
"""Devices that a server talks with at once, unless it is told otherwise."""

log = logging.getLogger("crdt_sync.sync")

CLOSE_TIMEOUT_S = 5.0


class Server:
    """What `serve` gives: where it listens, and who is connected.

    Invariant: a device has one session here. Of two the newer one holds; the older is told `replaced`, after which it
    does not dial again by itself.
    """

    def __init__(
        self,
        replica: Replica,
        *,
        open_space: bool,
        shell: Shell,
        limits: ChannelLimits = CHANNEL_LIMITS,
        sessions_max: int = SESSIONS_MAX,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        if type(sessions_max) is not int or sessions_max < 1:
            raise InputError("sessions_max is a whole number from 1 on")
        checked_seconds(retry_after_s, what="retry_after_s", most_s=RETRY_AFTER_S_MAX)
        self._replica = replica
        self._open_space = open_space
        self._shell = shell
        self._session_limits = session_limits(limits)
        self._sessions_max = sessions_max
        self._retry_after_s = retry_after_s
        self._pumps: dict[DeviceId, Pump] = {}
        self._running: dict[Pump, None] = {}
        self._listener: Listener | None = None
        self._closing = False

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
        if self._closing:
            await channel.close(code=CloseCode.GOING_AWAY)
            return
        try:
            await self._talk(channel)
        except StoreError as error:
            told(
                log,
                logging.WARNING,
                "a session ended, as the store failed",
                remote=channel.remote,
                reason=error.message,
            )
            await channel.close(code=CloseCode.INTERNAL_ERROR)

    async def close(self) -> None:
        """Admit nobody any more and end all sessions, saying why."""
        self._closing = True
        for pump in self._running:
            pump.close(ErrorCode.SHUTDOWN, "the server is shutting down", retry_after_s=self._retry_after_s)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for pump in list(self._running):
                    await pump.over()
        except TimeoutError:
            told(log, logging.INFO, "peers did not take leave in time", peers=len(self._running))

    async def _talk(self, channel: Channel) -> None:
        port = self._replica.port
        conversation = Conversation(
            port, initiator=False, admit=lambda peer: self._judge(peer, channel), limits=self._session_limits
        )
        pump = Pump(conversation, channel=channel, port=port, shell=self._shell, on_ready=lambda: self._enter(pump))
        self._running[pump] = None
        try:
            await pump.run()
        finally:
            del self._running[pump]
            peer = conversation.peer
            if peer is not None and self._pumps.get(peer.device_id) is pump:
                del self._pumps[peer.device_id]

    def _enter(self, pump: Pump) -> None:
        peer = pump.conversation.peer
        if peer is None:
            return
        before = self._pumps.get(peer.device_id)
        if before is None and len(self._pumps) >= self._sessions_max:
            told(log, logging.WARNING, "no room for another device", device=peer.device_id, sessions=len(self._pumps))
            pump.close(ErrorCode.OVERLOADED, "too many sessions", retry_after_s=self._retry_after_s)
            return
        self._pumps[peer.device_id] = pump
        if before is not None:
            text = "the same device connected again"
            before.close(ErrorCode.REPLACED, text, retry_after_s=REPLACED_RETRY_AFTER_S)

    def _judge(self, peer: PeerIdentity, channel: Channel) -> str | None:
        if self._open_space or is_loopback(channel.remote):
            return None
        told(
            log,
            logging.WARNING,
            "a device was refused: not an open space",
            device=peer.device_id,
            remote=channel.remote,
        )
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
    shell: Shell | None = None,
    sessions_max: int = SESSIONS_MAX,
    retry_after_s: float = RETRY_AFTER_S,
) -> AsyncIterator[Server]:
    """Admit peers until the block is left.

    Args:
        replica: what to sync; it stays usable, in the event loop's thread.
        host: the address to listen on.
        port: the port; 0 picks a free one.
        open_space: also admit devices from other machines. Anyone who can reach the port may then read and write:
            pairing comes in a later version. A proxy on this machine makes everybody come from this machine.
        limits: of the channels; what the sessions put into one message follows them.
        tls: for ``wss``.
        shell: where waiting comes from.
        sessions_max: devices that are talked with at once; more are told to come back.
        retry_after_s: when those may come back who find no room, or are there when the server goes down. They come
            spread over as long again.

    Raises:
        AddressInUseError: the port is taken.
        InputError: not an address of this machine, numbers that cannot be, or limits that no session fits into.
        AdmissionError: another host than loopback without ``open_space``.
        StoreReadOnlyError: the replica was opened read-only.
        StoreClosedError, WrongThreadError: the replica cannot be used here.
    """
    checked_instance(host, str, what="host", hint="Give a name or an address, as in host='127.0.0.1'.")
    if not open_space and not is_loopback(host):
        raise AdmissionError(f"listening on {host!r} would admit any device that can reach it")
    check_usable(replica)
    server = Server(
        replica,
        open_space=open_space,
        shell=shell or Shell(),
        limits=limits,
        sessions_max=sessions_max,
        retry_after_s=retry_after_s,
    )
    async with await listen(server.talk, host=host, port=port, limits=limits, tls=tls) as listener:
        server.attach(listener)
        if open_space and not is_loopback(host):
            told(
                log, logging.WARNING, "open space: every device that gets here may read and write all", url=listener.url
            )
        try:
            async with kept_current(replica):
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
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
