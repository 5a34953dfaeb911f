"""What stands behind a proof where the host tells the session of its commits late, as one that waits for more does.

A fingerprint may then go out before the runs that it covers. It names the vector that it stands for, and is compared by
whoever stands at that vector only, so it waits at the peer until those runs are durable there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from crdt_sync.core.ids import Author
from crdt_sync.protocol.comparing import Fingerprint
from crdt_sync.protocol.events import AllProven
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Runs, decode_message
from crdt_sync.protocol.source import Vector
from crdt_sync.protocol.vectors import vector_hash
from crdt_sync.protocol.wire import FrameDecoder, split_packet
from tests.unit.protocol.replicas import End, FakeReplica, Pair
from tests.unit.protocol.test_schedules import LIMITS, finish

Ends = Mapping[tuple[str, Author], int]


def messages_of(frames: list[bytes]) -> list[object]:
    limits, decoder = WireLimits(), FrameDecoder(WireLimits())
    packets = [packet for packet in map(decoder.feed, frames) if packet is not None]
    return [decode_message(kind, data, limits) for packet in packets for kind, data in split_packet(packet, limits)]


def deliver(frames: list[bytes], end: End) -> None:
    for frame in frames:
        end.session.receive(frame)
        end.handle()


def test_a_fingerprint_that_runs_ahead_of_its_runs_proves_nothing_before_they_are_durable() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = Pair(left, right)
    pair.settle()
    token = pair.left.session.request_proof()
    request = pair.left.session.data_to_send()
    right.write("late=1")  # committed; the session will be told later
    deliver(request, pair.right)
    early = pair.right.session.data_to_send()
    said = [message for message in messages_of(early) if isinstance(message, Fingerprint)]
    assert [item.vector_hash for item in said] == [vector_hash(right.vector()[""])[:8]], "it covers the commit"
    deliver(early, pair.left)
    pair.settle()
    pair.tick()
    pair.settle()
    assert AllProven(token=token) not in pair.left.seen
    pair.right.session.wake()
    pair.left.hold = True
    pair.settle()
    assert AllProven(token=token) not in pair.left.seen, "received is not durable"
    pair.left.hold = False
    pair.settle()
    assert pair.left.of(AllProven)[-1] == AllProven(token=token)
    assert left.vector() == right.vector() != {}


def test_runs_go_before_fingerprints_where_commits_are_told_at_once() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = Pair(left, right)
    pair.settle()
    pair.left.session.request_proof()
    request = pair.left.session.data_to_send()
    right.write("at once=1")
    pair.right.session.wake()
    deliver(request, pair.right)
    kinds = [type(message) for message in messages_of(pair.right.session.data_to_send())]
    assert kinds == [Runs, Fingerprint]


def ends(vector: Vector) -> dict[tuple[str, Author], int]:
    return {(name, author): at.sequence for name, authors in vector.items() for author, at in authors.items()}


class Watched:
    """Two sessions, what both sides held at each request for proof, and what was proven since."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pair = Pair(FakeReplica(1), FakeReplica(2), limits=LIMITS)
        self._asked: dict[tuple[int, int], Ends] = {}
        self._seen = [0, 0]

    def step(self, number: int) -> None:
        """One thing happens somewhere."""
        chance, side = self.chance, self.chance.randrange(2)
        end, wires = self.pair.ends()[side], (self.pair.to_right, self.pair.to_left)
        match chance.randrange(8):
            case 0:
                end.replica.write(f"k{chance.randrange(9)}={number}")
            case 1:
                end.session.wake()
            case 2:
                end.hold = chance.random() < 0.3
                end.handle()
            case 3 if chance.random() < 0.3:
                had = [ends(one.replica.vector()) for one in self.pair.ends()]
                both = {name: max(one.get(name, 0) for one in had) for name in had[0] | had[1]}
                self._asked[side, end.session.request_proof()] = both
            case 4:
                self.pair.tick(chance.randrange(20))
                end.handle()
            case 5 | 6:
                wires[side].extend(end.session.data_to_send())
                end.handle()
            case _:
                into = wires[1 - side]
                deliver([into.pop(0) for _ in range(min(len(into), chance.randrange(1, 4)))], end)

    def check(self) -> None:
        """What was proven since the last look covers what both sides had at the request."""
        for side, end in enumerate(self.pair.ends()):
            for event in end.seen[self._seen[side] :]:
                if isinstance(event, AllProven) and event.token is not None:
                    for other in self.pair.ends():
                        held = ends(other.replica.vector())
                        asked = self._asked.get((side, event.token), {})
                        assert {name for name, last in asked.items() if held.get(name, 0) < last} == set()
            self._seen[side] = len(end.seen)


@pytest.mark.parametrize("seed", range(40))
def test_a_proof_covers_what_either_side_had_when_it_was_asked_for(seed: int) -> None:
    """Whatever the order of commits, of telling the session of them, of deliveries and of requests."""
    watched = Watched(seed)
    for number in range(600):
        watched.step(number)
        watched.check()
    finish(watched.pair)
    watched.check()
