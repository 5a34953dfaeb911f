"""Names of devices on the command line: given, shown wherever a device is, and in JSON beside its id."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.cli.actions.naming import fitting_name
from tests.unit.cli.conftest import Cli, clash, created, serving


def test_a_new_store_takes_the_name_of_the_machine(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "study.local")
    assert cli("init", tmp_path / "a.db", "--json").json["device_name"] == "study.local"
    monkeypatch.setattr(platform, "node", lambda: "moved")
    assert cli("init", tmp_path / "a.db", "--json").json["device_name"] == "study.local"
    assert cli("init", tmp_path / "a.db", "--name", "desk", "--json").json["device_name"] == "desk"
    assert cli("init", tmp_path / "b.db", "--no-name", "--json").json["device_name"] is None
    assert cli("init", tmp_path / "c.db", "--name", "x", "--no-name").code == 2
    assert cli("init", tmp_path / "c.db", "--name", "a\nb").code == 2
    assert not (tmp_path / "c.db").exists()


@pytest.mark.parametrize(
    ("host", "name"), [("", None), ("\x1b\n", None), ("a\tb", "ab"), ("x" * 70, "x" * 64), (" é ", "é")]
)
def test_what_of_a_host_name_can_be_one(host: str, name: str | None) -> None:
    assert fitting_name(host) == name


def test_a_name_is_shown_and_changed(cli: Cli, store: Path) -> None:
    device = cli("status", store, "--json").json["device_id"]
    assert cli("name", store).out == f"this device: {device}\n"
    assert cli("name", store, "laptop").out == f"this device: laptop ({device})\n"
    found = cli("name", store, "--json").json
    assert found == {"device_names": {device: "laptop"}, "device_id": device, "device_name": "laptop"}
    assert f"laptop ({device})" in cli("status", store).out
    refused = cli("name", store, "x" * 65, "--json")
    assert (refused.code, refused.error["type"]) == (2, "InputError")
    assert "64 printable" in refused.error["hint"]


def test_the_serving_process_changes_the_name(cli: Cli, store: Path, state_dir: Path) -> None:
    with serving(state_dir, store) as running:
        assert running.where["device_name"] is None
        assert cli("name", store, "hub", "--json").json["device_name"] == "hub"
    assert cli("name", store, "--json").json["device_name"] == "hub"


def test_devices_are_told_of_by_name(cli: Cli, store: Path, other: Path) -> None:
    record = created(cli, store, "title=Milk", "due=2026-01-01")
    for path, name in ((store, "laptop"), (other, "phone")):
        assert cli("name", path, name).code == 0
    clash(store, other, "due", ("2026-02-02", "2026-03-03"))
    label = re.compile(r"(laptop|phone) \(\w{4}…\)")
    for command in (
        ("log", store, "--record", record),
        ("conflicts", "list", store),
        ("show", store, "Task", record),
        ("explain", store, "Task", record, "due"),
    ):
        assert set(label.findall(cli(*command).out)) == {"laptop", "phone"}, command
    found = cli("conflicts", "list", store, "--json").json["conflicts"][0]
    assert [item["device_name"] for item in found["candidates"]] == ["phone", "laptop"]
    told = cli("log", store, "--record", record, "--json").json["history"]
    assert {item["device_name"] for item in told} == {"laptop", "phone"}
    causes = cli("explain", store, "Task", record, "due", "--json").json["causes"]
    assert {item["device_name"] for item in causes} == {"laptop", "phone"}


def test_a_name_cannot_steer_a_terminal(cli: Cli, store: Path) -> None:
    with Replica.open(store, device_name="evil") as replica:
        held = replica.device_names
    assert list(held.values()) == ["evil"]
    with pytest.MonkeyPatch.context() as patched:  # a peer's name needs to be no more than free of control characters
        patched.setattr("crdt_sync.replica.naming.checked_name", lambda name: name)
        with Replica.open(store) as replica:
            replica.name_device("a\u202eb")
    assert "\\x202e" in cli("name", store).out
