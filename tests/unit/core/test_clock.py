"""The hybrid clock: always ahead of what it saw, close to wall time, never dragged along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.clock import COUNTER_BITS, HLC_MAX, Hlc, HybridClock, pack, physical_ms

times = st.integers(0, 2**48 - 1)


@given(st.lists(st.tuples(st.booleans(), times, st.integers(0, HLC_MAX)), max_size=30))
def test_it_only_goes_forward(events: list[tuple[bool, int, int]]) -> None:
    clock = HybridClock()
    for is_tick, now_ms, remote in events:
        before = clock.last
        if is_tick:
            made = clock.tick(now_ms)
            assert made > before or made == HLC_MAX
            assert physical_ms(made) >= now_ms or made == HLC_MAX
        else:
            followed = clock.observe(remote, now_ms)
            assert clock.last == (max(before, remote) if followed else before)
            assert followed == (physical_ms(remote) <= now_ms + clock.drift_max_ms)


def test_a_tick_follows_what_was_observed() -> None:
    clock = HybridClock()
    assert clock.observe(pack(5_000, 7), 5_000)
    assert clock.tick(4_000) == pack(5_000, 8)
    assert clock.tick(6_000) == pack(6_000)


def test_the_counter_carries_into_the_milliseconds() -> None:
    clock = HybridClock(last=pack(5, 2**COUNTER_BITS - 1))
    assert clock.tick(5) == pack(6)


def test_a_clock_far_ahead_drags_nobody_along() -> None:
    clock = HybridClock(drift_max_ms=1_000)
    clock.tick(5_000)
    assert not clock.observe(pack(6_001), 5_000)
    assert clock.observe(pack(6_000), 5_000)
    assert physical_ms(clock.tick(5_001)) == 6_000


def test_it_stops_at_the_end_of_its_range() -> None:
    clock = HybridClock(last=Hlc(HLC_MAX))
    assert clock.tick(1) == HLC_MAX
    assert pack(2**60) == HLC_MAX
