"""A line that damages handshakes must not end the dialling; what a peer shows again and again may. Real sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from crdt_sync import Replica, connect, serve
from crdt_sync.aio.giving_up import SAME_ENDS, GivingUp
from crdt_sync.aio.peers import Peer
from crdt_sync.aio.shell import Shell
from crdt_sync.errors import HandshakeError, InputError, PeerUnreachableError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.ending import PERMANENT_CODES, End
from crdt_sync.testing.proxy import FaultProxy, Way
from crdt_sync.transport.base import ChannelLimits
from crdt_sync.transport.websocket import listen
from tests.unit.aio.network import PATIENCE_S, QUICK, Task, titles, until

TRIES = 40
"""Handshakes on a line that damages most of them, for each seed."""
LIMITS = ChannelLimits(open_timeout_s=0.15, close_timeout_s=0.1, idle_timeout_s=0.6)


async def nap(delay_s: float) -> None:
    """A damaged length has one end wait for bytes that never come: nobody waits as long as for a slow network."""
    await asyncio.sleep(min(delay_s, 0.1))


SHELL = Shell(sleep=nap)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("way", ["up", "down", "both"])
async def test_sync_goes_on_after_many_damaged_handshakes(hub: Replica, one: Replica, way: str, seed: int) -> None:
    damage = Way(flip_every_bytes=300)
    async with (
        serve(hub) as server,
        FaultProxy(server.port, seed=seed) as proxy,
        connect(one, proxy.url, policy=QUICK, limits=LIMITS, shell=SHELL) as peer,
    ):
        await peer.caught_up(timeout_s=PATIENCE_S)
        proxy.up, proxy.down = (damage if way in {name, "both"} else Way() for name in ("up", "down"))
        async with asyncio.timeout(PATIENCE_S):
            while peer.reconnects < TRIES and peer.failure is None:
                proxy.cut()
                await asyncio.sleep(0.05)  # in which some handshakes come to an end, good or bad
        assert peer.failure is None
        assert peer.last_error is not None
        proxy.clear()
        proxy.cut()  # one may wait for what the damage took
        one.create(Task, title="written behind it")
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(hub) == {"written behind it"}


async def test_a_damaged_handshake_is_told_with_its_reason_and_pause(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "crdt_sync.sync")
    said = iter(range(1 << 20))

    async def babble(channel: Any) -> None:
        await channel.send(f"{next(said)} greetings".encode())
        await channel.receive()

    async with await listen(babble) as listener, connect(one, listener.url, policy=QUICK) as peer:
        await until(lambda: peer.reconnects > 2 * SAME_ENDS)
        assert peer.failure is None
        assert isinstance(peer.last_error, HandshakeError)
    assert "does not speak crdt_sync" in caplog.text
    assert "a peer is tried again" in caplog.text


async def test_an_answer_that_leads_nowhere_is_tried_again(one: Replica) -> None:
    """A damaged answer may look like a redirection to what is no address."""
    asked = 0

    async def dial(url: str, **_: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked < TRIES:
            raise InputError("the peer's address cannot be read")
        raise PeerUnreachableError("enough")

    peer = Peer(one, "ws://127.0.0.1:9", policy=QUICK, shell=Shell(dial=dial))
    task = asyncio.create_task(peer.run())
    await until(lambda: isinstance(peer.last_error, PeerUnreachableError))
    assert peer.failure is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def end(code: str, *, shown: bytes = b"", handshake: bool = False, permanent: bool = True) -> End:
    return End(code=code, text="", by_peer=True, permanent=permanent, handshake=handshake, shown=shown)


@pytest.mark.parametrize("code", sorted(PERMANENT_CODES))
def test_what_is_said_plainly_is_believed_at_once_and_all_else_the_third_time(code: ErrorCode) -> None:
    giving_up = GivingUp()
    plain = code in {ErrorCode.VERSION, ErrorCode.LIMITS, ErrorCode.REFUSED}
    answers = [giving_up.ended(end(code.value)) for _ in range(SAME_ENDS)]
    assert answers == [plain] * (SAME_ENDS - 1) + [True]


def test_only_the_same_thing_shown_in_a_row_is_believed() -> None:
    giving_up = GivingUp()
    flipped = [end("wrong_space", shown=bytes((at,)), handshake=True) for at in range(20)]
    assert not any(map(giving_up.ended, flipped))
    same = end("wrong_space", shown=bytes(32), handshake=True)
    assert not any(giving_up.ended(item) for item in (same, same, end("bye", permanent=False), same, same))
    assert giving_up.ended(same)
    assert repr(giving_up) == "<giving up: 3 of 3>"
