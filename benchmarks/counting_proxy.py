"""A TCP proxy on loopback that counts the bytes of one websocket connection, its HTTP upgrade apart."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_READ_BYTES = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_KILO, _MEGA = 1_000, 1_000_000


class CountingProxy:
    """Forwards one connection to a websocket url.

    Args:
        url: where to.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}{target.path}"
        self._upgrade_bytes = 0
        self._wire_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._thread.join(timeout=10)

    def counts(self) -> dict[str, float]:
        """What went through in both directions."""
        return {"wire_mb": self._wire_bytes / _MEGA, "upgrade_kb": self._upgrade_bytes / _KILO}

    def _forward(self) -> None:
        near, _ = self._listener.accept()
        with near, socket.create_connection(self._target) as far:
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join(timeout=10)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy until the source ends; the first bytes, up to an empty line, are HTTP."""
        head: bytes | None = b""
        while data := source.recv(_READ_BYTES):
            target.sendall(data)
            with self._lock:
                self._wire_bytes += len(data)
                if head is not None:
                    head += data
                    end = head.find(_END_OF_HEAD)
                    if end >= 0:
                        self._upgrade_bytes += end + len(_END_OF_HEAD)
                        self._wire_bytes -= end + len(_END_OF_HEAD)
                        head = None
        target.shutdown(socket.SHUT_WR)
