"""The long history: it repeats, finds what grows, and finds what is lost."""

from __future__ import annotations

import pytest

from crdt_sync.testing.growth import Series
from crdt_sync.testing.simulation import soak
from crdt_sync.testing.simulation.soak import Sampler, Soak, SoakReport, Writers


def series(*values: float, is_judged: bool = True) -> Series:
    made = Series(name="a figure", unit="MB", is_judged=is_judged)
    for at, value in enumerate(values):
        made.add(value, at_s=float(at))
    return made


def test_what_rises_in_its_second_half_grows() -> None:
    assert series(1, 5, 9, 10, 10, 10, 10, 10).is_flat, "the first half is for warming up"
    assert series(10, 10, 10, 10, 10, 11, 12, 13).growth == pytest.approx(3 / 11.5)
    assert not series(10, 10, 10, 10, 10, 11, 12, 13).is_flat
    assert series(10, 10, 10, 10, 10, 11, 12, 13, is_judged=False).is_flat
    assert series().is_flat
    assert series(0, 8).bars() == "▁█"


def run(monkeypatch: pytest.MonkeyPatch, *, steps: int) -> SoakReport:
    monkeypatch.setattr(soak, "ROUND_STEPS", 10)
    return Soak(3, replicas=2, hubs=1, steps=steps).run()


def test_a_soak_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = run(monkeypatch, steps=60), run(monkeypatch, steps=60)
    assert not first.failure
    assert first.edits > 20
    assert len(first.series[0].values) == 6
    rows = [[each.values for each in report.series if each.name == "rows of a store"] for report in (first, again)]
    assert rows[0] == rows[1]
    assert (first.edits, first.frames, first.virtual_s) == (again.edits, again.frames, again.virtual_s)


def test_what_grows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(self: Sampler, world: object) -> None:
        self._add("kept", "MB", float(len(held)), at_s=float(len(held)))
        held.append(0)

    held: list[int] = []
    monkeypatch.setattr(Sampler, "sample", grow)
    report = run(monkeypatch, steps=80)
    assert not report.failure
    assert [problem.split(" by ")[0] for problem in report.problems] == ["kept grows"]


def test_an_edit_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Writers, note: object, tags: dict[str, None]) -> None:
        tags["never written"] = None

    monkeypatch.setattr(Writers, "_tag", forgetful)
    assert "nothing lost" in run(monkeypatch, steps=60).problems[0]
