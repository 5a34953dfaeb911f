"""The soak in small: that it runs, that its devices agree in the end, and how growth is judged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crdt_sync.testing.growth import Series
from tests.e2e.growth import read_samples, table
from tests.e2e.soak import PLOT, SAMPLES, Settings, Soak, draw


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tells what processes hold from /proc")
async def test_devices_agree_after_a_soak(tmp_path: Path) -> None:
    settings = Settings(minutes=0.05, devices=3, records=5, edits_per_s=10.0, sample_s=0.5)
    samples, told = tmp_path / SAMPLES, list[str]()
    soak = Soak(settings, tmp_path / "place", samples=samples, tell=told.append)
    (tmp_path / "place").mkdir()
    result = await soak.run()
    assert [problem for problem in result["problems"] if " grows by " not in problem] == []
    assert result["edits"] > 0
    assert len(soak.series[0].values) > 2
    assert told[-1].startswith("minute 0: hub memory ")
    with samples.open("a") as file:
        file.write("[3.0, 1")  # killed amid the line
    assert read_samples(samples) == soak.series
    draw(tmp_path, title="a soak")
    assert "memory a device" in (tmp_path / PLOT).read_text()


def series(*values: float) -> Series:
    return Series(name="x", unit="MB", times_s=[float(at) for at in range(len(values))], values=list(values))


def test_a_table_shows_numbers_a_verdict_and_a_picture() -> None:
    shown = table([series(1, 5, 9, 10, 10, 10, 10, 10), series(*range(200))])
    assert "+0.0% flat" in shown
    assert "GROWS" in shown
    assert "▂▅▇██████"[:3] in shown
