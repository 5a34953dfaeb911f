"""An import over records with open conflicts: a cell that has what is shown decides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, clash, created, exchange

MODELS = """
from typing import Annotated
from crdt_sync import Map, Model, ask

class Task(Model):
    title: str = ""
    prefs: Map[str, Annotated[str, ask()]]
"""


def conflicts(cli: Cli, store: Path) -> list[str]:
    return [item["field"] for item in cli("conflicts", "list", store, "--json").json["conflicts"]]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_what_is_shown_settles_nothing_and_another_value_does(
    cli: Cli, store: Path, other: Path, tmp_path: Path, name: str
) -> None:
    record = created(cli, store, "title=Milk", "due=2026-01-01")
    clash(store, other, "due", ("2026-02-02", "2026-03-03"))
    file = tmp_path / name
    assert cli("export", store, "--model", "Task", "-o", file).code == 0
    model = ("--model", "Task") if name.endswith("csv") else ()
    file.write_text(file.read_text().replace("Milk", "Bread"))
    left = cli("import", store, file, *model, "--update", "--json").json
    assert (left["updated"], left["settled"]) == (1, 0)
    assert cli("show", store, "Task", record, "--json").json["fields"]["title"] == "Bread"
    assert conflicts(cli, store) == ["due"]
    file.write_text(file.read_text().replace("2026-03-03", "2026-04-04"))
    assert "1 conflict settled" in cli("import", store, file, *model, "--update").out
    assert cli("show", store, "Task", record, "--json").json["fields"]["due"] == "2026-04-04"
    assert conflicts(cli, store) == []


def test_an_entry_of_a_map_is_left_too(cli: Cli, tmp_path: Path) -> None:
    models, one, two = tmp_path / "prefs.py", tmp_path / "one.db", tmp_path / "two.db"
    models.write_text(MODELS)
    for place in (one, two):
        assert cli("init", place, "--models", models, "--no-name").code == 0
    record = created(cli, one, 'prefs={"a": "0", "b": "0", "c": "0", "d": "0"}')
    with Replica.open(one) as left, Replica.open(two) as right:
        exchange(left, right)
        for replica, value in ((left, "1"), (right, "2")):
            replica.get(replica.model("Task"), record).prefs.update(a=value, b=value, c=value)  # type: ignore[attr-defined]  # a model from the store
        exchange(left, right)
    file = tmp_path / "t.jsonl"
    file.write_text(f'{{"id": "{record}", "prefs": {{"a": "2", "b": "3", "e": "4"}}}}\n')
    assert cli("import", one, file, "--model", "Task", "--update", "--json").json["settled"] == 2
    assert cli("show", one, "Task", record, "--json").json["fields"]["prefs"] == {"a": "2", "b": "3", "e": "4"}
    assert "· prefs/a\n" in cli("conflicts", "resolve-all", one, "--model", "Task", "--take", "latest", "--dry-run").out
    with Replica.open(one, read_only=True) as replica:
        assert [conflict.register for conflict in replica.conflicts()] == ["prefs/a"]
