"""check: what is planted is found, and what is sound is not accused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.rows import (
    key_number,
    pack_chain_row,
    unpack_chain_row,
    unpack_document_row,
    unpack_log_row,
    unpack_operation_row,
)
from crdt_sync.storage.base import Store, Table
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.cli.conftest import Cli, clash, created, exchange

Row = tuple[bytes, bytes]


@pytest.fixture
def lived(cli: Cli, store: Path, other: Path) -> Path:
    """A store with some past of two devices."""
    record = created(cli, store, "title=Milk", "notes=n", "votes=1")
    clash(store, other, "title", ("Butter", "Bread"))
    cli("delete", store, "Task", record)
    created(cli, store, "code=7", model="City")
    with Replica.open(store) as a, Replica.open(other) as b:
        with a.transaction():
            for number in range(3):
                a.create(a.model("Task"), title=f"t{number}", notes="x" * 20_000 * number)
        exchange(a, b)
    return store


def plant(path: Path, table: Table, change: Callable[[bytes, bytes], Row | None], *, last: bool = True) -> None:
    """Change, with a checksum that holds, or remove, the last or first row of a table."""
    with open_sqlite(path) as store:
        key, value = next(iter(store.scan(table, reverse=last, limit=1)))
        changed = change(key, value)
        with store.transaction():
            store.delete(table, key)
            if changed is not None:
                store.put(table, *changed)


def found_in(path: Path) -> set[str]:
    with open_sqlite(path, read_only=True) as store:
        return {item.what for item in check_store(store).listed}


def test_a_sound_store_is_not_accused(cli: Cli, lived: Path, other: Path) -> None:
    for path in (lived, other):
        found = cli("check", path, "--json")
        assert found.code == 0, found.out
        assert found.json["ok"] is True
        checked = found.json["checked"]
        assert (checked["documents"], checked["entries"], checked["space records"]) == (5, 6, 2)
        assert checked["signatures"] == checked["log rows"] > 0
    assert cli("check", lived).out.startswith("sound: ")


def test_a_store_that_is_being_written_is_not_accused(lived: Path) -> None:
    with Replica.open(lived) as replica:
        model: Any = replica.model("Task")
        record = replica.find(model, title="t2")[0]
        record.notes.append("more")
        assert found_in(lived) == set()


def _log(**changes: Any) -> Callable[[bytes, bytes], Row | None]:
    return lambda key, value: (key, replace(unpack_log_row(value), **changes).pack())


def _operation(**changes: Any) -> Callable[[bytes, bytes], Row | None]:
    return lambda key, value: (key, unpack_operation_row(value).changed(**changes).pack())


def _gone(key: bytes, value: bytes) -> None:
    """The row is removed."""


def _other_chain(key: bytes, value: bytes) -> Row:
    position, head = unpack_chain_row(value)
    return key, pack_chain_row(position + 1, head)


def _other_body(key: bytes, value: bytes) -> Row:
    row = unpack_log_row(value)
    return key, replace(row, body=row.body[:-1] + bytes((row.body[-1] ^ 1,))).pack()


def _other_state(key: bytes, value: bytes) -> Row:
    return key, unpack_document_row(value)._replace(state=b"\0\0").pack()


def _other_record(key: bytes, value: bytes) -> Row:
    return key, value[:-1] + bytes((value[-1] ^ 1,))


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        pytest.param(Table.LOG, _other_body, {"chain", "signature"}, id="an entry was changed"),
        pytest.param(Table.LOG, _log(signature=bytes(64)), {"signature"}, id="a signature was changed"),
        pytest.param(Table.LOG, _log(head=bytes(32)), {"chain", "index"}, id="a hash was changed"),
        pytest.param(Table.LOG, _log(first=99, last=99), {"chain"}, id="an entry has another number"),
        pytest.param(Table.LOG, lambda key, _: (key, b"junk"), {"log"}, id="a log row cannot be read"),
        pytest.param(Table.LOG, _gone, {"journal", "document"}, id="a log row is gone"),
        pytest.param(Table.CHAIN, _gone, {"index"}, id="a chain row is gone"),
        pytest.param(Table.CHAIN, _other_chain, {"index"}, id="a chain row leads elsewhere"),
        pytest.param(Table.TOUCH, _gone, {"index", "document"}, id="a touch is gone"),
        pytest.param(Table.VERSION, lambda key, _: (key, bytes(16)), {"document"}, id="another version"),
        pytest.param(Table.VERSION, _gone, {"index"}, id="a version is gone"),
        pytest.param(Table.DOCUMENT, _other_state, {"document"}, id="another content"),
        pytest.param(Table.DOCUMENT, _gone, {"document"}, id="a content is gone"),
        pytest.param(Table.OPERATION, _gone, {"journal"}, id="an operation is gone"),
        pytest.param(Table.OPERATION, _operation(sequence=99), {"journal"}, id="an operation of no entry"),
        pytest.param(Table.OPERATION, _operation(index=9), {"journal"}, id="an operation beyond its entry"),
        pytest.param(Table.PENDING, _gone, {"journal"}, id="a pending operation is not in the queue"),
        pytest.param(Table.RECORD, _other_record, {"signature"}, id="a space record was changed"),
        pytest.param(Table.RECORD, _gone, {"signature"}, id="a space record is gone"),
    ],
)
def test_what_is_planted_is_found(
    lived: Path, table: Table, change: Callable[[bytes, bytes], Row | None], expected: set[str]
) -> None:
    plant(lived, table, change)
    assert expected <= found_in(lived)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        pytest.param("UPDATE Task SET title = 'forged' WHERE title = 't2'", {"table"}, id="a text"),
        pytest.param("UPDATE Task SET notes = 'forged' WHERE title = 't2'", {"table"}, id="a long text"),
        pytest.param("UPDATE Task SET done = 1 WHERE title = 't0'", {"table"}, id="a bool"),
        pytest.param("UPDATE Task SET due = '2020-01-01' WHERE title = 't0'", {"table"}, id="a value where none is"),
        pytest.param("UPDATE Task SET price = '1' WHERE title = 't0'", {"table"}, id="a number where none is"),
        pytest.param("UPDATE Task SET tags = '[7]' WHERE title = 't0'", {"table"}, id="a set"),
        pytest.param("UPDATE Task SET due = NULL WHERE title = 'asked'", {"table"}, id="a value removed"),
        pytest.param("DELETE FROM Task WHERE title = 't2'", {"table"}, id="a row is gone"),
        pytest.param("DELETE FROM City", {"table"}, id="all rows are gone"),
        pytest.param("INSERT INTO Task (id, title) VALUES ('x', 'forged')", {"table"}, id="a row of no record"),
        pytest.param(
            "INSERT INTO City (id, name) VALUES ('018f0000-0000-7000-8000-000000000000', 'forged')",
            {"table"},
            id="a row of no record with an id",
        ),
        pytest.param("DELETE FROM _crdt_conflict", {"conflict"}, id="the conflict index is gone"),
    ],
)
def test_a_changed_table_is_found(cli: Cli, lived: Path, other: Path, statement: str, expected: set[str]) -> None:
    asked = created(cli, lived, "title=asked")
    with Replica.open(lived) as a, Replica.open(other) as b:
        exchange(a, b)
        for replica, day in ((a, 1), (b, 2)):
            replica.update(replica.get(replica.model("Task"), asked), due=date(2026, 1, day))
        exchange(a, b)
    assert found_in(lived) == found_in(other) == set()
    connection = apsw.Connection(str(lived))
    connection.execute(statement)
    assert connection.changes()
    connection.close()
    assert found_in(lived) == expected
    found = cli("check", lived)
    assert found.code == 10, found.out


def test_conflicts_of_no_record_and_models_without_a_table_are_found(lived: Path) -> None:
    with open_sqlite(lived) as store, store.transaction():
        store.put(Table.CONFLICT, b"x" * 40, b"due")
        store.drop_view("City")
    assert found_in(lived) == {"conflict", "table"}


def test_a_model_that_was_not_open_is_not_accused(cli: Cli, lived: Path, other: Path) -> None:
    with Replica.open(lived, []) as a, Replica.open(other) as b:
        b.create(b.model("Task"), title="unseen")
        exchange(a, b)
    assert found_in(lived) == set()


def test_rows_of_a_model_that_was_not_open_are_looked_at_too(cli: Cli, lived: Path, other: Path) -> None:
    with Replica.open(lived, []) as a, Replica.open(other) as b:
        b.update(b.find(b.model("Task"), title="t1")[0], title="later")
        exchange(a, b)
    with open_sqlite(lived, read_only=True) as store:
        findings = check_store(store)
    assert (findings.total, findings.not_current) == (0, {"rows of Task": 1})
    assert "no damage: 1 rows of Task" in cli("check", lived).out
    connection = apsw.Connection(str(lived))
    connection.execute("INSERT INTO Task (id, title) VALUES ('018f0000-0000-7000-8000-000000000000', 'forged')")
    connection.close()
    assert found_in(lived) == {"table"}


@pytest.fixture
def dirty(lived: Path) -> Iterator[Path]:
    """A store in which two large texts wait to be derived."""
    with Replica.open(lived) as replica:
        for title in ("t1", "t2"):
            notes: Any = replica.find(replica.model("Task"), title=title)[0]
            notes.notes.append("more")
        yield lived


def test_documents_that_wait_to_be_derived_are_not_accused(dirty: Path) -> None:
    with open_sqlite(dirty, read_only=True) as store:
        assert store.count(Table.DIRTY) == 2
        findings = check_store(store)
    assert (findings.total, findings.not_current) == (0, {"documents": 2})


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        pytest.param("UPDATE Task SET notes = 'forged' WHERE title = 't2'", {"table"}, id="its row"),
        pytest.param("DELETE FROM Task WHERE title = 't2'", {"table"}, id="its row is gone"),
    ],
)
def test_what_is_shown_of_documents_that_wait_is_checked(dirty: Path, statement: str, expected: set[str]) -> None:
    connection = apsw.Connection(str(dirty))
    connection.execute(statement)
    assert connection.changes()
    connection.close()
    assert found_in(dirty) == expected


@pytest.mark.parametrize(
    ("table", "change"),
    [
        pytest.param(Table.VERSION, lambda key, _: (key, bytes(16)), id="version"),
        pytest.param(Table.DOCUMENT, _other_state, id="content"),
        pytest.param(Table.DOCUMENT, _gone, id="no content"),
    ],
)
def test_what_is_kept_of_documents_that_wait_is_checked(
    dirty: Path, table: Table, change: Callable[[bytes, bytes], Row | None]
) -> None:
    plant(dirty, table, change)
    assert found_in(dirty) == {"document"}


def test_a_broken_checksum_is_found_and_the_rest_is_checked(cli: Cli, lived: Path) -> None:
    connection = apsw.Connection(str(lived))
    connection.execute(
        "UPDATE _crdt_operation SET sum = zeroblob(8) WHERE key = (SELECT max(key) FROM _crdt_operation)"
    )
    connection.close()
    found = cli("check", lived, "--json")
    assert found.code == 10
    assert {item["what"] for item in found.json["damage"]} == {"row", "unreadable"}
    assert found.json["checked"]["documents"] == 5
    text = cli("check", lived)
    assert "damaged" in text.out
    assert "hint: " in text.err


def test_what_is_listed_is_bounded(lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdt_sync.replica.checking.findings.FINDINGS_MAX", 2)

    def zero(store: Store) -> None:
        with store.transaction():
            store.put_many(Table.VERSION, [(key, bytes(16)) for key, _ in list(store.scan(Table.VERSION))])

    with open_sqlite(lived) as store:
        zero(store)
        findings = check_store(store)
    assert len(findings.listed) == 2
    assert findings.total == 5
    assert key_number(b"\1") == 1
