"""Channels over websockets (RFC 6455): dial and listen.

Only this module and its two neighbours know the websockets package; its errors become ours there. Browsers cannot come
in: a request that names an Origin is refused, so that no web page can reach a replica that listens on the same machine.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConcurrencyError, ConnectionClosed, WebSocketException
from websockets.protocol import State

from crdt_sync.errors import AddressInUseError, ChannelClosed, InputError, LocalProtocolError
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits, CloseCode
from crdt_sync.transport.websocket_pipe import Pipe, connection_options, dial_error, host_and_port, parse_url

Handler = Callable[[Channel], Awaitable[None]]
"""Called for each peer that dials in; its channel is closed when it returns."""

_LOG = logging.getLogger(__name__)


class WebSocketChannel(Pipe):
    """A `Channel` over one websocket; made by `dial` and `listen`."""

    def __init__(self, connection: ClientConnection | ServerConnection, *, remote: str, limits: ChannelLimits) -> None:
        super().__init__(remote=remote, limits=limits)
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send one message; see `Channel.send`. A peer that takes nothing for the idle timeout is lost."""
        self._check_send(data)
        try:
            async with asyncio.timeout(self._limits.idle_timeout_s):
                await self._connection.send(data)
        except ConnectionClosed as error:
            raise self._end_by(error) from None
        except TimeoutError:
            # The pings that find a dead peer wait behind the same full buffer, so they cannot find this one.
            self._connection.transport.abort()
            raise self._end(reason="the peer takes nothing in") from None

    async def receive(self) -> bytes:
        """Wait for the next message; see `Channel.receive`."""
        self._check_receive()
        try:
            data = await self._connection.recv()
        except ConnectionClosed as error:
            raise self._end_by(error) from None
        except ConcurrencyError:
            raise LocalProtocolError("another task is receiving on this channel already") from None
        self._check_receive()  # it may have been closed here while this waited
        if isinstance(data, str):
            await self.close(code=CloseCode.UNSUPPORTED_DATA, reason="messages are binary")
            raise self._end()
        return data

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`."""
        code, reason = self._begin_close(code=code, reason=reason, is_open=self._connection.state is State.OPEN)
        self._closed_here = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._discard())
            await self._connection.close(code, reason)
        self._end_by(self._connection.protocol.close_exc)

    async def _discard(self) -> None:
        """Take in what nobody will read: the peer's answer to a close comes behind it."""
        try:
            while True:
                await self._connection.recv()
        except (ConnectionClosed, ConcurrencyError):
            return  # the end, or a reader that waits and so takes it in


class _Visitors:
    """Runs the handler for each connection, up to as many as the limits allow."""

    def __init__(self, handler: Handler, *, limits: ChannelLimits) -> None:
        self._handler = handler
        self._limits = limits
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, connection: ServerConnection) -> None:
        task = asyncio.current_task()
        if task is None or len(self.tasks) >= self._limits.channels_max:
            await connection.close(CloseCode.TRY_AGAIN_LATER, "too many channels")
            return
        channel = WebSocketChannel(connection, remote=_remote_of(connection), limits=self._limits)
        self.tasks.add(task)
        try:
            await self._handler(channel)
        except ChannelClosed:
            _LOG.debug("%r", channel)  # the ordinary end of a handler that only ever receives
        except Exception:  # noqa: BLE001  (the failure of one handler must not end the listener)
            _LOG.exception("the handler of %r failed", channel)
            await channel.close(code=CloseCode.INTERNAL_ERROR)
        else:
            await channel.close()
        finally:
            self.tasks.discard(task)


class Listener:
    """A port on which peers dial in; made by `listen`, closed by `close` or on leaving ``async with``."""

    def __init__(self, server: Server, *, visitors: _Visitors, limits: ChannelLimits, scheme: str) -> None:
        self._server = server
        self._visitors = visitors
        self._limits = limits
        self._scheme = scheme
        # The first of several: with port 0 each address family gets a port of its own.
        self._host, self._port = server.sockets[0].getsockname()[:2]

    @property
    def host(self) -> str:
        """The numeric address that is listened on."""
        return str(self._host)

    @property
    def port(self) -> int:
        """The port that is listened on; the one that was picked, if 0 was asked for."""
        return int(self._port)

    @property
    def url(self) -> str:
        """Where to dial."""
        return f"{self._scheme}://{host_and_port(self.host, self.port)}"

    @property
    def channels(self) -> int:
        """How many channels are open."""
        return len(self._visitors.tasks)

    async def close(self) -> None:
        """Stop listening and close all channels; their handlers get time to end, then they are cancelled."""
        self._server.close()
        try:
            async with asyncio.timeout(2 * self._limits.close_timeout_s):
                await self._server.wait_closed()
        except TimeoutError:
            for task in self._visitors.tasks:
                task.cancel()
            await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<listener {self.url}, {self.channels} channels>"


async def listen(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: ChannelLimits = CHANNEL_LIMITS,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Listen for peers; when this returns, dialling works.

    Args:
        handler: called with each channel, in a task of its own.
        host: a name or address of this machine.
        port: 0 picks a free one.
        limits: of each channel, and how many there may be.
        tls: a server's context makes it wss.

    Raises:
        AddressInUseError: the port is taken.
        InputError: not an address of this machine, or one that needs more rights.
    """
    visitors = _Visitors(handler, limits=limits)
    try:
        server = await serve(
            visitors,
            host,
            port,
            ssl=tls,
            origins=[None],
            server_header=None,
            open_timeout=limits.open_timeout_s,
            **connection_options(limits),
        )
    except (OSError, OverflowError, UnicodeError) as error:
        raise _listen_error(error, address=host_and_port(host, port)) from None
    return Listener(server, visitors=visitors, limits=limits, scheme="ws" if tls is None else "wss")


async def dial(
    url: str, *, limits: ChannelLimits = CHANNEL_LIMITS, tls: ssl.SSLContext | None = None
) -> WebSocketChannel:
    """Open a channel to a peer. Proxies of the environment are not used.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``.
        limits: of the channel.
        tls: for wss, the context to use in place of the system's.

    Raises:
        PeerUnreachableError: nothing answers there, or it is no websocket, or its certificate does not hold.
        InputError: not such a URL.
    """
    remote, context = parse_url(url, tls=tls)
    try:
        connection = await connect(
            url, ssl=context, proxy=None, open_timeout=limits.open_timeout_s, **connection_options(limits)
        )
    except (WebSocketException, OSError, ValueError) as error:
        raise dial_error(error, remote=remote) from None
    return WebSocketChannel(connection, remote=remote, limits=limits)


def _listen_error(error: Exception, *, address: str) -> InputError | AddressInUseError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return AddressInUseError(f"{address} is in use")
    problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"cannot listen on {address}: {problem}", hint="Choose an address of this machine.")


def _remote_of(connection: ServerConnection) -> str:
    address = connection.remote_address  # a tuple for TCP; None where the connection is gone already
    return host_and_port(address[0], address[1]) if address else "a peer that left"
