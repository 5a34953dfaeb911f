"""`crdt-sync metrics`, `retry`, and `log` by result and time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import DeviceId
from crdt_sync.protocol.care import Flight
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.replica import Sources
from crdt_sync.replica.set_aside import Fault
from crdt_sync.testing.exchange import exchange
from tests.unit.cli.conftest import Cli, created, serving


def refuse(store: Path, *, sequence: int) -> None:
    """A peer refuses a change, and all behind it."""
    with Replica.open(store) as replica:
        (author,) = replica.port.vector()[""]
        status = EntryStatus(
            partition="", author=author, sequence=sequence, kind=StatusKind.REFUSED, code="screening", reason="no"
        )
        replica.port.acknowledged(DeviceId("abcd"), {}, [status])


def test_metrics_as_text_json_and_for_prometheus(cli: Cli, store: Path, other: Path) -> None:
    text = cli("metrics", store).out
    assert "nothing has a result yet" in text
    assert "no peer was met" in text
    created(cli, store, "title=Milk")
    with Replica.open(store) as here, Replica.open(other) as there:
        exchange(here, there)
    created(cli, store, "title=Bread")
    shown = cli("metrics", store)
    assert shown.code == 0
    assert "1 pending, the oldest for" in shown.out
    assert "1 completed, 0 failed" in shown.out
    assert "100.0%" in shown.out
    told = cli("metrics", store, "--json").json
    assert (told["pending"], told["completed"], told["sessions"], told["reconnects"]) == (1, 1, 1, 0)
    assert told["traffic"]["bytes_in"] > 0
    lines = cli("metrics", store, "--prometheus").out.splitlines()
    assert 'crdt_sync_operations{status="pending"} 1.0' in lines
    both = cli("metrics", store, "--prometheus", "--json")
    assert (both.code, "either --json or --prometheus" in both.err) == (2, True)


def test_status_shows_who_is_home_and_a_clock_that_is_off(cli: Cli, store: Path, other: Path) -> None:
    shown = cli("status", store)
    assert "home        every peer\n" in shown.out
    assert "clock" not in shown.out
    told = cli("status", store, "--json").json
    assert (told["home"], told["clock_offset_s"]) == ([], None)
    sources = Sources(now_ms=lambda: time.time_ns() // 1_000_000 + 7_200_000)
    with Replica.open(store, sources=sources) as here, Replica.open(other) as there:
        assert there.device_id is not None
        here.port.set_home(["ws://hub:1", "ws://other:1"])
        here.port.met("ws://hub:1", there.device_id)
        exchange(here, there)
    shown = cli("status", store)
    assert f"home        {there.device_id} at ws://hub:1\n" in shown.out
    assert "home        not met yet at ws://other:1\n" in shown.out
    assert "clock       7200 s ahead of that of the peer that was met last: one of the two is off\n" in shown.out
    told = cli("status", store, "--json").json
    assert [(item["address"], item["device_id"]) for item in told["home"]] == [
        ("ws://hub:1", there.device_id),
        ("ws://other:1", None),
    ]
    assert -7_201 < told["clock_offset_s"] < -7_199


def test_a_server_without_peers_leaves_home_as_it_is(cli: Cli, store: Path, state_dir: Path) -> None:
    with Replica.open(store) as replica:
        replica.port.set_home(["ws://hub:1"])
    with serving(state_dir, store):
        assert [item["address"] for item in cli("status", store, "--json").json["home"]] == ["ws://hub:1"]


def test_what_failed_is_listed_and_tried_again(cli: Cli, store: Path) -> None:
    for title in ("Milk", "Bread", "Salt"):
        created(cli, store, f"title={title}")
    assert cli("log", store, "--failed", "--json").json == {"total": 0, "operations": []}
    refuse(store, sequence=3)
    failed = cli("log", store, "--failed", "--json").json
    assert [item["data"]["title"] for item in failed["operations"]] == ["Salt"]
    assert failed["operations"][0]["error"] == "screening: no"
    assert cli("log", store, "--sync", "--failed", "--json").json["results"][0]["result"] == "failure"
    assert cli("status", store, "--json").json["failed"] == 1
    for wrong in ((), ("3", "--all")):
        refused = cli("retry", store, *wrong)
        assert (refused.code, "either an operation or --all" in refused.err) == (2, True)
    assert cli("retry", store, "2").code == 2
    assert "1 wait again; 3 pending, 0 failed" in cli("retry", store, "3").out
    assert cli("retry", store, "--all", "--json").json == {"retried": 0, "pending": 3, "failed": 0}


def test_log_since_a_time(cli: Cli, store: Path) -> None:
    created(cli, store, "title=Milk")
    assert cli("log", store, "--since", "1h", "--json").json["total"] == 1
    later = cli("log", store, "--since", "2999-01-01", "--json").json
    assert later == {"total": 0, "operations": []}
    assert cli("log", store, "--sync", "--since", "2d", "--json").json == {"results": []}


@pytest.mark.parametrize("text", ["", "2x", "d", "-1d", "yesterday", "99999999999w", "²d"])
def test_what_is_no_time(cli: Cli, store: Path, text: str) -> None:
    found = cli("log", store, "--since", text)
    assert (found.code, "is no time" in found.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--record", "x", "--failed"), "--record lists what all devices did"),
        (("--failed", "--status", "pending"), "--failed and --status"),
        (("--sync", "--status", "pending"), "ask for different lists"),
    ],
)
def test_lists_that_exclude_each_other(cli: Cli, store: Path, options: tuple[str, ...], text: str) -> None:
    found = cli("log", store, *options)
    assert (found.code, text in found.err) == (2, True)


@pytest.mark.parametrize(
    ("fault", "ends", "shown"), [(Fault.FAILURE, 5, "`retry` sends it again"), (Fault.LOSS, 7, "again at 2")]
)
def test_what_is_set_aside_is_shown_with_its_reason_and_put_back(
    cli: Cli, store: Path, fault: Fault, ends: int, shown: str
) -> None:
    created(cli, store, "title=Milk")
    with Replica.open(store) as replica:
        (author,) = replica.port.vector()[""]
        flight = Flight(partition="", author=author, first=1, last=1, until=1, alone=True)
        for number in range(ends):  # the device came back as another each time
            epoch = bytes([number] * 8)
            replica.port.ended_at(DeviceId("abcd"), flight, fault, reason="it ended", epoch=epoch)
    told = cli("status", store).out
    assert "set aside   for abcd: entry 1 of author" in told
    assert f"{ends} times; {shown}" in told
    assert told.count("it ended") == 1
    (item,) = cli("status", store, "--json").json["set_aside"]
    assert (item["tries"], item["reason"], item["due"] is None) == (ends, "it ended", fault is Fault.FAILURE)
    assert f"tried {ends} times" in cli("log", store).out.replace("\n", " ")
    (operation,) = cli("log", store, "--json").json["operations"]
    assert operation["attempts"] == ends
    assert "1 wait again; 1 pending, 0 failed" in cli("retry", store, "1").out
    assert cli("status", store, "--json").json["set_aside"] == []


def test_what_failed_is_taken_back(cli: Cli, store: Path) -> None:
    for title in ("Milk", "Bread"):
        created(cli, store, f"title={title}")
    refuse(store, sequence=1)
    shown = cli("revert", store, "1")
    assert shown.code == 0
    assert "reverted" in shown.out
    assert "1 taken back; 1 pending" in shown.out
    assert [item["fields"]["title"] for item in cli("list", store, "Task", "--json").json["records"]] == ["Bread"]
    for wrong, code in (("1", 2), ("2", 2), ("9", 2), ("x", 2)):
        assert cli("revert", store, wrong).code == code
    (failed,) = cli("log", store, "--failed", "--json").json["operations"]
    assert failed["data"]["title"] == "Milk"
    refuse(store, sequence=1)
    told = cli("revert", store, "2", "--json").json
    assert (told["total"], told["pending"], told["operations"][0]["data"]["title"]) == (1, 0, "Bread")
