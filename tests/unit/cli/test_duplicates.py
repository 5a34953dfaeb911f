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
