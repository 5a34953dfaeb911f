"""A quarantine file read back: what is sound now comes back, the rest says why it does not."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import InputError, StoreReadOnlyError
from crdt_sync.replica.repairing import read_quarantine
from crdt_sync.replica.repairing.returning import LEFT_MAX, ReturnReport
from crdt_sync.replica.rows import NO_ENTRY, unpack_operation_row
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import rows_of
from tests.unit.replica.devices import START_MS, Dice, Task, on_disk, state_of
from tests.unit.replica.test_home import refuse
from tests.unit.replica.test_repair import zero


def opened(place: Path, *, seed: int = 9) -> Replica:
    return on_disk(place, Task, seed=seed)


def peer(place: Path, *, seed: int = 8) -> Replica:
    return on_disk(place, Task, seed=seed, name="b.db", state="other")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A store whose third own entry is damaged; a peer holds it, and nobody has the last two."""
    with opened(tmp_path, seed=1) as one, peer(tmp_path, seed=2) as two:
        for title in ("a", "b", "c"):
            one.create(Task, title=title)
        assert exchange(one, two).proven_equal
        for title in ("d", "e"):
            one.create(Task, title=title)
    zero(tmp_path, Table.LOG, 2)
    for row in list(rows_of(tmp_path / "a.db", "document")):
        zero(tmp_path, Table.DOCUMENT, list(rows_of(tmp_path / "a.db", "document")).index(row))
    return tmp_path


def repaired(place: Path) -> Path:
    report = Replica.repair(place / "a.db", state_dir=place / "state")
    assert report.after.ok
    assert report.quarantine is not None
    return report.quarantine


def titles(replica: Replica) -> list[str]:
    return sorted(task.title for task in replica.find(Task))


def reasons(report: ReturnReport) -> set[str]:
    return {row.reason for row in report.left if row.table == Table.LOG}


def test_entries_come_back_once_what_was_before_them_has_come(damaged: Path) -> None:
    file = repaired(damaged)
    as_it_was = file.read_bytes()
    with opened(damaged) as one, peer(damaged) as two:
        assert titles(one) == ["a", "b"]
        early = one.put_back_quarantined(file)
        assert early.entries == 0
        assert titles(one) == ["a", "b"]
        assert len(reasons(early)) > 1
        exchange(one, two)
        assert titles(one) == ["a", "b", "c"]
        told: list[object] = []
        one.observe(told.append)
        report = one.put_back_quarantined(file)
        assert report.entries == 2
        assert titles(one) == ["a", "b", "c", "d", "e"]
        assert told
        assert one.check().listed == []
        assert exchange(one, two).proven_equal
        assert titles(two) == titles(one)
        assert one.check().listed == []
        assert list(one.operations(status="pending")) == []
        again = one.put_back_quarantined(str(file))
        assert (again.rows, again.entries) == (0, 0)
        assert again.here == report.rows + report.here
        assert again.left == report.left
    assert file.read_bytes() == as_it_was
    assert not Replica.repair(damaged / "a.db", state_dir=damaged / "state").changed


def test_what_was_put_aside_of_the_journal_comes_back_with_its_entries(damaged: Path) -> None:
    file = repaired(damaged)
    aside = [row for row in read_quarantine(file) if row["table"] == Table.OPERATION]
    assert aside
    with opened(damaged) as one, peer(damaged) as two:
        before = len(list(one.operations()))
        exchange(one, two)
        one.put_back_quarantined(file)
        assert len(list(one.operations())) == before + len(aside)
        assert one.check().listed == []


def test_a_changed_row_is_not_taken_back(damaged: Path) -> None:
    file = repaired(damaged)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[1:]:
        value = bytearray.fromhex(line["value"])
        value[len(value) // 2] ^= 1
        line["value"] = value.hex()
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with opened(damaged) as one, peer(damaged) as two:
        exchange(one, two)
        report = one.put_back_quarantined(file)
        assert report.entries == 0
        assert titles(one) == ["a", "b", "c"]
        assert one.check().listed == []


def test_a_file_of_another_store_puts_nothing_back(damaged: Path, tmp_path: Path) -> None:
    file = repaired(damaged)
    with Replica.open(
        tmp_path / "z.db", [Task], state_dir=tmp_path / "z", sources=Dice(5, now_ms=START_MS * 2).sources
    ) as elsewhere:
        report = elsewhere.put_back_quarantined(file)
        assert (report.rows, report.entries, titles(elsewhere)) == (0, 0, [])
        assert elsewhere.check().listed == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        '{"format": "other"}\n',
        '{"format": "crdt_sync quarantine", "version": 1}\n[]\n',
        '{"format": "crdt_sync quarantine", "version": 1}\n{"table": "no", "key": "", "value": ""}\n',
        '{"format": "crdt_sync quarantine", "version": 1}\n{"table": "log", "key": 1, "value": ""}\n',
    ],
)
def test_a_file_that_is_none_is_refused(damaged: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text(content)
    repaired(damaged)
    with opened(damaged) as one:
        before = state_of(one).ledger.end
        with pytest.raises(InputError) as caught:
            one.put_back_quarantined(file)
        assert caught.value.hint
        assert state_of(one).ledger.end == before


def test_a_replica_that_only_reads_takes_nothing_back(damaged: Path) -> None:
    file = repaired(damaged)
    with (
        Replica.open(damaged / "a.db", [Task], read_only=True, state_dir=damaged / "state") as one,
        pytest.raises(StoreReadOnlyError),
    ):
        one.put_back_quarantined(file)


def changed(file: Path, **values: int | str | bytes) -> None:
    """Change what the rows of the journal in a file say."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[1:]:
        if line["table"] == Table.OPERATION:
            line["value"] = unpack_operation_row(bytes.fromhex(line["value"])).changed(**values).pack().hex()
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_became_of_an_operation_is_not_taken_from_the_file(damaged: Path) -> None:
    file = repaired(damaged)
    changed(file, status=1, attempts=7, finished_ms=5, error="so it says", hlc=2**64 - 1)
    with opened(damaged) as one, peer(damaged) as two:
        exchange(one, two)
        assert one.put_back_quarantined(file).entries == 2
        waiting = list(one.operations(status="pending"))
        assert len(waiting) == 3, "also the one that the peer brought back: its next word completes it"
        assert {(item.attempts, item.error) for item in waiting} == {(0, "")}
        assert all(item.timestamp <= state_of(one).ledger.clock() for item in one.operations())
        assert one.check().listed == []
        assert exchange(one, two).proven_equal
        assert list(one.operations(status="pending")) == []


def test_an_operation_that_nothing_proves_needs_its_checksum(damaged: Path) -> None:
    file = repaired(damaged)
    changed(file, sequence=NO_ENTRY, status=2, error="refused", data=b"\x80")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[1:]:
        line["sum"] = "00" * 8
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with opened(damaged) as one:
        before = len(list(one.operations()))
        report = one.put_back_quarantined(file)
        assert len(list(one.operations())) == before
        assert {row.reason for row in report.left if row.table == Table.OPERATION} == {"the checksum does not hold"}


def set_aside(replica: Replica, file: Path) -> Path:
    """A file with all that a repair may put aside of a store, were it damaged just so."""
    store = state_of(replica).store
    lines: list[dict[str, object]] = [{"format": "crdt_sync quarantine", "version": 1, "store": "a.db"}]
    for table in (Table.LOG, Table.OPERATION):
        for key, value in store.scan(table):
            lines.append({"table": str(table), "key": key.hex(), "value": value.hex(), "reason": "r"})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_what_was_taken_back_since_does_not_come_back(tmp_path: Path) -> None:
    """One change is refused and taken back; the one behind it is written again under another author."""
    with opened(tmp_path) as one, peer(tmp_path) as two:
        one.create(Task, title="a")
        exchange(one, two)
        one.create(Task, title="refused")
        one.create(Task, title="behind it").votes.increment(3)
        file = set_aside(one, tmp_path / "rows.jsonl")
        refuse(one, by=two, sequence=2)
        assert len(one.revert(one.operation("2"))) == 1
        for _ in range(2):
            before = [(item.id, item.status.value, item.timestamp) for item in one.operations()]
            report = one.put_back_quarantined(file)
            assert (report.rows, report.entries) == (0, 0)
            assert any("taken back" in reason for reason in reasons(report))
            assert [(item.id, item.status.value, item.timestamp) for item in one.operations()] == before
            assert titles(one) == ["a", "behind it"]
            assert one.check().listed == []
            assert exchange(one, two).proven_equal
        assert titles(two) == ["a", "behind it"]
        assert [int(task.votes) for task in two.find(Task, title="behind it")] == [3]


def test_an_operation_that_failed_and_was_taken_back_comes_back_once(tmp_path: Path) -> None:
    """Its row alone tells of it: where its number is taken it gets another one, and is known by what it is."""
    with opened(tmp_path) as one:
        one.create(Task, title="a")
        store = state_of(one).store
        key, value = next(store.scan(Table.OPERATION))
        row = unpack_operation_row(value).changed(sequence=NO_ENTRY, hlc=77, status=2, error="reverted", data=b"\x80")
        line = {"table": "operation", "key": key.hex(), "value": row.pack().hex(), "reason": "r"}
        head = {"format": "crdt_sync quarantine", "version": 1, "store": "a.db"}
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(item) + "\n" for item in (head, line)))
        assert [one.put_back_quarantined(file).rows for _ in range(3)] == [1, 0, 0]
        assert store.count(Table.OPERATION) == 2


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("w") as lines:
        lines.write(json.dumps({"format": "crdt_sync quarantine", "version": 1, "store": "a.db"}) + "\n")
        for number in range(3_000):
            row = {"table": "local", "key": f"{number:08x}", "value": f"{number:04x}" * 1_000, "reason": "r"}
            lines.write(json.dumps(row) + "\n")
    with opened(tmp_path) as one:
        tracemalloc.start()
        try:
            report = one.put_back_quarantined(file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (report.stay, len(report.left), report.rows) == (3_000, LEFT_MAX, 0)
    assert peak < file.stat().st_size / 8
