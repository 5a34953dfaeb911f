"""Backoff: bounds for every input, growth, jitter, and what counts as a success."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.aio.backoff import Backoff, BackoffPolicy
from crdt_sync.errors import InputError

POLICY = BackoffPolicy()
SECONDS = st.floats(0.001, 1e6)
POLICIES = st.builds(
    lambda times, factor: BackoffPolicy(floor_s=times[0], base_s=times[1], cap_s=times[2], factor=factor),
    st.lists(SECONDS, min_size=3, max_size=3).map(sorted),
    st.floats(1, 1e9),
)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(policy=POLICIES, chances=st.lists(CHANCES, min_size=1, max_size=50))
def test_each_delay_is_within_its_window(policy: BackoffPolicy, chances: list[float]) -> None:
    drawn = iter(chances)
    backoff = Backoff(policy, chance=lambda: next(drawn))
    for failures in range(1, len(chances) + 1):
        delay_s = backoff.failed(now_s=0)
        assert backoff.failures == failures
        assert policy.floor_s <= delay_s <= policy.window_s(failures) <= policy.cap_s


@given(policy=POLICIES, failures=st.integers(1, 10**9))
def test_the_window_grows_to_its_cap_and_no_further(policy: BackoffPolicy, failures: int) -> None:
    assert policy.base_s <= policy.window_s(failures) <= policy.window_s(failures + 1) <= policy.cap_s


def test_the_window_doubles() -> None:
    assert [POLICY.window_s(failures) for failures in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    with pytest.raises(ValueError, match="without a failure"):
        POLICY.window_s(0)


def test_the_jitter_is_full() -> None:
    backoff = Backoff(POLICY, chance=random.Random(7).random)
    for _ in range(10):
        backoff.failed(now_s=0)
    delays_s = [backoff.failed(now_s=0) for _ in range(2000)]
    assert min(delays_s) < 0.01 * POLICY.cap_s
    assert max(delays_s) > 0.99 * POLICY.cap_s
    assert sum(delays_s) / len(delays_s) == pytest.approx(POLICY.cap_s / 2, rel=0.05)


def test_the_same_seed_gives_the_same_delays() -> None:
    first, second = (Backoff(POLICY, chance=random.Random(1).random) for _ in range(2))
    assert [first.failed(now_s=0) for _ in range(9)] == [second.failed(now_s=0) for _ in range(9)]


def test_a_connection_that_lasted_starts_the_count_anew() -> None:
    backoff = Backoff(POLICY, chance=lambda: 0.999)
    for _ in range(5):
        backoff.failed(now_s=0)
    backoff.connected(now_s=100)
    assert backoff.failed(now_s=100 + POLICY.stable_after_s) < POLICY.base_s
    assert backoff.failures == 1


def test_a_connection_that_did_not_last_counts_as_a_failure() -> None:
    backoff = Backoff(POLICY, chance=lambda: 0.5)
    for attempt in range(5):
        backoff.connected(now_s=attempt)
        backoff.failed(now_s=attempt + 0.1)
    assert backoff.failures == 5
    # An old connection does not vouch for a later failure.
    backoff.failed(now_s=10_000)
    assert backoff.failures == 6
    assert repr(backoff) == "<backoff after 6 failures, up to 16 s>"


@given(asked=st.floats(), chance=CHANCES)
def test_what_a_peer_asks_for_is_bounded(asked: float, chance: float) -> None:
    delay_s = Backoff(POLICY, chance=lambda: chance).failed(now_s=0, retry_after_s=asked)
    assert POLICY.floor_s <= delay_s <= 2 * POLICY.retry_after_s_max
    if 0 < asked <= POLICY.retry_after_s_max:
        assert delay_s >= asked
    elif not asked > 0:
        assert delay_s <= POLICY.base_s


@pytest.mark.parametrize(
    "bounds",
    [
        {"floor_s": 0},
        {"floor_s": 2, "base_s": 1},
        {"base_s": 100},
        {"cap_s": math.inf},
        {"cap_s": math.nan},
        {"factor": 0.5},
        {"factor": math.inf},
        {"stable_after_s": -1},
        {"retry_after_s_max": math.nan},
    ],
)
def test_bounds_that_are_none_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="backoff") as raised:
        BackoffPolicy(**bounds)
    assert raised.value.hint


def spread(asked_s: float | None, *, devices: int = 1000) -> list[float]:
    """When the devices of a hub come back that lost it at once, in order."""
    return sorted(
        Backoff(POLICY, chance=random.Random(seed).random).failed(now_s=0, retry_after_s=asked_s)
        for seed in range(devices)
    )


def test_those_who_lost_a_hub_at_once_do_not_come_back_at_once() -> None:
    times_s = spread(None)
    assert POLICY.floor_s <= times_s[0]
    assert times_s[-1] <= POLICY.base_s
    busiest = max(sum(at <= other < at + 0.05 for other in times_s) for at in times_s)
    assert busiest < 250, "in a tenth of the window"


def test_those_who_were_told_the_same_wait_are_spread_over_as_much_again() -> None:
    times_s = spread(30)
    assert 30 <= times_s[0] < 31
    assert 59 < times_s[-1] <= 60
    busiest = max(sum(at <= other < at + 1 for other in times_s) for at in times_s)
    assert busiest < 80, "in a thirtieth of the time"
