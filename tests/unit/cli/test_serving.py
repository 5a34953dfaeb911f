"""serve and sync as processes of their own: readiness, commands meanwhile, and a clean end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import (
    Cli,
    clash,
    command,
    created,
    environment,
    run_process,
    serving,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_store_is_served_until_a_signal_and_closed_cleanly(
    cli: Cli, store: Path, state_dir: Path, number: signal.Signals
) -> None:
    with serving(state_dir, store) as server:
        assert server.where["url"] == f"ws://127.0.0.1:{server.where['port']}"
        assert server.where["pid"] == server.process.pid
        assert cli("status", store, "--json").json["served_by"] == server.process.pid
        ended = server.stop(number)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    before = cli("status", store, "--json").json
    assert before["served_by"] is None
    with Replica.open(store) as replica:
        model: Any = replica.model("Task")
        replica.create(model, title="x")
        assert len(replica.port.own_authors()) == 1, "after a clean end the author is kept"


def test_commands_reach_the_serving_process(
    cli: Cli, store: Path, other: Path, state_dir: Path, tmp_path: Path
) -> None:
    record = created(cli, store, "title=Milk", "due=2026-01-01")
    clash(store, other, "due", ("2026-02-02", "2026-03-03"))
    with serving(state_dir, store) as server:
        assert cli("set", store, "Task", record, "title=Butter", "votes+=2", "--json").json["fields"]["votes"] == 2
        second = created(cli, store, "title=Second")
        assert cli("list", store, "Task", "--json").json["total"] == 2
        assert cli("show", store, "Task", record, "--json").json["fields"]["title"] == "Butter"
        assert cli("delete", store, "Task", second).code == 0
        assert cli("restore", store, "Task", second).code == 0
        name = cli("conflicts", "list", store, "--json").json["conflicts"][0]["id"]
        assert cli("conflicts", "show", store, name, "--json").json["id"] == name
        assert cli("conflicts", "resolve", store, name, "--take", "2", "--json").json["value"] == "2026-02-02"
        assert cli("log", store, "--json").json["total"] == 7
        assert cli("log", store, "--record", record, "--json").json["model"] == "Task"
        assert cli("check", store, "--json").json["ok"] is True
        file = tmp_path / "out.jsonl"
        assert cli("export", store, "-o", file, "--json").json["records"] == 2
        assert cli("import", store, file, "--json").json["existing"] == 2
        file.write_text('{"title": "Third"}\n{"title": 3}\n')
        refused = cli("import", store, file, "--model", "Task", "--json")
        assert (refused.code, refused.error["message"][:7]) == (4, "line 2:")
        for arguments, kind, code in (
            (("show", store, "Task", "seven"), "InputError", 2),
            (("show", store, "Task", "018f0000-0000-7000-8000-000000000000"), "RecordNotFoundError", 3),
            (("set", store, "Task", record, "due=soon"), "InvalidValueError", 4),
            (("list", store, "Nope"), "UnknownModelError", 4),
            (("conflicts", "show", store, name), "ConflictNotFoundError", 5),
            (("serve", store), "StoreInUseError", 7),
            (("init", store), "StoreInUseError", 7),
            (("status", store, "--models", tmp_path / "models.py"), "InputError", 2),
        ):
            refused = cli(*arguments, "--json")
            assert (refused.code, refused.error["type"]) == (code, kind)
            assert refused.error["hint"]
        assert server.stop().err == ""
    assert cli("list", store, "Task", "--json").json["total"] == 2


def test_two_devices_sync_through_serve_and_prove_it(cli: Cli, store: Path, other: Path, state_dir: Path) -> None:
    created(cli, store, "title=here")
    created(cli, other, "title=there")
    with serving(state_dir, store) as server:
        found = cli("sync", other, server.url, "--json")
        assert found.code == 0, found.err
        (report,) = found.json["peers"]
        assert (report["url"], report["proven_equal"]) == (server.url, True)
        assert (report["received_entries"], report["sent_entries"], report["completed_operations"]) == (1, 1, 1)
        assert report["bytes_in"] > 0 < report["bytes_out"]
        assert len(report["fingerprints"][""]) == 32
        assert [item["status"] for item in cli("log", other, "--json").json["operations"]] == ["completed"]
        assert cli("list", store, "Task", "--json").json["total"] == 2
        (result,) = cli("log", other, "--sync", "--json").json["results"]
        assert (result["operation"], result["result"], result["error"]) == ("1", "success", "")
        assert "success" in cli("log", other, "--sync").out
        text = cli("sync", other, server.url).out
        assert "both sides hold the same" in text
        assert "0 entries, 0 operations completed" in text
        assert f"proof     {report['fingerprints']['']}" in text
    assert cli("list", other, "Task", "--json").json["total"] == 2


def test_a_served_store_can_sync_with_another_peer(cli: Cli, store: Path, other: Path, state_dir: Path) -> None:
    created(cli, store, "title=here")
    with serving(state_dir, store), serving(state_dir, other) as hub:
        (report,) = cli("sync", store, hub.url, "--json").json["peers"]
        assert (report["proven_equal"], report["completed_operations"]) == (True, 1)
        assert cli("list", other, "Task", "--json").json["total"] == 1
        with socket.create_server(("127.0.0.1", 0)) as dead:
            port = dead.getsockname()[1]
        refused = cli("sync", store, f"ws://127.0.0.1:{port}", "--json")
        assert (refused.code, refused.error["type"]) == (8, "PeerUnreachableError")


def test_each_of_several_peers_has_its_report_also_where_another_one_fails(
    cli: Cli, store: Path, other: Path, state_dir: Path
) -> None:
    created(cli, store, "title=here")
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"ws://127.0.0.1:{dead.getsockname()[1]}"
    with serving(state_dir, other) as hub:
        result = cli("sync", store, hub.url, url, "nonsense", hub.url, "--json")
        assert result.code == 8, "the first failure's"
        peers = result.json["peers"]
        assert [(peer["url"], peer["proven_equal"]) for peer in peers] == [
            (hub.url, True), (url, False), ("nonsense", False), (hub.url, True),
        ]  # fmt: skip
        errors = [json.loads(line)["error"] for line in result.err.splitlines()]
        assert [error["type"] for error in errors] == ["PeerUnreachableError", "InputError"]
        assert [peer.get("error") for peer in peers] == [None, *errors, None]
        assert all(error["hint"] for error in errors)
        assert cli("list", other, "Task", "--json").json["total"] == 1
        text = cli("sync", store, url, hub.url)
        assert (text.code, "both sides hold the same" in text.out, "hint: " in text.err) == (8, True, True)


def test_peers_stay_connected(cli: Cli, store: Path, other: Path, state_dir: Path) -> None:
    with serving(state_dir, other) as hub, serving(state_dir, store, "--peer", hub.url) as server:
        record = created(cli, store, "title=live")
        for _ in range(200):
            if cli("list", other, "Task", "--json").json["total"]:
                break
        assert cli("show", other, "Task", record, "--json").json["fields"]["title"] == "live"
        assert server.stop().code == 0
        assert hub.stop().code == 0


def test_a_port_in_use_is_named_and_the_store_is_free_again(
    cli: Cli, store: Path, other: Path, state_dir: Path
) -> None:
    with serving(state_dir, other) as server:
        refused = run_process(state_dir, "serve", store, "--port", server.where["port"], "--json")
    assert (refused.code, refused.error["type"], refused.out) == (8, "AddressInUseError", "")
    assert created(cli, store, "title=x")


def test_a_copy_of_a_served_store_is_read_by_itself(cli: Cli, store: Path, state_dir: Path, tmp_path: Path) -> None:
    created(cli, store, "title=before")
    copy = tmp_path / "copy.db"
    shutil.copy(store, copy)
    with serving(state_dir, store):
        created(cli, store, "title=after")
        assert cli("list", store, "Task", "--json").json["total"] == 2
        assert cli("list", copy, "Task", "--json").json["total"] == 1
        assert created(cli, copy, "title=in the copy")
    assert cli("list", store, "Task", "--json").json["total"] == 2


def test_a_killed_server_leaves_a_store_that_works(cli: Cli, store: Path, state_dir: Path) -> None:
    with serving(state_dir, store) as server:
        created(cli, store, "title=one")
        server.process.kill()
        server.process.wait()
    assert cli("list", store, "Task", "--json").json["total"] == 1
    assert created(cli, store, "title=two")
    assert cli("check", store, "--json").json["ok"] is True
    with serving(state_dir, store) as again:
        assert cli("list", store, "Task", "--json").json["total"] == 2
        assert again.stop().code == 0


def test_reading_after_a_kill_brings_large_texts_up_to_date(cli: Cli, store: Path, state_dir: Path) -> None:
    record = created(cli, store, f"notes={'x' * 30_000}")
    with serving(state_dir, store) as server:
        assert cli("set", store, "Task", record, "notes+=needle").code == 0
        server.process.kill()
        server.process.wait()
    assert cli("list", store, "Task", "--where", "notes__contains=needle", "--json").json["total"] == 1


def test_exit_codes_and_streams_of_a_process(store: Path, state_dir: Path) -> None:
    assert run_process(state_dir, "--version").out.startswith("crdt-sync ")
    nothing = run_process(state_dir)
    assert (nothing.code, nothing.out) == (2, "")
    assert "Usage: crdt-sync" in nothing.err
    wrong = run_process(state_dir, "list", store, "Nope")
    assert (wrong.code, wrong.out) == (4, "")
    assert wrong.err.startswith("error: this store has no model 'Nope'\nhint: ")
    assert run_process(state_dir, "list", store, "Task").code == 0


def test_a_reader_that_has_had_enough_is_no_error(cli: Cli, store: Path, state_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"title": "x"}\n' * 5000)
    assert cli("import", store, file, "--model", "Task").code == 0
    with subprocess.Popen(
        command("export", store),
        env=environment(state_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0
