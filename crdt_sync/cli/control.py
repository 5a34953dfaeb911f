"""The control socket: how commands reach the process that serves a store.

One writing process has a store. Where that is `crdt-sync serve`, it listens on a Unix domain socket in the store's
folder of the user's state directory (mode 0600, so only this user's processes), and does actions for other commands.

A message is four bytes of length, big-endian, and so many bytes of JSON. A request is
``{"action": name, "params": {…}}``, an answer ``{"result": {…}}`` or ``{"error": {"type", "message", "hint"}}``.
The action `SERVING` tells who serves which file: a copy of a store has the same replica id until it is opened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from crdt_sync import errors
from crdt_sync.cli.actions import Action, Json
from crdt_sync.cli.actions.base import P
from crdt_sync.core.logs import FIELDS, told
from crdt_sync.errors import CRDTSyncError, InputError, LimitError, StoreInUseError
from crdt_sync.replica.opening import default_state_dir

log = logging.getLogger("crdt_sync.cli")

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 16
IDLE_TIMEOUT_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 120.0
_LENGTH_BYTES = 4
_PATH_BYTES_MAX = 100
"""Longest path of a socket that every Unix takes (macOS: 103)."""

SERVING: Final = "serving"

Answer = Callable[[str, Any], Awaitable[Json]]


def socket_path(replica_id: str) -> Path:
    """Where the socket of a replica is; a link to it where that path would be too long for a socket."""
    return default_state_dir() / "replicas" / replica_id / "control.sock"


@asynccontextmanager
async def control_socket(replica_id: str, *, store: Path, answer: Answer) -> AsyncIterator[None]:
    """Listen until the block is left. Actions run in the event loop's thread, one at a time.

    Args:
        replica_id: whose socket.
        store: the file that is served.
        answer: does an action: name and parameters to result.
    """
    if not hasattr(socket, "AF_UNIX"):
        told(log, logging.WARNING, "this system has no Unix sockets: other commands cannot reach this process")
        yield
        return
    path = socket_path(replica_id)
    server = _ControlServer(answer, store=store)
    with _bound(path) as listening:
        running = await asyncio.start_unix_server(server.talk, sock=listening)
        try:
            yield
        finally:
            running.close()
            server.hang_up()
            await running.wait_closed()


class _ControlServer:
    """Answers requests on open connections."""

    def __init__(self, answer: Answer, *, store: Path) -> None:
        self._answer = answer
        self._store = store.resolve()
        self._writers: set[asyncio.StreamWriter] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends, idles, or sends what is no message."""
        if len(self._writers) >= CONNECTIONS_MAX:
            error = StoreInUseError("too many commands are waiting for this store", hint="Try again.")
            writer.write(_framed(error_json(error)))
            writer.close()
            return
        self._writers.add(writer)
        try:
            while True:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    data = await reader.readexactly(_length(await reader.readexactly(_LENGTH_BYTES)))
                writer.write(await self._respond(data))
                await writer.drain()
        except InputError as error:
            writer.write(_framed(error_json(error)))
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            told(log, logging.DEBUG, "a command is done, or gone")
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """End all connections."""
        for writer in list(self._writers):
            writer.close()

    async def _respond(self, data: bytes) -> bytes:
        try:
            request = json.loads(data)
            if not isinstance(request, dict) or not isinstance(request.get("action"), str):
                raise InputError("a request names an action")
            if request["action"] == SERVING:
                return _framed({"result": {"store": str(self._store), "pid": os.getpid()}})
            return _framed({"result": await self._answer(request["action"], request.get("params"))})
        except CRDTSyncError as error:
            return _framed(error_json(error))
        except (ValueError, RecursionError):
            return _framed(error_json(InputError("a request that is no JSON")))
        except Exception:
            log.exception("a command failed", extra={FIELDS: {}})
            failure = CRDTSyncError("the serving process failed on this command", hint="Its log says more.")
            return _framed(error_json(failure))


class ControlClient:
    """A connection to the process that serves a store; an `Actor`.

    Args:
        replica_id: which store.
        store: its file.

    Raises:
        ConnectionError: nobody serves this file.
    """

    def __init__(self, replica_id: str, *, store: Path) -> None:
        path = socket_path(replica_id)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        try:
            self._socket.connect(str(path.readlink() if path.is_symlink() else path))
        except OSError as error:
            self._socket.close()
            raise ConnectionError(str(error)) from error
        serving = self._ask({"action": SERVING})
        self.pid: int = serving["pid"]
        """The process at the other end."""
        if serving["store"] != str(store.resolve()):
            self._socket.close()
            raise ConnectionError("another copy of this store is being served")

    def __call__(self, action: Action[P], params: P, /) -> Json:
        """Have one action done there.

        Raises:
            CRDTSyncError: as the action raised it there, or `StoreInUseError` where no answer comes.
        """
        return self._ask({"action": action.name, "params": action.encode(params)})

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _ask(self, request: Json) -> Json:
        try:
            self._socket.sendall(_framed(request))
            answer = json.loads(self._receive(_length(self._receive(_LENGTH_BYTES))))
        except OSError:  # also a timeout
            raise StoreInUseError(
                "the process that serves this store does not answer", hint="See whether it still runs; then try again."
            ) from None
        if "error" in answer:
            raise error_of_json(answer)
        result: Json = answer["result"]
        return result

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), 1024 * 1024))
            if not piece:
                raise ConnectionError("the other end hung up")
            data += piece
        return bytes(data)


def error_json(error: CRDTSyncError) -> Json:
    """An error as JSON."""
    return {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}


def error_of_json(data: Json) -> CRDTSyncError:
    """The error that `error_json` wrote, of the same class; of its data only message and hint."""
    told = data["error"]
    kind = getattr(errors, str(told["type"]), None)
    if not isinstance(kind, type) or not issubclass(kind, CRDTSyncError):
        kind = CRDTSyncError
    error = kind.__new__(kind)
    CRDTSyncError.__init__(error, str(told["message"]), hint=str(told["hint"]))  # the classes take different data
    return error


def _framed(message: Json) -> bytes:
    data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(data) > MESSAGE_BYTES_MAX:
        error = LimitError("the answer is too large for one message", hint="Ask for fewer records with --limit.")
        data = json.dumps(error_json(error)).encode()
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def _length(data: bytes) -> int:
    length = int.from_bytes(data, "big")
    if length > MESSAGE_BYTES_MAX:
        raise InputError(f"a message on the control socket has at most {MESSAGE_BYTES_MAX} bytes")
    return length


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket bound at ``path``; the caller holds the store's lock, so what is left there is stale."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    folder: Path | None = None
    place = path
    if len(os.fsencode(path)) > _PATH_BYTES_MAX:
        folder = Path(tempfile.mkdtemp(prefix="crdt-sync-"))  # mode 0700
        place = folder / "control.sock"
        path.symlink_to(place)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(place))
        place.chmod(0o600)  # the folder is 0700, so nobody else came in meanwhile
        yield listening
    finally:
        listening.close()
        path.unlink(missing_ok=True)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
