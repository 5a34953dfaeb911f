"""A channel over a websocket for code without an event loop, such as `reconcile` in a script."""

from __future__ import annotations

import contextlib
import ssl

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from crdt_sync.errors import SyncTimeoutError
from crdt_sync.transport.base import CHANNEL_LIMITS, ChannelLimits, CloseCode
from crdt_sync.transport.websocket_pipe import Pipe, connection_options, dial_error, parse_url


class BlockingWebSocketChannel(Pipe):
    """A `BlockingChannel` over one websocket; made by `dial_blocking`."""

    def __init__(self, connection: ClientConnection, *, remote: str, limits: ChannelLimits) -> None:
        super().__init__(remote=remote, limits=limits)
        self._connection = connection
        # Bounds each sending. Receiving is not affected: the pings bring an answer more often than this. A peer that
        # has closed by now leaves no socket to set; the first call will say so.
        with contextlib.suppress(OSError):
            connection.socket.settimeout(limits.idle_timeout_s)

    def send(self, data: bytes) -> None:
        """Send one message; see `Channel.send`. A peer that takes nothing for the idle timeout is lost."""
        self._check_send(data)
        try:
            self._connection.send(data)
        except ConnectionClosed as error:
            raise self._end_by(error) from None

    def receive(self, *, timeout_s: float) -> bytes:
        """Wait for the next message; see `BlockingChannel.receive`."""
        self._check_receive()
        try:
            data = self._connection.recv(timeout=max(0.0, timeout_s))
        except ConnectionClosed as error:
            raise self._end_by(error) from None
        except TimeoutError:
            raise SyncTimeoutError(f"{self._remote} sent nothing for {timeout_s:g} s") from None
        if isinstance(data, str):
            self.close(code=CloseCode.UNSUPPORTED_DATA, reason="messages are binary")
            raise self._end()
        return data

    def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`. With much unread it takes up to the close timeout."""
        code, reason = self._begin_close(code=code, reason=reason, is_open=self._connection.state is State.OPEN)
        self._closed_here = True
        self._connection.close(code, reason)
        self._end_by(self._connection.protocol.close_exc)


def dial_blocking(
    url: str, *, limits: ChannelLimits = CHANNEL_LIMITS, tls: ssl.SSLContext | None = None
) -> BlockingWebSocketChannel:
    """Open a channel to a peer for code without an event loop; arguments and errors are those of `dial`."""
    remote, context = parse_url(url, tls=tls)
    options = connection_options(limits)
    del options["write_limit"]  # there is no write buffer: sending blocks
    try:
        connection = connect(url, ssl=context, proxy=None, open_timeout=limits.open_timeout_s, **options)
    except (WebSocketException, OSError, ValueError) as error:
        raise dial_error(error, remote=remote) from None
    # Entered but left by `close`: the package warns where a connection is used without having been entered.
    return BlockingWebSocketChannel(connection.__enter__(), remote=remote, limits=limits)
