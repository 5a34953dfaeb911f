"""The benchmarks run, judge their results, and say what they were run with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import WORKLOADS
from benchmarks.documents import entry_in_engine, register_in_ours
from benchmarks.harness import FLOOR, WARM_UP, Column, Figure, Measurement, Row, Settings, Workload, ratio, run
from benchmarks.records import Generator, digest
from benchmarks.report import table
from benchmarks.sampling import Sampler, module_of

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = Settings(records=3, rounds=2, seed=1)


def figure(*, least: float, middle: float) -> Figure:
    return Figure(least=least, middle=middle, most=10.0)


def rows_of(values: dict[str, float]) -> list[Row]:
    return [
        Row(name="work", contestant=name, figures={"s": figure(least=value, middle=9.0)})
        for name, value in values.items()
    ]


@pytest.mark.slow
def test_a_quick_run_of_everything_measures_both_contestants_and_writes_json(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    options = ("--quick", "--records", "20", "--rounds", "1", "--json", str(target))
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks", *options), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(target.read_text())
    assert {"machine", "versions", "commit", "seed", "records", "rounds", "workloads"} <= results.keys()
    assert [workload["name"] for workload in results["workloads"]] == list(WORKLOADS)
    for workload in results["workloads"]:
        floors = set(WORKLOADS[workload["name"]].floors)
        assert {row["contestant"] for row in workload["rows"]} == WORKLOADS[workload["name"]].contestants.keys()
        assert f"## {workload['name']}:" in done.stdout
        for row in workload["rows"]:
            assert all(spread["min"] <= spread["median"] <= spread["max"] for spread in row["figures"].values())
            weighed_alone = workload["name"] == "churn"  # what a compaction leaves has no floor
            assert row["contestant"] in floors or weighed_alone or row["ratios"].keys() == floors


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["write", "first-sync"])
def test_a_profile_shares_out_the_time_by_module(workload: str) -> None:
    options = ("--profile", workload, "--quick", "--records", "200", "--rounds", "1")
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks", *options), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CPU µs a record" in done.stdout
    assert "| replica." in done.stdout


def test_contestants_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[tuple[str, int]] = []

    def contestant(name: str, settings: Settings, number: int) -> list[Measurement]:
        calls.append((name, number))
        return [Measurement(row="work", figures={"s": 100.0 if number == WARM_UP else number})]

    workload = Workload(
        name="w",
        title="t",
        contestants={
            FLOOR: lambda settings, number: contestant(FLOOR, settings, number),
            "ours": lambda settings, number: contestant("ours", settings, number),
        },
        columns=(Column(figure="s", title="s", has_ratio=True),),
    )
    rows = run(workload, SETTINGS, tell=lambda line: None)
    assert calls == [(name, number) for number in range(3) for name in (FLOOR, "ours")]
    assert rows[1].figures["s"] == Figure(least=1, middle=1.5, most=2)
    assert "1.00" in table(workload, rows)


def test_a_ratio_compares_the_least_of_the_same_row() -> None:
    floor, ours = rows_of({FLOOR: 2.0, "ours": 5.0})
    assert ratio([floor, ours], ours, "s") == 2.5
    assert ratio([ours], ours, "s") is None


def test_equal_seeds_give_equal_records_of_about_the_promised_size() -> None:
    records = Generator(7).records(200)
    assert records == Generator(7).records(200)
    assert records != Generator(8).records(200)
    assert 28 <= sum(len(values.title) for values in records) / 200 <= 36
    assert 78 <= sum(len(values.body) for values in records) / 200 <= 86


def test_a_digest_tells_other_contents_apart_but_not_another_order() -> None:
    first, second = Generator(1).records(2)
    assert digest([first, second]) == digest([second, first])
    assert digest([first, second]) != digest([first, first])
    assert digest([first]) != digest([first._replace(done=not first.done)])
    assert digest([first]) == digest([(*first[:-1], first.due.isoformat())])


def test_a_sampler_counts_code_outside_of_the_package_apart() -> None:
    with Sampler() as sampler:
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until:
            sum(range(100))
    assert list(sampler.spent()) == ["elsewhere (event loop, websockets, the benchmark)"]
    assert module_of("/site/crdt_sync/replica/derive.py") == "replica.derive"
    assert module_of("/site/other/derive.py") == ""


@pytest.mark.parametrize(("creators", "metadata"), [(1, 23), (2, 29), (5, 47)])
def test_a_register_in_a_document_is_weighed_beside_an_entry_of_the_engine(creators: int, metadata: int) -> None:
    (values,) = Generator(1).records(1)
    assert register_in_ours(values, creators=creators) - entry_in_engine(values) == pytest.approx(metadata)
