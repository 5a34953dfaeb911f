"""Every bad input has its own typed error, a hint and an exit code, and changes nothing."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from crdt_sync import Replica, errors
from crdt_sync.storage.migrations import MIGRATIONS
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.cli.conftest import Cli, contents, created

NOWHERE = "018f0000-0000-7000-8000-000000000000"

BAD_INPUTS: list[tuple[str, tuple[str, ...], type[errors.CRDTSyncError]]] = [
    ("wrong type", ("set", "STORE", "Task", "RECORD", "due=soon"), errors.InvalidValueError),
    ("wrong type of an element", ("set", "STORE", "Task", "RECORD", "tags:=[1]"), errors.InvalidValueError),
    ("wrong type at creation", ("create", "STORE", "Task", "done=perhaps"), errors.InvalidValueError),
    ("missing required field", ("create", "STORE", "City", "name=Rome"), errors.InvalidValueError),
    ("counter set", ("set", "STORE", "Task", "RECORD", "votes=3"), errors.InvalidValueError),
    ("step of no counter", ("set", "STORE", "Task", "RECORD", "title+=x"), errors.InvalidValueError),
    ("unknown model", ("list", "STORE", "Nope"), errors.UnknownModelError),
    ("unknown model to create", ("create", "STORE", "Nope", "a=1"), errors.UnknownModelError),
    ("unknown field", ("set", "STORE", "Task", "RECORD", "nope=1"), errors.UnknownFieldError),
    ("unknown field to filter by", ("list", "STORE", "Task", "--where", "nope=1"), errors.UnknownFieldError),
    ("unknown field to order by", ("list", "STORE", "Task", "--order-by", "nope"), errors.UnknownFieldError),
    ("unknown comparison", ("list", "STORE", "Task", "--where", "title__like=1"), errors.UnknownFieldError),
    ("record not there", ("show", "STORE", "Task", NOWHERE), errors.RecordNotFoundError),
    ("record not there to set", ("set", "STORE", "Task", NOWHERE, "title=x"), errors.RecordNotFoundError),
    ("record not there to delete", ("delete", "STORE", "Task", NOWHERE), errors.RecordNotFoundError),
    ("record not there to restore", ("restore", "STORE", "Task", NOWHERE), errors.RecordNotFoundError),
    ("record without history", ("log", "STORE", "--record", NOWHERE), errors.RecordNotFoundError),
    ("no record id", ("show", "STORE", "Task", "seven"), errors.InputError),
    ("no assignment", ("set", "STORE", "Task", "RECORD", "title"), errors.InputError),
    ("nothing to set", ("set", "STORE", "Task", "RECORD"), errors.InputError),
    ("a field twice", ("set", "STORE", "Task", "RECORD", "title=a", "title=b"), errors.InputError),
    ("no JSON", ("set", "STORE", "Task", "RECORD", "title:=x"), errors.InputError),
    ("unknown status", ("log", "STORE", "--status", "lost"), errors.InputError),
    ("unknown command", ("frobnicate", "STORE"), errors.InputError),
    ("unknown option", ("list", "STORE", "Task", "--colour"), errors.InputError),
    ("missing argument", ("list", "STORE"), errors.InputError),
    ("option of the wrong type", ("list", "STORE", "Task", "--limit", "many"), errors.InputError),
    ("no port", ("serve", "STORE", "--port", "70000"), errors.InputError),
    ("models that are not there", ("status", "STORE", "--models", "/nowhere/models.py"), errors.InputError),
    ("no such module", ("status", "STORE", "--models", "no.such.module"), errors.InputError),
    ("export over a file", ("export", "STORE", "--output", "STORE"), errors.InputError),
    (
        "export of an unknown model",
        ("export", "STORE", "--model", "Nope", "-o", "STORE.jsonl"),
        errors.UnknownModelError,
    ),
    ("import of a file that is not there", ("import", "STORE", "/nowhere"), errors.InputError),
    ("hub not there", ("sync", "STORE", "ws://127.0.0.1:DEAD"), errors.PeerUnreachableError),
    ("no url", ("sync", "STORE", "127.0.0.1"), errors.InputError),
    ("port in use", ("serve", "STORE", "--port", "BUSY"), errors.AddressInUseError),
    ("host of others without --open", ("serve", "STORE", "--host", "192.0.2.1"), errors.AdmissionError),
]


@pytest.mark.parametrize(("arguments", "kind"), [case[1:] for case in BAD_INPUTS], ids=[case[0] for case in BAD_INPUTS])
def test_a_bad_input_is_refused_and_changes_nothing(
    cli: Cli, store: Path, arguments: tuple[str, ...], kind: type[errors.CRDTSyncError]
) -> None:
    record = created(cli, store, "title=Milk", "votes=1")
    before = contents(store)
    with socket.create_server(("127.0.0.1", 0)) as busy, socket.create_server(("127.0.0.1", 0)) as dead:
        ports = {"BUSY": str(busy.getsockname()[1]), "DEAD": str(dead.getsockname()[1])}
        dead.close()
        replaced = [_replaced(item, {"STORE": str(store), "RECORD": record, **ports}) for item in arguments]
        as_json, as_text = cli(*replaced, "--json"), cli(*replaced)
    assert as_json.code == as_text.code == kind.exit_code != 0
    assert as_json.out == as_text.out == ""
    assert as_json.error["type"] == kind.__name__
    assert as_json.error["hint"], "says what can be done"
    assert as_text.err.startswith(f"error: {as_json.error['message']}"[:60])
    assert "hint: " in as_text.err
    assert contents(store) == before


def _replaced(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


COMMANDS: list[tuple[str, ...]] = [
    ("create", "STORE", "Task"),
    ("show", "STORE", "Task", NOWHERE),
    ("list", "STORE", "Task"),
    ("set", "STORE", "Task", NOWHERE, "title=x"),
    ("delete", "STORE", "Task", NOWHERE),
    ("restore", "STORE", "Task", NOWHERE),
    ("conflicts", "list", "STORE"),
    ("conflicts", "show", "STORE", "abcdef"),
    ("conflicts", "resolve", "STORE", "abcdef", "--latest"),
    ("log", "STORE"),
    ("status", "STORE"),
    ("check", "STORE"),
    ("export", "STORE", "-o", "STORE.jsonl"),
    ("import", "STORE", "/dev/null"),
    ("sync", "STORE", "ws://127.0.0.1:1"),
    ("serve", "STORE"),
]


def _missing(path: Path) -> None:
    """Nothing is there."""


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _newer(path: Path) -> None:
    open_sqlite(path, create=True).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()


def _cut_short(path: Path) -> None:
    open_sqlite(path, create=True).close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_missing, errors.StoreNotFoundError),
        (_garbage, errors.NotAStoreError),
        (_foreign, errors.NotAStoreError),
        (_newer, errors.StoreVersionError),
        (_cut_short, errors.CorruptStoreError),
        (_folder, errors.NotAStoreError),
    ],
)
@pytest.mark.parametrize("arguments", COMMANDS, ids=["-".join(item[:2]) for item in COMMANDS])
def test_what_is_no_store_of_ours_is_left_as_it_is(
    cli: Cli,
    tmp_path: Path,
    make: Callable[[Path], None],
    kind: type[errors.CRDTSyncError],
    arguments: tuple[str, ...],
) -> None:
    store = tmp_path / "a.db"
    make(store)
    before = _files(tmp_path)
    refused = cli(*(_replaced(item, {"STORE": str(store)}) for item in arguments), "--json")
    assert (refused.code, refused.error["type"]) == (kind.exit_code, kind.__name__)
    assert refused.error["hint"]
    assert _files(tmp_path) == before


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"}


def test_init_makes_no_store_out_of_another_file(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    assert cli("init", path, "--json").error["type"] == "NotAStoreError"
    assert path.read_text() == "dear diary"


def test_a_store_that_an_app_has_open_can_be_read_and_not_written(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk")
    with Replica.open(store) as replica:
        replica.create(replica.model("Task"), title="by the app")
        assert cli("list", store, "Task", "--json").json["total"] == 2
        for arguments in (
            ("set", store, "Task", record, "title=x"),
            ("serve", store),
            ("init", store),
            ("sync", store, "ws://127.0.0.1:1"),
        ):
            refused = cli(*arguments, "--json")
            assert (refused.code, refused.error["type"]) == (7, "StoreInUseError")
            assert refused.error["hint"]
        assert replica.count(replica.model("Task")) == 2
    assert cli("show", store, "Task", record, "--json").json["fields"]["title"] == "Milk"


def test_a_corrupt_row_is_named_and_nothing_is_written(cli: Cli, store: Path) -> None:
    record = created(cli, store, "title=Milk")
    connection = sqlite3.connect(store)
    connection.execute("UPDATE _crdt_document SET value = CAST(value || x'00' AS BLOB)")
    connection.commit()
    connection.close()
    before = store.read_bytes()
    found = cli("show", store, "Task", record, "--json")
    assert (found.code, found.error["type"]) == (10, "CorruptStoreError")
    assert "crdt-sync check" in found.error["hint"]
    checked = cli("check", store, "--json")
    assert checked.code == 10
    assert checked.json["ok"] is False
    assert {item["what"] for item in checked.json["damage"]} >= {"row", "document"}
    assert checked.error["type"] == "CorruptStoreError"
    assert store.read_bytes() == before


def test_init_makes_no_folders(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    refused = cli("init", tmp_path / "nowhere" / "a.db", "--json")
    assert (refused.code, refused.error["type"]) == (6, "StoreNotFoundError")
    assert not (tmp_path / "nowhere").exists()


def test_errors_of_a_models_file_are_named(cli: Cli, tmp_path: Path, state_dir: Path) -> None:
    cases = {
        "syntax.py": ("def", "InputError", 2),
        "raises.py": ("1 / 0", "InputError", 2),
        "leaves.py": ("raise SystemExit(3)", "InputError", 2),
        "nothing.py": ("x = 1", "InputError", 2),
        "bad.py": ("from crdt_sync import Model\nclass A(Model, key=('b',)):\n    a: int", "SchemaError", 4),
    }
    for name, (text, kind, code) in cases.items():
        (tmp_path / name).write_text(text)
        refused = cli("init", tmp_path / "new.db", "--models", tmp_path / name, "--json")
        assert (refused.code, refused.error["type"]) == (code, kind)
        assert not (tmp_path / "new.db").exists()


def test_an_error_is_one_json_document_on_standard_error(cli: Cli, store: Path) -> None:
    refused = cli("list", store, "Nope", "--json")
    assert json.loads(refused.err) == {
        "error": {
            "type": "UnknownModelError",
            "message": "this store has no model 'Nope'",
            "hint": "Its models: Task, City.",
        }
    }


@pytest.mark.parametrize("path", ["", "\ud800.db", "x" * 300], ids=["empty", "surrogate", "long"])
@pytest.mark.parametrize("command", [("init",), ("status",), ("check",), ("list", "Task"), ("serve",)])
def test_what_no_store_can_be_called_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = cli(command[0], path, *command[1:], "--json")
    assert (refused.code, refused.error["type"]) == (2, "InputError")
    assert "path of a store" in refused.error["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [("--sync", "--record", "x"), ("--sync", "--status", "failed")])
def test_lists_that_exclude_each_other_are_not_mixed(cli: Cli, store: Path, options: tuple[str, ...]) -> None:
    refused = cli("log", store, *options, "--json")
    assert (refused.code, refused.error["hint"]) == (2, "Give one of them.")
