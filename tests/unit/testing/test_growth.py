"""Figures over time: which of them grow, and how they look."""

from __future__ import annotations

import pytest

from crdt_sync.testing.growth import Series


def series(*values: float, is_judged: bool = True) -> Series:
    times = [float(at) for at in range(len(values))]
    return Series(name="x", unit="MB", is_judged=is_judged, times_s=times, values=list(values))


@pytest.mark.parametrize(
    ("values", "is_flat"),
    [
        ((1, 5, 9, 10, 10, 10, 10, 10), True),
        ((1, 2, 3, 4, 5, 6, 7, 8), False),
        ((10, 10, 10, 10, 10, 10.2, 10.4, 10.6), False),
        ((10, 10, 10, 10, 12, 9, 12, 9), True),
        ((10, 10, 10, 10, 9, 8, 7, 6), True),
        ((5,), True),
        ((), True),
        ((0, 0, 0, 0), True),
    ],
    ids=["warm-up", "grows", "grows a little", "saw", "shrinks", "one sample", "none", "nothing"],
)
def test_growth_is_judged_by_the_second_half(values: tuple[float, ...], is_flat: bool) -> None:
    assert series(*values).is_flat is is_flat


def test_growth_is_a_part_of_the_mean() -> None:
    grown = series(10, 10, 10, 10, 10, 11, 12, 13)
    assert grown.judged_from == 4
    assert grown.growth == pytest.approx(3 / 11.5)


def test_what_need_not_be_flat_is() -> None:
    assert series(1, 2, 3, 4, 5, 6, 7, 8, is_judged=False).is_flat


def test_samples_of_one_time_have_no_growth() -> None:
    assert Series(name="x", unit="MB", times_s=[1.0, 1.0, 1.0, 1.0], values=[1, 2, 3, 4]).growth == 0


def test_bars_go_from_nothing_to_the_greatest_value() -> None:
    assert series(0, 8).bars() == "▁█"
    assert series().bars() == ""
    assert len(series(*range(200)).bars()) == 60
