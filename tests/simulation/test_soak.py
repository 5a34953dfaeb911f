"""The long history: it repeats, finds what grows, and finds what is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crdt_sync.core.ids import Author
from crdt_sync.core.layout import KeyClass, map_key, parsed_key
from crdt_sync.replica import Replica
from crdt_sync.replica.compaction import Folding
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.testing.simulation import soak
from crdt_sync.testing.simulation.sampling import _bounded_caches
from crdt_sync.testing.simulation.schedule import seed_of
from crdt_sync.testing.simulation.simulation import faults_of
from crdt_sync.testing.simulation.soak import Soak, SoakReport, Writers


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything that keeps a store small begin so early that a few seconds go past all of it."""
    keeping = KeepingPolicy(interval_ms=10_000, rows_min=20, removals_min=3, operations_kept=20, results_kept=20)
    monkeypatch.setattr(soak, "SMALL", keeping)
    monkeypatch.setattr(soak, "ROUND_STEPS", 20)
    monkeypatch.setattr(soak, "WARM_STEPS", 20)


def run(*, steps: int) -> SoakReport:
    return Soak(3, replicas=2, hubs=1, steps=steps).run()


def test_a_soak_repeats() -> None:
    first, again = run(steps=60), run(steps=60)
    assert not first.failure
    assert first.edits > 20
    assert len(first.series[0].values) == 3
    rows = [[each.values for each in report.series if each.name == "rows of a store"] for report in (first, again)]
    assert rows[0] == rows[1]
    assert (first.edits, first.frames, first.virtual_s) == (again.edits, again.frames, again.virtual_s)


def test_what_takes_one_size_is_flat() -> None:
    """The soak in which the next test plants what grows."""
    report = run(steps=600)
    assert report.problems == []
    assert report.edits > 300
    horizons = next(each for each in report.series if each.name == "horizons of a store")
    assert horizons.values[-1] > horizons.values[0], "records leave the stores"


def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed operations stay."""
    monkeypatch.setattr(Folding, "trim_journal", lambda self: 0)


def results(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync log keeps every row."""
    monkeypatch.setattr(soak, "SMALL", replace(soak.SMALL, results_kept=sys.maxsize))


def log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is folded."""
    monkeypatch.setattr(Replica, "compact_some", lambda self: False)


def records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted records stay."""
    monkeypatch.setattr(Horizons, "due", lambda self: [])


def sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to a session stays in memory when it is over."""
    held: list[object] = []
    begin = Conversation.__init__

    def beginning(self: Conversation, *args: Any, **options: Any) -> None:
        held.append((self, [object() for _ in range(30_000)]))  # beside other tests, memory is no small figure
        begin(self, *args, **options)

    monkeypatch.setattr(Conversation, "__init__", beginning)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "grows"),
    [
        (journal, {"rows of a store", "a store"}),
        (results, {"rows of a store", "a store"}),
        (log, {"rows of a store", "a store"}),
        (records, {"rows of a store", "a store"}),
        (sessions, {"memory blocks"}),
    ],
)
def test_a_planted_leak_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], grows: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    report = run(steps=600)
    assert not report.failure
    assert {each.name for each in report.series if not each.is_flat} >= grows


def test_what_is_too_short_is_not_called_flat() -> None:
    assert run(steps=20).problems == ["too short to tell whether anything grows: 20 steps, and it takes 40"]


def test_an_edit_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Writers, note: object, tags: dict[str, None]) -> None:
        tags["never written"] = None

    monkeypatch.setattr(Writers, "_tag", forgetful)
    assert "nothing lost" in run(steps=60).problems[0]


def test_a_failure_says_how_it_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Writers, note: object, tags: dict[str, None]) -> None:
        raise ZeroDivisionError("an unexpected bug")

    monkeypatch.setattr(Writers, "_tag", broken)
    told = run(steps=60).problems[0]
    assert told.startswith("ZeroDivisionError: an unexpected bug\n\nrun it again with: crdt-sync simulate --soak ")
    words = told.split("crdt-sync simulate --soak ")[1].split("\n")[0].split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    steps, replicas, hubs = (int(options[f"--{name}"]) for name in ("steps", "replicas", "hubs"))
    faults = faults_of(options["--faults"].split(","))
    soaked = Soak(seed_of(options["--seed"]), steps=steps, replicas=replicas, hubs=hubs, faults=faults)
    assert soaked.run().failure.partition("run it again")[0] == told.partition("run it again")[0]
    assert 1 <= steps < 60


def test_a_record_that_comes_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "delete", lambda self, record: None)
    assert "nothing lost" in run(steps=60).problems[0]


def test_caches_that_fill_up_are_emptied_before_a_sample() -> None:
    parsed_key(map_key(KeyClass.TOUCH, Author(5)))
    assert parsed_key.cache_info().currsize > 0
    caches = _bounded_caches()
    assert parsed_key in caches
    assert all(cache.cache_parameters()["maxsize"] for cache in caches)
