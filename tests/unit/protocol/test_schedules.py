"""Seeded random schedules: writes, deliveries, commits, requests and cuts in any order end in proven equality."""

from __future__ import annotations

import random

import pytest

from crdt_sync.protocol.events import AllProven
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.states import Phase
from tests.unit.protocol.replicas import End, FakeReplica, Pair

LIMITS = WireLimits(
    credit_bytes=64 * 1024, batch_bytes_max=300, eager_vector_bytes_max=60, eager_records_max=2, listing_page_keys=5
)


def step(pair: Pair, chance: random.Random, names: list[int]) -> None:
    """One thing happens somewhere."""
    end, out, into = chance.choice(
        ((pair.left, pair.to_right, pair.to_left), (pair.right, pair.to_left, pair.to_right))
    )
    match chance.randrange(8):
        case 0:
            names.append(len(names))
            partition = chance.choice(("", "", "red"))
            end.replica.write(f"k{chance.randrange(20)}={names[-1]}", partition=partition)
            end.session.wake()
        case 1:
            end.replica.records.append(chance.randbytes(20))
            end.session.wake()
        case 2:
            end.hold = chance.random() < 0.5
            end.handle()
        case 3 if chance.random() < 0.2:
            end.session.request_proof()
        case 4:
            pair.tick(chance.randrange(20))
            for ticked in pair.ends():  # a host that waits for this moment must not spin
                due_ms = ticked.session.tick_due_ms
                assert due_ms is None or due_ms > pair.now_ms
        case 5 | 6:
            out.extend(end.session.data_to_send())
        case _:
            for _ in range(min(len(into), chance.randrange(1, 4))):
                end.session.receive(into.pop(0))
                end.handle()


def finish(pair: Pair) -> None:
    """Let everything arrive; then both know that they are equal."""
    for end in pair.ends():
        end.hold = False
        end.session.wake()
    tokens = [end.session.request_proof() for end in pair.ends()]
    for _ in range(8):
        pair.settle()
        pair.tick()
    assert [end.ended for end in pair.ends()] == [None, None]
    assert pair.equal()
    assert sorted(pair.left.replica.records) == sorted(pair.right.replica.records)
    for end, token in zip(pair.ends(), tokens, strict=True):
        assert end.session.state is Phase.LIVE
        assert end.of(AllProven)[-1] == AllProven(token=token)
        assert end.session.drained
        assert end.session.tick_due_ms is None
        assert len(end.runs) == len(set(end.runs))


@pytest.mark.parametrize("seed", range(60))
def test_any_schedule_on_one_session_ends_in_proven_equality(seed: int) -> None:
    chance = random.Random(seed)
    left, right = FakeReplica(1), FakeReplica(2)
    names: list[int] = []
    for replica in (left, right):
        for _ in range(chance.randrange(6)):
            names.append(len(names))
            replica.write(f"k{chance.randrange(20)}={names[-1]}")
            replica.records.append(chance.randbytes(20))
    pair = Pair(left, right, limits=LIMITS)
    for _ in range(300):
        step(pair, chance, names)
    finish(pair)


@pytest.mark.parametrize("seed", range(20))
def test_cuts_at_any_point_are_made_good_by_the_next_session(seed: int) -> None:
    chance = random.Random(1000 + seed)
    left, right = FakeReplica(1), FakeReplica(2)
    names: list[int] = []
    for _ in range(6):
        pair = Pair(left, right, limits=LIMITS)
        for _ in range(chance.randrange(80)):
            step(pair, chance, names)
    finish(Pair(left, right, limits=LIMITS))


@pytest.mark.parametrize("seed", range(20))
def test_three_replicas_in_a_ring_relay_without_repeating_on_one_session(seed: int) -> None:
    chance = random.Random(2000 + seed)
    replicas = [FakeReplica(index + 1) for index in range(3)]
    pairs = [Pair(replicas[a], replicas[b], limits=LIMITS) for a, b in ((0, 1), (1, 2), (2, 0))]
    names: list[int] = []
    ends: list[End] = [end for pair in pairs for end in pair.ends()]
    for _ in range(400):
        step(chance.choice(pairs), chance, names)
        for end in ends:
            end.session.wake()
    for end in ends:
        end.hold = False
    for _ in range(6):
        for pair in pairs:
            pair.settle()
            pair.tick()
        for end in ends:
            end.session.wake()
    for pair in pairs:
        finish(pair)
    assert replicas[0].vector() == replicas[1].vector() == replicas[2].vector()
