"""create, show, list, set, delete, restore, log and status, as somebody types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli, clash, created


def test_a_record_is_created_with_values_of_every_kind(cli: Cli, store: Path) -> None:
    found = cli(
        "create",
        store,
        "Task",
        "title=Milk",
        "done=yes",
        "due=2026-01-31",
        "price=1.50",
        'address={"city": "Rome"}',
        "notes=one",
        "notes+= two",
        "votes=3",
        "votes+=2",
        'tags=["a", "b"]',
        "tags+=c",
        "--json",
    )
    assert found.code == 0, found.err
    assert found.json["fields"] == {
        "title": "Milk",
        "done": True,
        "due": "2026-01-31",
        "price": "1.50",
        "address": {"city": "Rome"},
        "notes": "one two",
        "votes": 5,
        "tags": ["a", "b", "c"],
    }
    assert cli("log", store, "--json").json["total"] == 1, "one command is one transaction"


def test_set_changes_fields_in_one_transaction(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk", "votes=3", 'tags=["a"]', "due=2026-01-31")
    found = cli("set", store, "Task", record, "title=Butter", "votes-=1", "tags+=b", "tags-=a", "due:=null", "--json")
    assert found.code == 0, found.err
    assert found.json["id"] == record
    fields = found.json["fields"]
    assert (fields["title"], fields["votes"], fields["tags"], fields["due"]) == ("Butter", 2, ["b"], None)
    assert cli("log", store, "--json").json["total"] == 2


def test_a_bad_assignment_among_good_ones_changes_nothing(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk")
    assert cli("set", store, "Task", record, "title=Butter", "votes+=1", "due=never").code == 4
    assert cli("show", store, "Task", record, "--json").json["fields"]["title"] == "Milk"
    assert cli("log", store, "--json").json["total"] == 1


def test_list_filters_orders_and_pages(cli: Cli, store: Path) -> None:
    for number in range(5):
        created(cli, store, f"title=t{number}", f"due=2026-01-0{number + 1}", f'tags=["x{number % 2}"]')

    def titles(*options: str) -> list[str]:
        found = cli("list", store, "Task", *options, "--json")
        assert found.code == 0, found.err
        return [item["fields"]["title"] for item in found.json["records"]]

    assert titles("--where", "due__lt=2026-01-03", "--order-by", "-title") == ["t1", "t0"]
    assert titles("--where", "tags__contains=x0", "--order-by", "title") == ["t0", "t2", "t4"]
    assert titles("--where", 'title__in=["t1", "t3"]', "--order-by", "title") == ["t1", "t3"]
    assert titles("--where", "title__contains=t4") == ["t4"]
    assert titles("--where", "due:=null") == []
    assert titles("--order-by", "title", "--limit", "2", "--offset", "1") == ["t1", "t2"]
    assert cli("list", store, "Task", "--limit", "2", "--json").json["total"] == 5
    assert "1-2 of 5" in cli("list", store, "Task", "--limit", "2").out


def test_delete_and_restore(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk", "notes=n")
    assert cli("delete", store, "Task", record, "--json").json == {"model": "Task", "id": record, "deleted": True}
    gone = cli("show", store, "Task", record, "--json")
    assert (gone.code, gone.error["type"]) == (3, "RecordNotFoundError")
    assert cli("delete", store, "Task", record).code == 3
    back = cli("restore", store, "Task", record, "--json")
    assert (back.json["fields"]["title"], back.json["fields"]["notes"]) == ("Milk", "n")


def test_log_tells_operations_and_a_records_history(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk")
    cli("set", store, "Task", record, "title=Butter")
    cli("delete", store, "Task", record)
    log = cli("log", store, "--json").json
    assert [item["type"] for item in log["operations"]] == ["create", "update", "delete"]
    assert {item["status"] for item in log["operations"]} == {"pending"}
    assert log["operations"][1]["data"] == {"title": "Butter"}
    assert cli("log", store, "--status", "completed", "--json").json["total"] == 0
    limited = cli("log", store, "--limit", "1", "--json").json
    assert (limited["total"], [item["type"] for item in limited["operations"]]) == (3, ["delete"])
    history = cli("log", store, "--record", record, "--json").json
    assert (history["model"], history["total"]) == ("Task", 3)
    assert history["history"][1]["changes"] == [{"field": "title", "old": "Milk", "new": "Butter", "conflict": None}]
    assert [item["live"] for item in history["history"]] == [True, True, False]
    text = cli("log", store, "--record", record).out
    assert "title: Milk → Butter" in text


def test_status_tells_how_a_store_stands(cli: Cli, store: Path, other: Path) -> None:
    created(cli, store, "title=Milk")
    clash(store, other, "due", ("2026-01-01", "2026-02-02"))
    found = cli("status", store, "--json").json
    devices = [cli("status", place, "--json").json["device_id"] for place in (store, other)]
    assert found["devices"] == sorted(devices)
    assert found["device_id"] == devices[0]
    assert (found["entries"], found["authors"], found["pending"], found["failed"]) == (3, 2, 2, 0)
    assert (found["conflicts"], found["served_by"]) == (1, None)
    task = next(model for model in found["models"] if model["name"] == "Task")
    assert (task["records"], task["fields"]["due"], task["fields"]["notes"]) == (1, "ask", "text")
    text = cli("status", store).out
    assert f"device      {devices[0]}" in text
    assert "Task: 1 records" in text


def test_concurrent_values_of_a_plain_field_are_shown(cli: Cli, store: Path, other: Path) -> None:
    record = created(cli, store, "title=Milk")
    clash(store, other, "title", ("Butter", "Bread"))
    found = cli("show", store, "Task", record, "--json").json
    assert [item["value"] for item in found["concurrent"]["title"]] == ["Bread", "Butter"]
    assert found["conflicts"] == []
    assert "written at once: title" in cli("show", store, "Task", record).out


def test_what_another_device_wrote_cannot_steer_the_terminal(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=\x1b[31mred", "notes=\x1b]0;x\x07")
    for arguments in (("show", store, "Task", record), ("list", store, "Task"), ("log", store)):
        text = cli(*arguments).out
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\\x1b[31mred" in text


def test_a_natural_key_is_kept(cli: Cli, store: Path) -> None:
    record = created(cli, store, "code=7", "name=Rome", model="City")
    again = cli("create", store, "City", "code=7", "--json")
    assert (again.code, again.error["type"]) == (3, "RecordExistsError")
    changed = cli("set", store, "City", record, "code=8", "--json")
    assert (changed.code, changed.error["type"]) == (4, "InvalidValueError")


def test_init_says_what_it_made_and_can_declare_anew(cli: Cli, tmp_path: Path, models_file: Path) -> None:
    path = tmp_path / "new.db"
    empty = cli("init", path, "--json").json
    assert (empty["created"], empty["models"]) == (True, [])
    assert "none declared" in cli("status", path).out
    declared = cli("init", path, "--models", models_file, "--json").json
    assert (declared["created"], declared["models"]) == (False, ["Task", "City"])
    assert declared["replica_id"] == empty["replica_id"]
    assert created(cli, path, "title=x")


def test_reading_changes_nothing_on_disk(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk")
    before = store.read_bytes()
    for arguments in (
        ("show", store, "Task", record),
        ("list", store, "Task"),
        ("log", store),
        ("log", store, "--record", record),
        ("status", store),
        ("check", store),
        ("conflicts", "list", store),
        ("export", store),
    ):
        assert cli(*arguments).code == 0
    assert store.read_bytes() == before


@pytest.mark.parametrize("limit", ["0", "-1", "10001"])
def test_limits_have_limits(cli: Cli, store: Path, limit: str) -> None:
    assert cli("list", store, "Task", "--limit", limit, "--json").error["type"] == "InputError"
    assert cli("log", store, "--limit", limit, "--json").error["type"] == "InputError"


@pytest.mark.parametrize("command", ["list", "show", "status", "log", "history", "check", "export", "conflicts"])
def test_commands_that_only_read_leave_the_folder_as_it_was(cli: Cli, store: Path, command: str) -> None:
    record = created(cli, store, "title=Milk")
    arguments: dict[str, tuple[object, ...]] = {
        "list": ("list", store, "Task"),
        "show": ("show", store, "Task", record),
        "history": ("log", store, "--record", record),
        "conflicts": ("conflicts", "list", store),
    }
    before = {path.name: path.stat().st_mtime_ns for path in store.parent.iterdir()}
    assert cli(*arguments.get(command, (command, store))).code == 0
    assert {path.name: path.stat().st_mtime_ns for path in store.parent.iterdir()} == before


def test_values_that_no_longer_fit_are_marked_and_listed(cli: Cli, tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text("from crdt_sync import Model\n\nclass Note(Model):\n    size: str = ''\n")
    new.write_text("from crdt_sync import Model\n\nclass Note(Model):\n    size: int = 0\n")
    place = tmp_path / "notes.db"
    assert cli("init", place, "--models", old).code == 0
    record = cli("create", place, "Note", "size=large", "--json").json["id"]
    assert cli("init", place, "--models", new).code == 0
    good = cli("create", place, "Note", "size=3", "--json").json["id"]
    shown = cli("show", place, "Note", record, "--json").json
    assert (shown["fields"], list(shown["invalid"])) == ({"size": "large"}, ["size"])
    assert "! does not fit: Input should be a valid integer" in cli("show", place, "Note", record).out
    assert "! large" in cli("list", place, "Note").out
    found = cli("list", place, "Note", "--invalid", "--json").json
    assert ([item["id"] for item in found["records"]], found["total"]) == ([record], 1)
    assert "invalid" not in cli("show", place, "Note", good, "--json").json
    assert cli("set", place, "Note", record, "size=4").code == 0
    assert cli("list", place, "Note", "--invalid", "--json").json["total"] == 0


_ELEMENTS = """
from datetime import date
from typing import Any
from crdt_sync import List, Map, Model, Set

class Note(Model):
    tags: Set[{type}]
    steps: List[{type}]
    prefs: Map[str, {type}]
"""


def test_elements_that_do_not_fit_are_taken_out_as_they_are_shown(cli: Cli, tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text(_ELEMENTS.format(type="Any"))
    new.write_text(_ELEMENTS.format(type="int"))
    place = tmp_path / "notes.db"
    assert cli("init", place, "--models", old).code == 0
    exact = '{"$value": "c403ff6162"}'  # three bytes
    steps = '["t", 2.5, ["a", 1], null, 7]'
    made = cli(
        "create", place, "Note", f'tags:=["t", 2.5, null, {exact}, 7]', f"steps:={steps}", 'prefs:={"p": "q"}', "--json"
    )
    assert made.code == 0, made.err
    assert cli("init", place, "--models", new).code == 0
    record = made.json["id"]
    for file_format in ("csv", "jsonl"):
        exported = cli("export", place, "--model", "Note", "--format", file_format)
        assert exported.code == 0, exported.err
    for text in ("t", "2.5", "null", "7"):
        taken = cli("set", place, "Note", record, f"tags-={text}", f"steps-={text}")
        assert taken.code == 0, taken.err
    assert cli("set", place, "Note", record, f"tags-={exact}", 'steps-=["a", 1]', "prefs-=p").code == 0
    assert cli("show", place, "Note", record, "--json").json["fields"] == {"tags": [], "steps": [], "prefs": {}}
    assert "valid integer" in cli("set", place, "Note", record, "tags-=u").err


def test_records_that_do_not_fit_together_are_marked(cli: Cli, tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text("from crdt_sync import Model\n\nclass Span(Model):\n    low: int = 0\n    high: int = 9\n")
    new.write_text(
        old.read_text()
        + "\n    from pydantic import model_validator\n\n    @model_validator(mode='after')\n"
        + "    def order(self):\n        if self.low > self.high:\n            raise ValueError('too low')\n"
        + "        return self\n"
    )
    place = tmp_path / "spans.db"
    assert cli("init", place, "--models", old).code == 0
    record = cli("create", place, "Span", "low=10", "--json").json["id"]
    assert cli("init", place, "--models", new).code == 0
    told = cli("show", place, "Span", record, "--models", new).out
    assert "! does not fit together: Value error, too low" in told
    assert f"! {record}" in cli("list", place, "Span", "--invalid", "--models", new).out
    assert cli("set", place, "Span", record, "high=11", "--models", new).code == 0
    assert cli("list", place, "Span", "--invalid", "--models", new, "--json").json["total"] == 0


def test_types_whose_code_fails_are_shown_exported_and_refused(cli: Cli, tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text(_ELEMENTS.format(type="Any") + "    room: Any = None\n    day: Any = None\n")
    new.write_text(
        "from typing import Annotated\nfrom datetime import date\nfrom pydantic import AfterValidator\n"
        "Room = Annotated[str | int, AfterValidator(lambda room: {'1': '1'}[room])]\n"
        "Day = Annotated[date, AfterValidator(lambda day: 1 // 0)]\n"
        + _ELEMENTS.format(type="Room")
        + "    room: Room | None = None\n    day: Day | None = None\n"
    )
    place = tmp_path / "notes.db"
    assert cli("init", place, "--models", old).code == 0
    day = '{"$value": "c70a02323032352d30312d3031"}'
    made = cli(
        "create", place, "Note", 'tags:=["t"]', 'steps:=["s"]', 'prefs:={"p": 2}', "room=x", f"day:={day}", "--json"
    )
    assert made.code == 0, made.err
    with_models = ("--models", new)
    assert cli("init", place, *with_models).code == 0
    record = made.json["id"]
    shown = cli("show", place, "Note", record, *with_models, "--json")
    assert shown.code == 0, shown.err
    assert set(shown.json["invalid"]) == {"tags", "steps", "prefs", "room", "day"}
    for arguments in (
        ("list", place, "Note"),
        ("export", place),
        ("export", place, "--model", "Note", "--format", "csv"),
    ):
        found = cli(*arguments, *with_models)
        assert found.code == 0, found.err
    for wrong in ("room=y", 'room:="y"', "day=2025-01-02", "tags+=y", 'steps:=["y"]', 'prefs+={"q": "y"}'):
        refused = cli("set", place, "Note", record, wrong, *with_models)
        assert (refused.code, "Error" in refused.err) == (4, True), refused.err
    assert cli("set", place, "Note", record, "room=1", "tags-=t", "steps-=s", *with_models).code == 0
