"""Conflicts on the command line: shown as a person wants, and settled."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

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
        (("--proposal",), "2026-03-03"),
        (("--path", "=2"), "2026-02-02"),
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
        (("--path", "1"), 2, "InputError"),
        (("--path", "/x=1"), 2, "InputError"),
        (("--path", "=1", "--path", "=2"), 2, "InputError"),
        (("--path", "=7"), 5, "NotACandidateError"),
        (("--proposal", "--latest"), 2, "InputError"),
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


MERGED = """
from crdt_sync import Map, Model, ask, merge_with, three_way

class Note(Model):
    label: str = ""
    place: dict = three_way(default={})
    best: int = merge_with(lambda base, values: max(values), default=0)
    prefs: Map[str, int]
"""


@pytest.fixture
def merged(cli: Cli, tmp_path: Path) -> tuple[Path, Path]:
    """Two stores; dicts that overlap in two places, and a field that the app's function merges."""
    file, stores = tmp_path / "merged.py", (tmp_path / "m.db", tmp_path / "n.db")
    file.write_text(MERGED)
    for path, name in zip(stores, ("laptop", "phone"), strict=True):
        assert cli("init", path, "--models", file, "--name", name).code == 0
    record = created(cli, stores[0], "label=Home", 'place={"a": 1, "b": {"c": 2}, "d": 0}', model="Note")
    with Replica.open(stores[0]) as a, Replica.open(stores[1]) as b:
        exchange(a, b)
    for path, place, best in zip(stores, ('{"a": 2, "b": {"c": 3}, "d": 5}', '{"a": 4, "d": 0}'), (1, 2), strict=True):
        assert cli("set", path, "Note", record, f"place={place}", f"best={best}").code == 0
    with Replica.open(stores[0]) as a, Replica.open(stores[1]) as b:
        exchange(a, b)
    return stores


def conflict_of(cli: Cli, store: Path, field: str) -> Any:
    return next(item for item in cli("conflicts", "list", store, "--json").json["conflicts"] if item["field"] == field)


def test_overlaps_are_shown_by_path_with_base_and_both_sides(cli: Cli, merged: tuple[Path, Path]) -> None:
    conflict = conflict_of(cli, merged[0], "place")
    assert conflict["title"] == "Home"
    by_path = {item["path"]: item for item in conflict["overlaps"]}
    assert list(by_path) == conflict["paths"] == ["/a", "/b"]
    assert by_path["/a"] == {
        "path": "/a",
        "base_known": True,
        "value": 1,
        "sides": [{"number": 1, "value": 4}, {"number": 2, "value": 2}],
    }
    assert by_path["/b"]["sides"] == [{"number": 1}, {"number": 2, "value": {"c": 3}}]
    shown = cli("conflicts", "show", merged[0], conflict["id"]).out
    for part in ("at /a: was 1", '     2      {"c": 3}', "     1      nothing", "proposal  {"):
        assert part in shown


def test_a_conflict_is_settled_path_by_path(cli: Cli, merged: tuple[Path, Path]) -> None:
    name = conflict_of(cli, merged[0], "place")["id"]
    partly = cli("conflicts", "resolve", merged[0], name, "--path", "/a=1", "--json")
    assert (partly.code, partly.error["type"]) == (2, "InputError")
    assert "'/b'" in partly.error["hint"]
    done = cli("conflicts", "resolve", merged[0], name, "--path", "/a=1", "--path", "/b=2", "--json")
    assert done.json["value"] == {"a": 4, "b": {"c": 3}, "d": 5}


def test_what_only_the_app_can_merge_is_said_plainly(cli: Cli, merged: tuple[Path, Path], tmp_path: Path) -> None:
    conflict = conflict_of(cli, merged[0], "best")
    assert conflict["needs_app"]
    shown = " ".join(cli("conflicts", "show", merged[0], conflict["id"]).out.split())
    assert "needs the app's function; give --models FILE" in shown
    for command in (
        ("resolve", merged[0], conflict["id"], "--proposal"),
        ("resolve-all", merged[0], "--model", "Note", "--take", "proposal"),
    ):
        refused = cli("conflicts", *command, "--json")
        assert (refused.code, refused.error["type"]) == (2, "InputError")
        assert "--models" in refused.error["hint"]
    listed = cli("conflicts", "list", merged[1], "--models", tmp_path / "merged.py", "--json").json["conflicts"]
    assert [item["field"] for item in listed] == ["place"]


def test_one_that_was_settled_says_by_whom(cli: Cli, merged: tuple[Path, Path]) -> None:
    name = conflict_of(cli, merged[0], "place")["id"]
    assert cli("conflicts", "resolve", merged[0], name, "--latest").code == 0
    again = cli("conflicts", "resolve", merged[0], name, "--latest", "--json")
    assert (again.code, again.error["type"]) == (5, "ConflictNotFoundError")
    assert "was settled already, by laptop (" in again.error["message"]
    assert "crdt-sync log" in again.error["hint"]


@pytest.mark.parametrize(
    ("fields", "values", "title"),
    [
        ("number: int = 0\n    remark: str = ''\n    name: str = ''", "remark=x", "x"),
        ("remark: str = ''\n    label: str = ''", "label=Home", "Home"),
        ("number: int = 0", "number=3", ""),
    ],
)
def test_titles(cli: Cli, tmp_path: Path, fields: str, values: str, title: str) -> None:
    file, stores = tmp_path / "t.py", (tmp_path / "t.db", tmp_path / "u.db")
    file.write_text(
        f"from crdt_sync import Model, ask\nclass Task(Model):\n    {fields}\n    due: int = ask(default=0)\n"
    )
    for path in stores:
        assert cli("init", path, "--models", file).code == 0
    created(cli, stores[0], values)
    clash(*stores, "due", (1, 2))
    assert conflict_of(cli, stores[0], "due")["title"] == title


def test_a_record_with_a_natural_key_is_called_by_it(cli: Cli, tmp_path: Path) -> None:
    file, stores = tmp_path / "k.py", (tmp_path / "t.db", tmp_path / "u.db")
    file.write_text(
        "from crdt_sync import Model, ask\nclass Task(Model, key=('code', 'at')):\n"
        "    remark: str = ''\n    code: int\n    at: str\n    due: int = ask(default=0)\n"
    )
    for path in stores:
        assert cli("init", path, "--models", file).code == 0
    created(cli, stores[0], "code=7", "at=home", "remark=no")
    clash(*stores, "due", (1, 2))
    assert conflict_of(cli, stores[0], "due")["title"] == "7, home"
