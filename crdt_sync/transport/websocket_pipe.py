"""What the two kinds of websocket channel share: how they end, their options, the errors of dialling."""

from __future__ import annotations

import logging
import ssl
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from crdt_sync.errors import ChannelClosed, InputError, PeerUnreachableError
from crdt_sync.transport.base import ChannelLimits, CloseCode, channel_closed, check_close, check_message


class _WithoutContents(logging.LoggerAdapter[logging.Logger]):
    """Keeps websockets from logging the contents of messages, which it does at level DEBUG."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (the name is the standard library's)
        return level > logging.DEBUG and super().isEnabledFor(level)


_WEBSOCKETS_LOG = _WithoutContents(logging.getLogger("crdt_sync.transport.websocket"), {})


class Pipe:
    """Base of both kinds of channel: their limits, and how they ended."""

    def __init__(self, *, remote: str, limits: ChannelLimits) -> None:
        self._remote = remote
        self._limits = limits
        self._closed_here = False
        self._ended: tuple[int, str] | None = None

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        return self._remote

    def _check_send(self, data: bytes) -> None:
        check_message(data, limits=self._limits)
        self._check_receive()

    def _check_receive(self) -> None:
        if self._closed_here and self._ended is not None:
            raise self._end()

    def _begin_close(self, *, code: int, reason: str, is_open: bool) -> tuple[int, str]:
        code, reason = check_close(code=code, reason=reason)
        if is_open:
            self._end(code=code, reason=reason)
        return code, reason

    def _end(self, *, code: int = CloseCode.LOST, reason: str = "") -> ChannelClosed:
        """Keep the first end that is known, and give it as the error to raise."""
        if self._ended is None:
            self._ended = (code, reason)
        code, reason = self._ended
        return channel_closed(code=code, reason=reason, remote=self._remote)

    def _end_by(self, error: ConnectionClosed) -> ChannelClosed:
        if error.rcvd is not None and (error.sent is None or error.rcvd_then_sent):
            return self._end(code=error.rcvd.code, reason=error.rcvd.reason)
        if error.sent is None or error.sent.code == CloseCode.INTERNAL_ERROR:
            # We never send that code unasked; the package does where a ping stays without an answer.
            return self._end(code=CloseCode.LOST)
        return self._end(code=error.sent.code, reason=error.sent.reason)

    def __repr__(self) -> str:
        state = "open" if self._ended is None else f"ended {self._ended[0]}"
        return f"<websocket channel to {self._remote}, {state}>"


def connection_options(limits: ChannelLimits) -> dict[str, Any]:
    """The arguments that every connection of the websockets package gets, by name."""
    return {
        "compression": None,  # frames are compressed by the session, where that pays
        "max_size": limits.message_bytes_max,
        "max_queue": limits.queue_messages_max,
        "write_limit": 65_536,
        "ping_interval": limits.idle_timeout_s / 3,
        "ping_timeout": limits.idle_timeout_s * 2 / 3,
        "close_timeout": limits.close_timeout_s,
        "logger": _WEBSOCKETS_LOG,
    }


def parse_url(url: str, *, tls: ssl.SSLContext | None) -> tuple[str, ssl.SSLContext | None]:
    """Split a URL into the address for people to read, without whatever secrets it carries, and the TLS context.

    Raises:
        InputError: not the URL of a websocket, or one that does not go with the context.
    """
    if not isinstance(url, str):
        raise _input_error("is no str")
    try:
        parts = urlsplit(url)
        host, port, scheme = parts.hostname, parts.port, parts.scheme
    except ValueError:
        raise _input_error("cannot be read") from None
    if scheme not in {"ws", "wss"} or not host:
        raise _input_error("does not name a host by ws:// or wss://")
    if scheme == "ws":
        if tls is not None:
            raise _input_error("is ws:// but was given a TLS context")
        return host_and_port(host, port or 80), None
    return host_and_port(host, port or 443), tls or ssl.create_default_context()


def _input_error(problem: str) -> InputError:
    return InputError(f"the peer's address {problem}", hint="An address looks like ws://host:port.")


def dial_error(error: Exception, *, remote: str) -> InputError | PeerUnreachableError:
    """The error of ours for what the websockets package raises while it connects."""
    # The order matters: a failed certificate is a ValueError too, and a timeout an OSError.
    match error:
        case InvalidURI():
            return _input_error("cannot be read")
        case InvalidStatus():
            problem = f"answers with HTTP status {error.response.status_code} instead of a websocket"
        case WebSocketException():
            problem = "does not answer as a websocket"
        case ssl.SSLError():
            return PeerUnreachableError(
                f"no secure connection to {remote}: {error.reason or error}",
                hint="Check the peer's certificate, and that it listens with TLS.",
            )
        case TimeoutError():
            problem = "does not answer in time"
        case OSError():
            problem = f"cannot be reached: {error.strerror or error}"
        case _:
            return _input_error("cannot be read")
    return PeerUnreachableError(f"{remote} {problem}")


def host_and_port(host: str, port: int) -> str:
    """Write an address as in a URL: an IPv6 address needs brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
