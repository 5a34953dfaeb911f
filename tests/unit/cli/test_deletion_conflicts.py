"""Records that were deleted and edited at once, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.storage.base import Table
from tests.unit.cli.conftest import Cli, created, exchange

MODEL = """
from crdt_sync import Model, Text

class Room(Model, on_edit_after_delete="ask"):
    name: str = ""
    notes: Text
"""


@pytest.fixture
def stores(cli: Cli, tmp_path: Path) -> tuple[Path, Path]:
    """Two stores with one such conflict; the edit came later."""
    models, paths = tmp_path / "rooms.py", (tmp_path / "a.db", tmp_path / "b.db")
    models.write_text(MODEL)
    for path, name in zip(paths, ("laptop", "phone"), strict=True):
        assert cli("init", path, "--models", models, "--name", name).code == 0
    created(cli, paths[0], "name=Blue", model="Room")
    with Replica.open(paths[0]) as a, Replica.open(paths[1]) as b:
        exchange(a, b)
        a.delete(a.find(a.model("Room"))[0])
        b.update(b.find(b.model("Room"))[0], name="Green")
        exchange(a, b)
    return paths


def test_it_is_shown_with_both_sides(cli: Cli, stores: tuple[Path, Path]) -> None:
    found = [cli("conflicts", "list", path, "--json").json["conflicts"] for path in stores]
    assert found[0] == found[1]
    ((conflict,), _) = found
    assert (conflict["kind"], conflict["title"], conflict["field"]) == ("edit_of_deleted", "Green", "")
    assert not conflict["base_known"]
    values = {"name": "Green", "notes": ""}
    assert conflict["value"] == values
    assert {item["take"]: item["value"] for item in conflict["candidates"]} == {"keep": values, "delete": None}
    assert cli("conflicts", "show", stores[0], conflict["id"], "--json").json == conflict
    record = cli("show", stores[0], "Room", conflict["record_id"], "--json").json
    assert record["conflicts"] == [conflict]
    shown = cli("conflicts", "show", stores[0], conflict["id"]).out
    assert "Room “Green” · deleted and edited at once" in shown
    lines = {
        item["take"]: line for item in conflict["candidates"] for line in shown.splitlines() if item["take"] in line
    }
    assert "Green" in lines["keep"]
    assert "shown until one is chosen" in lines["keep"]
    assert "shown until" not in lines["delete"]
    for item in conflict["candidates"]:
        assert f"{item['device_name']} ({item['device_id'][:4]}…)" in shown


@pytest.mark.parametrize(
    ("take", "left"), [("delete", 0), ("keep", 1), ("delete's number", 0), ("keep's number", 1), ("latest", 1)]
)
def test_it_is_settled_everywhere(cli: Cli, stores: tuple[Path, Path], take: str, left: int) -> None:
    (conflict,) = cli("conflicts", "list", stores[0], "--json").json["conflicts"]
    numbers = {f"{item['take']}'s number": item["number"] for item in conflict["candidates"]}
    options = ("--latest",) if take == "latest" else ("--take", numbers.get(take, take))
    settled = cli("conflicts", "resolve", stores[0], conflict["id"], *options, "--json")
    assert settled.code == 0, settled.err
    assert (settled.json["take"], settled.json["open_conflicts"]) == ("keep" if left else "delete", 0)
    assert settled.json["value"] == (conflict["value"] if left else None)
    with Replica.open(stores[0]) as a, Replica.open(stores[1]) as b:
        exchange(a, b)
    for path in stores:
        assert cli("list", path, "Room", "--json").json["total"] == left
        assert cli("conflicts", "list", path, "--json").json["total"] == 0
        assert cli("check", path).code == 0


def test_what_became_of_it_is_told(cli: Cli, stores: tuple[Path, Path]) -> None:
    (conflict,) = cli("conflicts", "list", stores[0], "--json").json["conflicts"]
    for path, take, told in zip(stores, ("keep", "delete"), ("is kept", "is deleted"), strict=True):
        assert told in cli("conflicts", "resolve", path, conflict["id"], "--take", take).out


@pytest.mark.parametrize(
    ("options", "code", "kind"),
    [
        (("--value", "deleted"), 2, "InputError"),
        (("--json-value", "null"), 2, "InputError"),
        (("--take", "both"), 2, "InputError"),
        (("--take", "3"), 5, "NotACandidateError"),
    ],
)
def test_a_resolution_that_makes_no_sense_settles_nothing(
    cli: Cli, stores: tuple[Path, Path], options: tuple[str, ...], code: int, kind: str
) -> None:
    (conflict,) = cli("conflicts", "list", stores[0], "--json").json["conflicts"]
    refused = cli("conflicts", "resolve", stores[0], conflict["id"], *options, "--json")
    assert (refused.code, refused.error["type"]) == (code, kind)
    assert refused.error["hint"]
    assert cli("conflicts", "list", stores[0], "--json").json["total"] == 1


def test_the_index_of_conflicts_is_checked(cli: Cli, stores: tuple[Path, Path]) -> None:
    assert cli("check", stores[0]).code == 0
    with Replica.open(stores[0]) as replica:
        store = replica._state.store
        ((row, _),) = store.scan(Table.CONFLICT)
        with store.transaction():
            store.delete_many(Table.CONFLICT, [row])
    assert cli("check", stores[0]).code == 10
