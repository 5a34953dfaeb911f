"""What travels sealed can be drawn, and a liar with a key of its own is heard by the sessions of others."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest

from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.ending import End
from crdt_sync.security.channel import Ephemeral
from crdt_sync.security.handshake import Handshake
from crdt_sync.security.identity import DeviceKey
from crdt_sync.testing.simulation import Simulation
from crdt_sync.testing.simulation.tapping import Draws, Tap
from crdt_sync.testing.simulation.trace import Trace

SPACE = b"s" * 32


def tapped(draws: Draws) -> tuple[Tap, tuple[Handshake, Handshake]]:
    """Two ends that have shaken hands, and who saw it."""
    tap, draw = Tap(draws), iter((b"1" * 32, b"2" * 32))
    entropy = draws.noting(lambda count: next(draw)[:count])
    ends = [
        Handshake(initiator=not side, key=DeviceKey.generate(bytes([side]) * 32), space=SPACE, secret=entropy(32))
        for side in (0, 1)
    ]
    said = [(side, data) for side in (0, 1) for data in ends[side].start()]
    for side, data in said:
        tap.see(side, data)
        said += [(1 - side, answer) for answer in ends[1 - side].receive(data)]
    return tap, (ends[0], ends[1])


def test_who_knows_what_was_drawn_opens_both_directions() -> None:
    tap, ends = tapped(Draws())
    for side in (0, 1):
        for count in range(3):
            message = f"{side} {count}".encode()
            sealed = ends[side].channel.seal(message)
            assert tap.see(side, sealed) == count
            assert tap.opened(side, sealed, count) == message
            assert tap.opened(side, sealed, count + 1) == sealed, "as it is"


def test_who_does_not_know_what_was_drawn_opens_nothing() -> None:
    tap, ends = tapped(Draws())
    blind = Tap(Draws())
    for side in (0, 1):
        for said in tap._signed[side]:
            blind.see(side, said)
    sealed = ends[0].channel.seal(b"message")
    assert tap.opened(0, sealed, 0) == b"message"
    assert blind.opened(0, sealed, 0) == sealed


def test_what_was_drawn_for_something_else_is_no_secret() -> None:
    draws = Draws()
    draws.noting(bytes)(16)
    assert draws.ephemeral(Ephemeral(bytes(32)).public_key) is None


def test_a_diagram_names_the_messages_in_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[Trace] = []
    made = Trace.__init__

    def noted(self: Trace) -> None:
        traces.append(self)
        made(self)

    monkeypatch.setattr(Trace, "__init__", noted)
    Simulation(1, faults=[]).run()
    arrows = [line for line in traces[0].diagram(last=10_000).splitlines() if "->>" in line]
    named = [line for line in arrows if re.search(r" s [A-Z]", line)]
    assert any("HELLO" in line for line in named)
    assert any("RUNS" in line for line in named)
    assert len(named) > len(arrows) / 2


def test_what_a_liar_says_reaches_the_sessions_of_others() -> None:
    codes: set[tuple[str, bool]] = set()
    finish = Conversation._finish

    def noted(self: Conversation, end: End) -> None:
        codes.add((end.code, end.handshake))
        finish(self, end)

    with patch.object(Conversation, "_finish", noted):
        for seed in range(20):
            Simulation(seed, faults=["byzantine"]).run()
    assert (ErrorCode.CHECKSUM.value, False) in codes, "sealed by it, and no frame"
    assert (ErrorCode.ALTERED.value, False) in codes, "not sealed at all"
    assert {code for code, handshake in codes if handshake}
