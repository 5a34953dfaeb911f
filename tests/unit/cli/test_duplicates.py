"""Records that were created twice, on the command line."""

from __future__ import annotations

from pathlib import Path

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, created, exchange

MODELS = """
from crdt_sync import Model, Text, ask

class Part(Model, unique=("code",)):
    code: str
    due: int | None = ask(default=None)
    notes: Text
"""


def test_show_gives_the_other_ids_and_the_store_is_sound(cli: Cli, tmp_path: Path) -> None:
    models = tmp_path / "parts.py"
    models.write_text(MODELS)
    stores = tmp_path / "one.db", tmp_path / "two.db"
    for store in stores:
        assert cli("init", store, "--models", models).code == 0
    ids = {created(cli, store, "code=x", f"due={at}", f"notes=n{at}", model="Part") for at, store in enumerate(stores)}
    with Replica.open(stores[0]) as one, Replica.open(stores[1]) as two:
        exchange(one, two)
    shown = [cli("show", stores[0], "Part", name, "--json").json for name in sorted(ids)]
    assert shown[0] == shown[1]
    assert {shown[0]["id"], *shown[0]["also_known_as"]} == ids
    assert len(shown[0]["concurrent"]["notes"]) == 2
    assert f"also known as {shown[0]['also_known_as'][0]}" in cli("show", stores[0], "Part", shown[0]["id"]).out
    assert cli("create", stores[0], "Part", "code=x").code == 3
    assert cli("list", stores[0], "Part", "--json").json["total"] == 1
    for store in stores:
        found = cli("check", store, "--json")
        assert found.code == 0, found.out
    (conflict,) = cli("conflicts", "list", stores[1], "--json").json["conflicts"]
    assert cli("conflicts", "resolve", stores[1], conflict["id"], "--take", "1").code == 0
    assert cli("check", stores[1]).code == 0
    assert cli("delete", stores[1], "Part", min(ids)).code == 0
    assert cli("list", stores[1], "Part", "--json").json["total"] == 0
    assert cli("check", stores[1]).code == 0


def asked_twice(cli: Cli, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    """Two records with one code, created apart, in two stores that met; one of them, and what it asks."""
    models = tmp_path / "parts.py"
    models.write_text(MODELS.replace('unique=("code",)', 'unique=("code",), on_duplicate="ask"'))
    stores = tmp_path / "one.db", tmp_path / "two.db"
    for at, store in enumerate(stores):
        assert cli("init", store, "--models", models).code == 0
        created(cli, store, "code=x", f"due={at}", model="Part")
    with Replica.open(stores[0]) as one, Replica.open(stores[1]) as two:
        exchange(one, two)
    (conflict,) = cli("conflicts", "list", stores[0], "--json").json["conflicts"]
    return stores[0], conflict


def test_a_person_is_asked_and_keeps_both(cli: Cli, tmp_path: Path) -> None:
    store, conflict = asked_twice(cli, tmp_path)
    shown = cli("conflicts", "show", store, conflict["id"]).out
    assert "created twice" in shown
    assert "shown until" not in shown
    assert [item["take"] for item in conflict["choices"]] == ["1", "2", "both"]  # type: ignore[attr-defined]  # JSON
    for wrong in (("--value", "x"), ("--proposal",), ("--take", "keep"), ("--path", "/code=1")):
        assert cli("conflicts", "resolve", store, conflict["id"], *wrong).code in (2, 4, 5)
    found = cli("conflicts", "resolve", store, conflict["id"], "--take", "both")
    assert found.code == 0, found.err
    assert "both are kept" in found.out
    assert cli("list", store, "Part", "--json").json["total"] == 2
    assert cli("conflicts", "list", store, "--json").json["total"] == 0
    assert cli("check", store).code == 0


def test_a_person_is_asked_and_merges(cli: Cli, tmp_path: Path) -> None:
    store, conflict = asked_twice(cli, tmp_path)
    candidates = conflict["candidates"]
    assert isinstance(candidates, list)
    found = cli("conflicts", "resolve", store, conflict["id"], "--take", "2", "--json")
    assert found.code == 0, found.err
    assert found.json["take"] == "merge"
    assert found.json["value"]["due"] == candidates[1]["value"]["due"]
    assert cli("list", store, "Part", "--json").json["total"] == 1
    assert cli("check", store).code == 0


def test_a_rule_keeps_both(cli: Cli, tmp_path: Path) -> None:
    store, _ = asked_twice(cli, tmp_path)
    told = cli("conflicts", "resolve-all", store, "--model", "Part", "--take", "both", "--dry-run").out
    assert ("created twice" in told, "deleted" in told) == (True, False)
    found = cli("conflicts", "resolve-all", store, "--model", "Part", "--take", "both", "--json")
    assert found.code == 0, found.err
    assert (found.json["settled"], found.json["open_conflicts"]) == (1, 0)
