"""Lists, maps, references and semilattices on the command line, which opens stores without the app's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, created, exchange

MODELS = """
from datetime import date
from typing import Annotated
from crdt_sync import List, Map, Model, Ref, Text, ask, first, max_, min_

class Person(Model):
    name: str = ""

class Recipe(Model):
    title: str = ""
    steps: List[str]
    days: List[date]
    prefs: Map[str, int]
    due: Map[str, Annotated[date, ask()]]
    cook: Ref["Person"] | None = None
    helpers: List[Ref["Person"]]
    cooked_by: str | None = first(default=None)
    best: int = max_(default=0)
    least: float | None = min_(default=None)
    notes: Text
"""
ID = "01970000-0000-7000-8000-000000000001"


@pytest.fixture
def recipes(cli: Cli, tmp_path: Path) -> Path:
    """A store whose models are known from its own description only."""
    file, path = tmp_path / "recipes.py", tmp_path / "recipes.db"
    file.write_text(MODELS)
    assert cli("init", path, "--models", file).code == 0
    file.unlink()
    return path


def shown(cli: Cli, store: Path, name: str) -> Any:
    return cli("show", store, "Recipe", name, "--json").json["fields"]


def test_fields_of_every_kind_are_typed_and_shown(cli: Cli, recipes: Path) -> None:
    ann = created(cli, recipes, "name=ann", model="Person")
    name = created(
        cli, recipes, 'steps=["wash"]', "days+=2026-01-31", 'prefs={"salt": 1}', f"cook={ann}", "best=3", model="Recipe"
    )
    outcome = cli(
        "set",
        recipes,
        "Recipe",
        name,
        "steps+=cook",
        "steps+=eat",
        "steps-=wash",
        'prefs+={"oil": "2"}',
        'due+={"soup": "2026-02-01"}',
        f"helpers+={ann}",
        "cooked_by=bob",
        "best=2",
        "least=1.5",
        "prefs-=salt",
    )
    assert outcome.code == 0, outcome.err
    assert shown(cli, recipes, name) == {
        "title": "",
        "steps": ["cook", "eat"],
        "days": ["2026-01-31"],
        "prefs": {"oil": 2},
        "due": {"soup": "2026-02-01"},
        "cook": ann,
        "helpers": [ann],
        "cooked_by": "bob",
        "best": 3,
        "least": 1.5,
        "notes": "",
    }
    for where in (f"cook={ann}", "steps__contains=eat", "best__gt=2", f"helpers__contains={ann}", 'prefs={"oil": 2}'):
        assert cli("list", recipes, "Recipe", "--where", where, "--json").json["total"] == 1, where
    assert cli("check", recipes).code == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "steps-=gone",
        "prefs-=gone",
        "prefs+=5",
        'prefs+={"a": "x"}',
        "days+=x",
        "cook=ann",
        "cooked_by=other",
        "best-=1",
    ],
)
def test_what_cannot_be_is_a_typed_error(cli: Cli, recipes: Path, wrong: str) -> None:
    name = created(cli, recipes, "cooked_by=ann", "steps+=a", model="Recipe")
    before = shown(cli, recipes, name)
    outcome = cli("set", recipes, "Recipe", name, wrong, "--json")
    assert outcome.code == 4, outcome.err
    assert shown(cli, recipes, name) == before


def test_export_and_import_give_the_same(cli: Cli, recipes: Path, tmp_path: Path) -> None:
    ann = created(cli, recipes, "name=ann", model="Person")
    created(
        cli,
        recipes,
        'steps=["a", "b"]',
        'prefs={"x/y": 1, "": 2}',
        'due={"a": "2026-02-01"}',
        f"helpers+={ann}",
        f"cook={ann}",
        "cooked_by=me",
        "least=2.5",
        model="Recipe",
    )
    assert cli("export", recipes, "--output", tmp_path / "all.jsonl").code == 0
    file = tmp_path / "again.py"
    file.write_text(MODELS)
    assert cli("init", tmp_path / "again.db", "--models", file).code == 0
    assert cli("import", tmp_path / "again.db", tmp_path / "all.jsonl").code == 0
    assert cli("import", tmp_path / "again.db", tmp_path / "all.jsonl", "--update", "--again").code == 0
    assert cli("export", tmp_path / "again.db", "--output", tmp_path / "all2.jsonl").code == 0
    assert (tmp_path / "all2.jsonl").read_text() == (tmp_path / "all.jsonl").read_text()


def test_texts_are_exported_without_their_attributes(cli: Cli, recipes: Path) -> None:
    name = created(cli, recipes, "notes=hello", model="Recipe")
    with Replica.open(recipes) as replica:
        record: Any = replica.get(replica.model("Recipe"), name)
        record.notes.format(0, 5, bold=True)
    assert '"notes": "hello"' in cli("export", recipes).out


def test_a_conflict_of_one_entry_is_shown_and_settled(cli: Cli, recipes: Path, tmp_path: Path) -> None:
    name = created(cli, recipes, 'due={"soup": "2026-02-01"}', model="Recipe")
    file, other = tmp_path / "other.py", tmp_path / "other.db"
    file.write_text(MODELS)
    assert cli("init", other, "--models", file).code == 0
    with Replica.open(recipes) as one, Replica.open(other) as two:
        exchange(one, two)
        for replica, day in ((one, "2026-02-02"), (two, "2026-02-03")):
            record: Any = replica.get(replica.model("Recipe"), name)
            record.due["soup"] = day
        exchange(one, two)
        replica_conflicts = one.conflicts()
        assert [item.paths for item in replica_conflicts] == [("/soup",)]
    (listed,) = cli("conflicts", "list", recipes, "--json").json["conflicts"]
    assert (listed["field"], listed["paths"], listed["base"]) == ("due", ["/soup"], "2026-02-01")
    assert sorted(item["value"] for item in listed["candidates"]) == ["2026-02-02", "2026-02-03"]
    settled = cli("conflicts", "resolve", recipes, listed["id"], "--value", "2026-03-01", "--json")
    assert settled.code == 0, settled.err
    assert (settled.json["value"], settled.json["open_conflicts"]) == ("2026-03-01", 0)
    assert shown(cli, recipes, name)["due"] == {"soup": "2026-03-01"}
