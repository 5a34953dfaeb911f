"""The simulator itself: it repeats, injects what it says, shortens what fails, and refuses what it cannot read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from crdt_sync.errors import InputError
from crdt_sync.replica.port import Port
from crdt_sync.testing.simulation import (
    ALL_FAULTS,
    VERSION,
    Campaign,
    Fault,
    Report,
    Simulation,
    SimulationFailedError,
    replay,
    schedule_of,
)

DIGESTS = """
from crdt_sync.testing.simulation import Simulation
for seed in range(6):
    print(Simulation(seed).run().digest)
"""


def digests(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_seed_gives_the_same_history_byte_for_byte_in_every_process() -> None:
    first = digests("1")
    assert len(set(first.split())) == 6, "seeds that give one history"
    assert digests("2") == first


def test_histories_break_nothing_and_meet_every_kind_of_fault() -> None:
    report = Campaign(seed=0, histories=40, faults=ALL_FAULTS).run()
    assert not report.failures, report.failures[0]
    assert report.histories == 40
    assert report.steps >= 20 * 40
    assert set(report.faults) == {fault.value for fault in Fault}
    assert report.virtual_days > 1
    assert report.edits > 60


def test_several_processes_try_the_same_histories() -> None:
    """Also in the order of their sum, whoever is done first."""
    one = Campaign(seed=7, histories=24, faults=ALL_FAULTS).run()
    told: list[int] = []
    two = Campaign(seed=7, histories=24, faults=ALL_FAULTS, jobs=2).run(
        progress=lambda report: told.append(report.histories)
    )
    assert told[-1] == 24
    assert (two.frames, two.edits, two.faults) == (one.frames, one.edits, one.faults)


def test_a_campaign_ends_when_its_time_is_over() -> None:
    assert Campaign(seconds=1e-9, faults=ALL_FAULTS).run() == Report()


@pytest.mark.parametrize("fault", list(Fault))
def test_each_kind_of_fault_can_be_asked_for_alone(fault: Fault) -> None:
    found: Counter[str] = Counter()
    for seed in range(10):
        found.update(Simulation(seed, faults=[fault]).run().faults)
    assert set(found) == {fault.value}


@pytest.mark.parametrize(("replicas", "hubs"), [(2, 0), (4, 0), (1, 1), (5, 1), (2, 3)])
def test_any_number_of_replicas_and_hubs(replicas: int, hubs: int) -> None:
    simulation = Simulation(3, replicas=replicas, hubs=hubs)
    assert repr(simulation) == f"<Simulation {VERSION}:3 {replicas} replicas, {hubs} hubs, 20 steps>"
    assert simulation.run().counts["sent"] > 0


def test_a_failure_is_shortened_and_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Port, "_make_durable", lambda self: None)
    long, seed = next((failure, seed) for seed in range(50) if (failure := failure_of(seed, shorten=False)))
    short = failure_of(seed, shorten=True)
    assert short is not None
    assert short.name == long.name
    assert len(short.schedule.steps) <= 6  # what a process sends first is synced, with the note of that
    assert f"seed {VERSION}:{seed}" in str(short)
    assert "sequenceDiagram" in str(short)
    assert "->>" in short.diagram
    with pytest.raises(SimulationFailedError) as again:
        replay(short.schedule.as_text())
    assert str(again.value) == str(short)
    monkeypatch.undo()
    replay(short.schedule.as_text())


def failure_of(seed: int, *, shorten: bool) -> SimulationFailedError | None:
    try:
        Simulation(seed, faults=["power"]).run(shorten=shorten)
    except SimulationFailedError as failure:
        return failure
    return None


def test_a_schedule_is_its_text() -> None:
    schedule = Simulation(5).schedule
    assert schedule_of(schedule.as_text()) == schedule
    assert schedule_of(f"# found on a Tuesday\n\n{schedule.as_text()}") == schedule


def test_a_seed_may_name_its_version() -> None:
    assert Simulation(f"{VERSION}:12").schedule == Simulation(12).schedule == Simulation("12").schedule


@pytest.mark.parametrize("seed", [f"{VERSION + 1}:12", "0:12", ":12"])
def test_a_seed_of_another_version_is_refused(seed: str) -> None:
    with pytest.raises(InputError, match="version") as refused:
        Simulation(seed)
    assert "release that printed it" in refused.value.hint


def test_a_schedule_of_another_version_is_refused() -> None:
    text = Simulation(5).schedule.as_text().replace(f"simulation {VERSION} ", f"simulation {VERSION + 1} ")
    with pytest.raises(InputError, match="version"):
        replay(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no schedule"),
        ("something else", "no schedule"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2", "cannot be read"),
        (f"crdt-sync simulation {VERSION} seed=x replicas=2 hubs=0", "cannot be read"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\nfly 1 2 3 4", "no action"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncut 1 2 3", "cannot be read"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncut 1 2 3 -4", "pause"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncreate 1 2 3 9999999999999", "pause"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncreate 1 2 3 60001", "pause"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncut 65536 2 3 4", "arguments"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncut 1 65536 3 4", "arguments"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\ncut 1 2 -3 4", "arguments"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0 extra=3", "head"),
        (f"crdt-sync simulation {VERSION} seed=1 seed=2 replicas=2 hubs=0", "head"),
        (f"crdt-sync simulation {VERSION} seed=1 replicas=99 hubs=0", "2 to 16 hosts"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        replay(text)
    assert refused.value.hint != InputError.default_hint


def test_the_longest_pauses_come_to_an_end() -> None:
    head = f"crdt-sync simulation {VERSION} seed=1 replicas=2 hubs=0\n"
    assert replay(f"{head}create 65535 65535 65535 60000\ntitle 65535 65535 65535 60000\n").virtual_s > 120


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="is no seed"):
        Simulation("twelve")
    with pytest.raises(InputError, match="unknown fault"):
        Simulation(faults=["fire"])
    with pytest.raises(InputError, match="hosts"):
        Simulation(replicas=1, hubs=0)
    with pytest.raises(InputError, match="steps"):
        Simulation(steps=-1)
    with pytest.raises(InputError, match="needs an end"):
        Campaign(faults=ALL_FAULTS)
    with pytest.raises(InputError, match="jobs is 0"):
        Campaign(faults=ALL_FAULTS, histories=1, jobs=0)
