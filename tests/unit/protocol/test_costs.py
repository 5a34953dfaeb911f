"""What an exchange costs in bytes, flights and memory; figures that later changes must not lose."""

from __future__ import annotations

import random
import sys

from crdt_sync.protocol.states import Phase
from tests.unit.protocol.replicas import FakeReplica, Pair

WORDS = [f"word{index}" for index in range(500)]


def small_entry(chance: random.Random, name: str) -> str:
    """About as large and as compressible as the entry of one changed field."""
    return f"{name}={chance.randbytes(20).hex()} {chance.choice(WORDS)}"


def test_idle_reconnect_with_one_author_costs_less_than_300_bytes_both_ways() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    left.records = right.records = [b"binding" * 20]
    left.write(*[f"k{index}=1" for index in range(1000)])
    Pair(left, right).settle()
    pair = Pair(left, right)
    pair.settle()
    assert pair.left.session.state is pair.right.session.state is Phase.LIVE
    frames = pair.left.frames + pair.right.frames
    assert frames == 4
    websocket_headers = frames * 4
    assert pair.left.bytes_sent + pair.right.bytes_sent + websocket_headers <= 300


def test_ten_changes_on_each_side_cost_three_frames_each_and_little_besides_the_runs() -> None:
    chance = random.Random(1)
    left, right = FakeReplica(1), FakeReplica(2)
    left.records = right.records = [b"left" * 40, b"right" * 40]
    left.write(*[f"k{index}=1" for index in range(1000)])
    right.write("mine=1")
    Pair(left, right).settle()
    left.write(*[small_entry(chance, f"k{index}") for index in range(10)])
    right.write(*[small_entry(chance, f"k{index + 20}") for index in range(10)])
    pair = Pair(left, right)
    pair.settle()
    assert pair.equal()
    assert pair.flights == 3
    for end, other in ((pair.left, pair.right), (pair.right, pair.left)):
        assert end.frames == 3
        assert end.bytes_sent - sum(map(len, other.runs)) < 230


def test_a_session_at_rest_remembers_nothing_per_author() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    for index in range(50):
        third = FakeReplica(100 + index)
        third.write("a=1")
        Pair(left, third).settle()
    pair = Pair(left, right)
    pair.settle()
    left.write("b=1")
    for _ in range(2):
        pair.left.session.wake()
        pair.right.session.wake()
        pair.settle()
    for end in pair.ends():
        assert end.session._standing.known == {}
        assert sys.getsizeof(end.session._records._skip) < 1000
