"""The control socket: framing, bounds, and errors that stay what they are."""

from __future__ import annotations

import asyncio
import inspect
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica, errors
from crdt_sync.cli import control
from crdt_sync.cli.actions import perform
from crdt_sync.cli.actions.journal import STATUS, NoParams
from crdt_sync.cli.control import ControlClient, control_socket, error_json, error_of_json, socket_path

REPLICA = "00" * 16

Talk = Callable[[dict[str, Any] | bytes], Awaitable[dict[str, Any]]]


async def ask(path: Path, data: bytes) -> bytes:
    """Send bytes, and read until the other end hangs up or one message has come."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    if len(data) < 4:
        writer.write_eof()
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return b""
    finally:
        writer.close()
        await writer.wait_closed()


def framed(message: Any) -> bytes:
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


async def echo(name: str, params: Any) -> dict[str, Any]:
    match name:
        case "echo":
            return {"params": params}
        case "large":
            return {"data": "x" * control.MESSAGE_BYTES_MAX}
        case "refuse":
            raise errors.RecordNotFoundError("there is none", record_id="7", hint="look elsewhere")
        case _:
            raise RuntimeError("secret")


async def test_requests_are_answered(state_dir: Path, tmp_path: Path) -> None:
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        path = socket_path(REPLICA)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        answer = json.loads(await ask(path, framed({"action": "echo", "params": {"a": "é"}})))
        assert answer == {"result": {"params": {"a": "é"}}}
    assert not path.exists()


@pytest.mark.parametrize(
    ("request_bytes", "kind"),
    [
        (framed(b"\xff"), "InputError"),
        (framed(b"{"), "InputError"),
        (framed([]), "InputError"),
        (framed({"params": 1}), "InputError"),
        (framed(b"[" * 100_000), "InputError"),
        ((2**31).to_bytes(4, "big"), "InputError"),
        (framed({"action": "refuse"}), "RecordNotFoundError"),
        (framed({"action": "large"}), "LimitError"),
        (framed({"action": "crash"}), "CRDTSyncError"),
    ],
)
async def test_what_cannot_be_answered_is_a_typed_error(
    state_dir: Path, tmp_path: Path, request_bytes: bytes, kind: str
) -> None:
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        path = socket_path(REPLICA)
        answer = json.loads(await ask(path, request_bytes))
        assert answer["error"]["type"] == kind
        assert answer["error"]["hint"]
        assert "secret" not in json.dumps(answer)
        assert json.loads(await ask(path, framed({"action": "echo", "params": 1}))), "it goes on answering"


async def test_who_hangs_up_or_idles_is_let_go(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "IDLE_TIMEOUT_S", 0.05)
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        path = socket_path(REPLICA)
        assert await ask(path, b"\0") == b""
        assert await ask(path, b"\0\0\0\7part") == b""


async def test_commands_that_come_too_many_at_once_are_told_so(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONNECTIONS_MAX", 1)
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        path = socket_path(REPLICA)
        _, first = await asyncio.open_unix_connection(str(path))
        await asyncio.sleep(0)
        refused = json.loads(await ask(path, framed({"action": "echo"})))
        assert refused["error"]["type"] == "StoreInUseError"
        first.close()
        await first.wait_closed()


async def test_a_path_too_long_for_a_socket_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    monkeypatch.setenv("CRDT_SYNC_STATE_DIR", str(folder))
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        path = socket_path(REPLICA)
        place = path.readlink()
        client = await asyncio.to_thread(ControlClient, REPLICA, store=tmp_path / "a.db")
        client.close()
    assert not path.is_symlink()
    assert not place.parent.exists()


async def test_a_socket_left_behind_is_replaced_and_answers_nobody(state_dir: Path, tmp_path: Path) -> None:
    path = socket_path(REPLICA)
    path.parent.mkdir(parents=True)
    with control._bound(path):
        data = path.stat()
        path.rename(path.with_name("kept"))
    path.with_name("kept").rename(path)
    assert path.stat().st_ino == data.st_ino
    with pytest.raises(ConnectionError):
        ControlClient(REPLICA, store=tmp_path / "a.db")
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        client = await asyncio.to_thread(ControlClient, REPLICA, store=tmp_path / "a.db")
        client.close()


async def test_a_copy_of_a_store_is_not_answered_for(state_dir: Path, tmp_path: Path) -> None:
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(ControlClient, REPLICA, store=tmp_path / "copy.db")


async def test_a_server_that_ends_meanwhile_is_a_typed_error(state_dir: Path, tmp_path: Path) -> None:
    async with control_socket(REPLICA, store=tmp_path / "a.db", answer=echo):
        client = await asyncio.to_thread(ControlClient, REPLICA, store=tmp_path / "a.db")
    with pytest.raises(errors.StoreInUseError) as refused:
        await asyncio.to_thread(client, STATUS, NoParams())
    assert "does not answer" in refused.value.message
    client.close()


def _classes() -> list[type[errors.CRDTSyncError]]:
    found = [item for _, item in inspect.getmembers(errors, inspect.isclass)]
    return [item for item in found if issubclass(item, errors.CRDTSyncError)]


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: str(kind.__name__))
def test_every_error_keeps_its_class_on_the_way(kind: type[errors.CRDTSyncError]) -> None:
    back = error_of_json({"error": {"type": kind.__name__, "message": "m", "hint": "h"}})
    assert type(back) is kind
    assert (back.message, back.hint, back.exit_code, str(back)) == ("m", "h", kind.exit_code, "m")
    assert error_json(back)["error"]["type"] == kind.__name__


@pytest.mark.parametrize("name", ["ValueError", "annotations", "nothing", ""])
def test_an_error_of_no_known_class_is_one_of_ours(name: str) -> None:
    assert type(error_of_json({"error": {"type": name, "message": "m", "hint": ""}})) is errors.CRDTSyncError


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nothing", {}),
        ("show", {}),
        ("show", None),
        ("show", {"model": 1, "record_id": []}),
        ("list", {"model": "Task", "limit": "many"}),
        ("import_chunk", {"lines": [{"number": 1}], "mark": "", "digest": ""}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name: str, params: Any) -> None:
    with Replica.open(":memory:") as replica, pytest.raises(errors.InputError):
        perform(replica, name, params)
