"""Conflicts on the command line: shown as a person wants, and settled."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, clash, created, exchange


@pytest.fixture
def clashing(cli: Cli, store: Path, other: Path) -> Path:
    """A store with one conflict."""
    created(cli, store, "title=Milk", "due=2026-01-01")
    clash(store, other, "due", ("2026-02-02", "2026-03-03"))
    return store


def test_a_conflict_is_shown_with_all_that_a_person_needs(cli: Cli, clashing: Path, other: Path) -> None:
    found = cli("conflicts", "list", clashing, "--json").json
    assert found["total"] == 1
    (conflict,) = found["conflicts"]
    assert (conflict["title"], conflict["field"], conflict["model"]) == ("Milk", "due", "Task")
    assert (conflict["base_known"], conflict["base"], conflict["value"]) == (True, "2026-01-01", "2026-03-03")
    assert [(item["number"], item["value"]) for item in conflict["candidates"]] == [
        (1, "2026-03-03"),
        (2, "2026-02-02"),
    ]
    devices = [cli("status", place, "--json").json["device_id"] for place in (other, clashing)]
    assert [item["device_id"] for item in conflict["candidates"]] == devices
    assert cli("conflicts", "show", clashing, conflict["id"], "--json").json == conflict
    assert cli("conflicts", "show", clashing, conflict["id"][:6].upper(), "--json").json == conflict
    shown = cli("conflicts", "show", clashing, conflict["id"]).out
    local = datetime.fromisoformat(conflict["candidates"][0]["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    for part in ("Milk", "due", "2026-01-01", f"2026-03-03   {devices[0]}, {local}, just now", "shown until"):
        assert part in shown


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (("--take", "2"), "2026-02-02"),
        (("--take", "1"), "2026-03-03"),
        (("--latest",), "2026-03-03"),
        (("--value", "2026-04-04"), "2026-04-04"),
        (("--json-value", "null"), None),
    ],
)
def test_a_conflict_is_settled_everywhere(
    cli: Cli, clashing: Path, other: Path, options: tuple[str, ...], value: str | None
) -> None:
    name = cli("conflicts", "list", clashing, "--json").json["conflicts"][0]["id"]
    settled = cli("conflicts", "resolve", clashing, name, *options, "--json")
    assert settled.code == 0, settled.err
    assert (settled.json["value"], settled.json["open_conflicts"]) == (value, 0)
    with Replica.open(clashing) as a, Replica.open(other) as b:
        exchange(a, b)
    assert cli("conflicts", "list", other, "--json").json["total"] == 0
    assert cli("list", other, "Task", "--json").json["records"][0]["fields"]["due"] == value


def test_the_history_of_a_record_shows_what_settled_a_conflict(cli: Cli, clashing: Path) -> None:
    conflict = cli("conflicts", "list", clashing, "--json").json["conflicts"][0]
    cli("conflicts", "resolve", clashing, conflict["id"], "--latest")
    told = cli("log", clashing, "--record", conflict["record_id"], "--json").json["history"][-1]
    day = "2026-03-03"
    assert told["fields"] == ["due"]
    assert told["changes"] == [{"field": "due", "old": day, "new": day, "conflict": "settled"}]
    text = cli("log", clashing, "--record", conflict["record_id"]).out
    assert "(conflict opened)" in text
    assert f"due: {day} (conflict settled)" in text


def test_the_history_of_a_record_shows_a_value_that_lost(cli: Cli, store: Path, other: Path) -> None:
    record = created(cli, store, "title=Milk")
    clash(store, other, "title", ("Butter", "Bread"))
    texts = [cli("log", place, "--record", record).out for place in (store, other)]
    assert sum("title: written, and the value shown stays" in text for text in texts) == 1


@pytest.mark.parametrize(
    ("options", "code", "kind"),
    [
        ((), 2, "InputError"),
        (("--latest", "--take", "1"), 2, "InputError"),
        (("--take", "3"), 5, "NotACandidateError"),
        (("--take", "0"), 5, "NotACandidateError"),
        (("--value", "soon"), 4, "InvalidValueError"),
        (("--json-value", "soon"), 2, "InputError"),
    ],
)
def test_a_resolution_that_makes_no_sense_settles_nothing(
    cli: Cli, clashing: Path, options: tuple[str, ...], code: int, kind: str
) -> None:
    name = cli("conflicts", "list", clashing, "--json").json["conflicts"][0]["id"]
    refused = cli("conflicts", "resolve", clashing, name, *options, "--json")
    assert (refused.code, refused.error["type"]) == (code, kind)
    assert refused.error["hint"]
    assert cli("conflicts", "list", clashing, "--json").json["total"] == 1


def test_a_conflict_that_is_not_there(cli: Cli, clashing: Path) -> None:
    missing = cli("conflicts", "show", clashing, "00000000", "--json")
    assert (missing.code, missing.error["type"]) == (5, "ConflictNotFoundError")
    short = cli("conflicts", "show", clashing, "00", "--json")
    assert (short.code, short.error["type"]) == (2, "InputError")


def test_conflicts_are_listed_by_model_and_record(cli: Cli, clashing: Path) -> None:
    record = cli("list", clashing, "Task", "--json").json["records"][0]["id"]

    def total(*options: str) -> int:
        found: int = cli("conflicts", "list", clashing, *options, "--json").json["total"]
        return found

    assert total("--model", "Task") == total("--record", record) == total() == 1
    assert total("--model", "City") == total("--record", "018f0000-0000-7000-8000-000000000000") == 0
    assert cli("conflicts", "list", clashing, "--model", "Nope").code == 4
    assert cli("conflicts", "list", clashing, "--model", "City").out == "no open conflicts\n"
