"""Values that JSON cannot hold, and values that look alike, settled at a terminal; records by path."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crdt_sync import Replica
from crdt_sync.cli.editing import Editor
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.settling import settle_all
from tests.unit.cli.conftest import Cli, exchange
from tests.unit.cli.test_settling import answering

MODELS = """
from typing import Any
from crdt_sync import Model, ask, three_way

class Note(Model):
    held: dict = three_way(default_factory=dict)
    any: Any = ask(default=None)
    either: int | str = ask(default="")
    inside: dict = three_way(default_factory=dict)

class Person(Model, unique=("code",), on_duplicate="ask"):
    code: str
    name: str = ""
    size: int = 0
"""
FIELDS: dict[str, tuple[Any, Any]] = {
    "held": ({"x": 1, "z": date(2026, 1, 31)}, {"x": 2}),
    "any": ((1, 2), [1, 2]),
    "either": (5, "5"),
    "inside": ({"k": 5}, {"k": "5"}),
}


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Path:
    """A note of which every field clashes, and a person who was created twice."""
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    stores = [tmp_path / "a.db", tmp_path / "b.db"]
    for path in stores:
        assert cli("init", path, "--models", file).code == 0
    with Replica.open(stores[0]) as one, Replica.open(stores[1]) as other:
        note: Any = one.create(one.model("Note"))
        exchange(one, other)
        one.update(note, **{name: values[0] for name, values in FIELDS.items()})
        other.update(other.get(other.model("Note"), note.id), **{name: values[1] for name, values in FIELDS.items()})
        one.create(one.model("Person"), code="1", name="ann", size=1)
        other.create(other.model("Person"), code="1", name="Anne", size=2)
        exchange(one, other)
    return stores[0]


def settled(store: Path, *answers: str, model: str = "Note", editor: Editor | None = None) -> str:
    shown = io.StringIO()
    with reach(Place(path=store), writes=True) as act:
        settle_all(act, answering(iter(answers)), Console(file=shown, width=200), model=model, editor=editor)
    return shown.getvalue()


def note_in(store: Path) -> Any:
    with Replica.open(store) as replica:
        model: Any = replica.model("Note")
        return dict(replica.find(model)[0])


def test_people_are_shown_what_they_can_read(cli: Cli, store: Path) -> None:
    for shown in (cli("conflicts", "list", store).out, settled(store, "q")):
        assert '{"x": 1, "z": {"$date": "2026-01-31"}}' in shown
        assert "$value" not in shown


def test_programs_are_told_value_bytes(cli: Cli, store: Path) -> None:
    shown = cli("conflicts", "list", store, "--json").out
    assert "$value" in shown
    assert "$date" not in shown


def test_a_number_and_its_text_are_told_apart(cli: Cli, store: Path) -> None:
    shown = cli("conflicts", "list", store).out
    either = shown.partition("· either")[2].partition("conflict  ")[2].partition("Note")[0]
    assert '      "5" ' in either
    assert "      5 " in either
    inside = shown.partition("at /k")[2]
    assert '      "5"' in inside
    assert "      5" in inside


def test_what_is_shown_in_the_editor_can_be_changed_there(store: Path) -> None:
    held: list[str] = []

    def editor(text: str) -> str:
        held.append(text)
        return text.replace("2026-01-31", "2026-02-01").replace('"x": ', '"y": {"$decimal": "1.50"}, "x": ')

    settled(store, "e", "q", editor=editor)
    note = note_in(store)
    assert '"$date": "2026-01-31"' in held[0]
    assert note["held"]["z"] == date(2026, 2, 1)
    assert str(note["held"]["y"]) == "1.50"


def test_tags_can_be_typed(store: Path) -> None:
    shown = settled(store, "e", ':={"z": {"$date": "soon"}}', "e", ':={"z": {"$decimal": "2.0"}}', "q")
    assert "$date is no such value" in shown
    assert note_in(store)["held"] == {"z": Decimal("2.0")}


def test_records_that_were_created_twice_are_settled_by_path(store: Path) -> None:
    shown = settled(store, "m", "1", "2", model="Person")
    assert "they are one record" in shown
    with Replica.open(store) as replica:
        model: Any = replica.model("Person")
        (person,) = replica.find(model)
        assert (person.name, person.size) in (("Anne", 1), ("ann", 2))


def test_going_back_amid_the_paths_of_records_changes_nothing(store: Path) -> None:
    settled(store, "m", "1", "", "q", model="Person")
    with Replica.open(store) as replica:
        assert replica.count(replica.model("Person")) == 2
