"""The soak in small: that it runs, that its devices agree in the end, and how growth is judged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.testing.growth import Series
from tests.e2e.accounts import Account
from tests.e2e.growth import read_samples, table
from tests.e2e.soak import PLOT, SAMPLES, Settings, Soak, compared, draw
from tests.e2e.steady import MODELS, Note, Reading, Tally


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
    assert result["votes"] > 0
    assert len(soak.series[0].values) > 2
    assert told[-1].startswith("minute 0: hub memory ")
    with samples.open("a") as file:
        file.write("[3.0, 1")  # killed amid the line
    assert read_samples(samples) == soak.series
    draw(tmp_path, title="a soak")
    assert "memory a device" in (tmp_path / PLOT).read_text()


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A store with a tally of three votes, a reading that says "x", and a note."""
    path = tmp_path / "hub.db"
    with Replica.open(path, MODELS, state_dir=tmp_path) as replica:
        tally = replica.create(Tally)
        for _ in range(3):
            tally.votes.increment()
        replica.create(Reading, value="x")
        replica.create(Note)
    return path


def ends_of(path: Path) -> dict[str, Any]:
    """What two devices would say that were told of all that is in a store."""
    with Replica.open(path, MODELS, read_only=True) as replica:
        (tally,), (reading,), (note,) = replica.find(Tally), replica.find(Reading), replica.find(Note)
        one = Account(votes={tally.id: 1}, values={reading.id: "w"}, notes=[note.id])
        two = Account(votes={tally.id: 2}, values={reading.id: "x"})
        return {"accounts": [asdict(one), asdict(two)], "fingerprints": [replica.port.fingerprint("").hex()]}


def test_a_hub_that_agrees_with_what_devices_were_told(hub: Path) -> None:
    assert compared(hub, [ends_of(hub)]) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda end, one: one["votes"].update(dict.fromkeys(one["votes"], 2)), "3 votes"),
        (lambda end, one: one["votes"].update(gone=1), "None votes of gone, where 1 were cast"),
        (lambda end, one: end["accounts"].pop(), "no device wrote there last"),
        (lambda end, one: one["notes"].append("gone"), "lacks note gone"),
        (lambda end, one: one["notes"].clear(), "which was deleted or never made"),
        (lambda end, one: end.update(fingerprints=["00"]), "the devices and the hub differ"),
    ],
    ids=["a vote lost", "a tally lost", "a value put back", "a note lost", "a note back", "another hub"],
)
def test_what_all_stores_lack_alike_is_seen(
    hub: Path, change: Callable[[dict[str, Any], dict[str, Any]], object], problem: str
) -> None:
    end = ends_of(hub)
    change(end, end["accounts"][0])
    assert any(problem in each for each in compared(hub, [end]))


def series(*values: float) -> Series:
    return Series(name="x", unit="MB", times_s=[float(at) for at in range(len(values))], values=list(values))


def test_a_table_shows_numbers_a_verdict_and_a_picture() -> None:
    shown = table([series(1, 5, 9, 10, 10, 10, 10, 10), series(*range(200))])
    assert "+0.0% flat" in shown
    assert "GROWS" in shown
    assert "▂▅▇██████"[:3] in shown
