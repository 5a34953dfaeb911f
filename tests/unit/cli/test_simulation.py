"""`crdt-sync simulate`: its report, its failures and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdt_sync.cli.main import main
from crdt_sync.replica.port import Port
from crdt_sync.testing.simulation import STEPS, VERSION, Simulation, soak


def test_a_report_says_what_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--histories", "12", "--jobs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["histories"], result["steps"], result["failures"]) == (12, 12 * STEPS, [])
    assert result["version"] == VERSION
    assert result["frames"] > result["edits"] > 0
    assert result["simulated_days"] > 0
    assert sum(result["faults"].values()) > 0


def test_people_are_told_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--histories", "2", "--jobs", "1", "--faults", "none", "--steps", "5"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 histories, 10 steps")
    assert told.endswith("no invariant was broken\n")


def test_a_failure_is_printed_and_its_schedule_fails_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Port, "_make_durable", lambda self: None)
    arguments = ["simulate", "--jobs", "1", "--faults", "power", "--json"]
    assert main([*arguments, "--histories", "10"]) == 1
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert 0 < len(failures) <= 10
    lines = failures[0].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("crdt-sync simulation"))
    file = tmp_path / "schedule"
    file.write_text("\n".join(lines[start : lines.index("", start)]), encoding="utf-8")
    assert main(["simulate", "--schedule", str(file)]) == 1
    told = capsys.readouterr().out
    assert "sequenceDiagram" in told
    assert told.endswith("1 histories broke an invariant\n")
    monkeypatch.undo()
    assert main(["simulate", "--schedule", str(file)]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", f"{VERSION + 1}:3"], "the release that printed it"),
        (["--seed", "three"], "is no seed"),
        (["--faults", "cut,fire"], "unknown fault"),
        (["--replicas", "1", "--hubs", "0"], "2 to 16 hosts"),
        (["--schedule", "nowhere"], "cannot be read"),
        (["--histories", "0"], "0 histories try nothing"),
        (["--hours", "0"], "0.0 hours are none"),
        (["--schedule", "nowhere", "--seed", "5"], "says all of its history"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_schedule_of_another_version_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "schedule"
    file.write_text(Simulation(1).schedule.as_text().replace(f"simulation {VERSION}", "simulation 0"), encoding="utf-8")
    assert main(["simulate", "--schedule", str(file)]) == 2
    assert "version" in capsys.readouterr().err


def test_a_soak_says_what_it_sampled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "WARM_STEPS", 30)
    arguments = ["simulate", "--soak", "--steps", "60", "--replicas", "2", "--hubs", "0", "--faults", "cut"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["steps"], result["problems"]) == (60, [])
    assert {each["name"] for each in result["series"]} >= {"memory blocks", "rows of a store", "a store"}
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("60 steps")
    assert "nothing grew by more than 5%" in told


def test_a_soak_that_is_too_short_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--soak", "--hours", "1e-9", "--replicas", "2", "--hubs", "0"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("50 steps")
    assert "too short to tell whether anything grows: 50 steps, and it takes 8,000" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--histories", "3"], "a soak is one history"),
        (["--faults", "wipe"], "no faults of kind wipe"),
        (["--steps", "0"], "at least one step"),
    ],
)
def test_a_soak_that_cannot_be_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--soak", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("hours", ["inf", "nan"])
@pytest.mark.parametrize("more", [[], ["--soak"]])
def test_hours_without_end_are_refused(capsys: pytest.CaptureFixture[str], hours: str, more: list[str]) -> None:
    assert main(["simulate", "--hours", hours, "--steps", "1", *more]) == 2
    assert "hint:" in capsys.readouterr().err
