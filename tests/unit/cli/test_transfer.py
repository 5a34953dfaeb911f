"""import and export: without loss, in chunks, resumable, and with bad lines named."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.cli import lines, reading
from tests.unit.cli.conftest import Cli, created, run_process


def write_lines(path: Path, *items: Any) -> Path:
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in items))
    return path


def titles(cli: Cli, store: Path) -> list[str]:
    found = cli("list", store, "Task", "--order-by", "title", "--limit", "1000", "--json").json
    return [item["fields"]["title"] for item in found["records"]]


def test_what_is_exported_comes_back_equal_under_the_same_ids(
    cli: Cli, store: Path, other: Path, tmp_path: Path
) -> None:
    created(cli, store, "title=Milk", "price=1.50", 'address={"a": [1]}', "notes=n\nn", "votes=3", 'tags=["b", "a"]')
    created(cli, store, "title=😀", "due=2026-01-31")
    created(cli, store, "code=7", "name=Rome", model="City")
    file = tmp_path / "out.jsonl"
    exported = cli("export", store, "-o", file, "--json")
    assert exported.json == {"records": 3, "output": str(file)}
    assert cli("export", store).out == file.read_text()
    assert cli("import", other, file, "--json").json["created"] == 3
    assert cli("export", other).out == file.read_text()
    assert cli("export", other, "--model", "City").out.count("\n") == 1


def test_importing_again_goes_on_where_it_stopped(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", *({"title": f"t{number}"} for number in range(7)), "", "")
    first = cli("import", store, file, "--model", "Task", "--chunk", "3", "--json").json
    assert (first["created"], first["resumed_after_line"]) == (7, 0)
    assert cli("log", store, "--json").json["total"] == 7
    again = cli("import", store, file, "--model", "Task", "--json").json
    assert (again["created"], again["existing"], again["resumed_after_line"]) == (0, 0, 7)
    with file.open("a") as more:
        more.write('{"title": "t7"}\n')
    grown = cli("import", store, file, "--model", "Task", "--json").json
    assert (grown["created"], grown["resumed_after_line"]) == (1, 7)
    anew = cli("import", store, file, "--model", "Task", "--again", "--json").json
    assert (anew["created"], anew["existing"], anew["resumed_after_line"]) == (0, 8, 0)
    assert titles(cli, store) == [f"t{number}" for number in range(8)]


def test_a_bad_line_is_named_and_nothing_of_its_chunk_is_applied(cli: Cli, store: Path, tmp_path: Path) -> None:
    good = [{"title": f"t{number}"} for number in range(5)]
    file = write_lines(tmp_path / "in.jsonl", *good, {"title": 7}, {"title": "t6"})
    refused = cli("import", store, file, "--model", "Task", "--chunk", "2", "--json")
    assert (refused.code, refused.error["type"]) == (4, "InvalidValueError")
    assert refused.error["message"].startswith("line 6: Task.title: ")
    assert "Lines up to 4 are imported" in refused.error["hint"]
    assert titles(cli, store) == ["t0", "t1", "t2", "t3"]
    write_lines(file, *good, {"title": "t5"}, {"title": "t6"})
    mended = cli("import", store, file, "--model", "Task", "--chunk", "2", "--json").json
    assert (mended["created"], mended["resumed_after_line"]) == (3, 4)
    assert titles(cli, store) == [f"t{number}" for number in range(7)]


def test_an_import_that_lost_its_note_creates_nothing_twice(cli: Cli, store: Path, tmp_path: Path) -> None:
    """As after a crash between a chunk and the note of it: the lines give the same ids again."""
    file = write_lines(tmp_path / "in.jsonl", {"title": "a"}, {"title": "b"})
    cli("import", store, file, "--model", "Task")
    moved = file.rename(tmp_path / "moved.jsonl")
    assert cli("import", store, moved, "--model", "Task", "--json").json == {
        "created": 0,
        "updated": 0,
        "existing": 2,
        "settled": 0,
        "lines": 2,
        "resumed_after_line": 0,
    }


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("{", "InputError"),
        ("[]", "InputError"),
        ('{"title": "x"}', "InputError"),
        ('{"model": "Task", "fields": {}, "more": 1}', "InputError"),
        ('{"model": "Task", "fields": {}, "id": "seven"}', "InputError"),
        ('{"model": "Nope", "fields": {}}', "UnknownModelError"),
        ('{"model": "Task", "fields": {"nope": 1}}', "UnknownFieldError"),
        ('{"model": "Task", "fields": {"due": "soon"}}', "InvalidValueError"),
        ('{"model": "City", "fields": {"name": "Rome"}}', "InvalidValueError"),
        (
            '{"model": "City", "id": "018f0000-0000-7000-8000-000000000000", "fields": {"code": 7}}',
            "InvalidValueError",
        ),
    ],
)
def test_each_kind_of_bad_line(cli: Cli, store: Path, tmp_path: Path, line: str, kind: str) -> None:
    file = write_lines(tmp_path / "in.jsonl", {"model": "Task", "fields": {"title": "good"}}, line)
    refused = cli("import", store, file, "--json")
    assert refused.error["type"] == kind
    assert refused.error["message"].startswith("line 2: ")
    assert titles(cli, store) == []


def test_lines_that_are_no_text_or_too_long(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'{"title": "\xff"}\n')
    assert "line 1: not UTF-8" in cli("import", store, file, "--model", "Task").err
    monkeypatch.setattr(reading, "LINE_BYTES_MAX", 20)
    write_lines(file, {"title": "short"}, {"title": "much too long"})
    assert "line 2: longer than 20 bytes" in cli("import", store, file, "--model", "Task").err
    for chunk in ("0", "5001"):
        assert cli("import", store, file, "--chunk", chunk).code == 2


def test_chunks_end_by_size_too(cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES_MAX", 80)
    file = write_lines(tmp_path / "in.jsonl", *({"title": "x" * 60} for _ in range(4)), {"title": 1})
    assert "Lines up to 4" in cli("import", store, file, "--model", "Task", "--json").error["hint"]


def test_existing_records_are_left_or_updated(cli: Cli, store: Path, tmp_path: Path) -> None:
    record = created(cli, store, "title=old", "votes=3", "notes=n")
    created(cli, store, "code=7", "name=Rome", model="City")
    file = write_lines(
        tmp_path / "in.jsonl",
        {"model": "Task", "id": record, "fields": {"title": "new", "votes": 5}},
        {"model": "City", "fields": {"code": 7, "name": "Roma"}},
    )
    left = cli("import", store, file, "--json").json
    assert (left["created"], left["existing"], left["updated"]) == (0, 2, 0)
    updated = cli("import", store, file, "--update", "--json").json
    assert (updated["created"], updated["existing"], updated["updated"]) == (0, 0, 2)
    fields = cli("show", store, "Task", record, "--json").json["fields"]
    assert (fields["title"], fields["votes"], fields["notes"]) == ("new", 5, "n")
    assert cli("list", store, "City", "--json").json["records"][0]["fields"]["name"] == "Roma"


def test_a_file_that_was_imported_is_read_again_as_another_model(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", {})
    for model in ("Task", "Nope", "City"):
        found = cli("import", store, file, "--model", model, "--json")
        expected = {"Task": "", "Nope": "UnknownModelError", "City": "InvalidValueError"}[model]
        assert found.json["created"] == 1 if not expected else found.error["type"] == expected


def test_a_file_whose_content_changed_is_read_anew(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", {"title": "a"})
    cli("import", store, file, "--model", "Task")
    write_lines(file, {"title": "b"})
    assert cli("import", store, file, "--model", "Task", "--json").json["created"] == 1


def test_the_hint_for_a_bad_line_speaks_of_a_file(cli: Cli, store: Path, tmp_path: Path) -> None:
    hint = cli("import", store, write_lines(tmp_path / "in.jsonl", "{"), "--json").error["hint"]
    assert "JSON Lines" in hint
    assert "field:=" not in hint


def test_a_text_longer_than_one_insertion_comes_back(cli: Cli, store: Path, other: Path, tmp_path: Path) -> None:
    with Replica.open(store) as replica, replica.transaction():
        replica.create(replica.model("Task"), title="before", notes="x" * 900_000)
        record: Any = replica.create(replica.model("Task"), title="long", notes="a" * 1_000_000)
        for letter in "bc":
            record.notes.append(letter * 1_000_000)
        record.notes.append("😀\n" * 1_000)
    file = tmp_path / "out.jsonl"
    assert cli("export", store, "-o", file).code == 0
    imported = cli("import", other, file, "--json")
    assert imported.code == 0, imported.err
    assert imported.json["created"] == 2
    assert cli("export", other).out == file.read_text()
    assert cli("import", other, file, "--update", "--json").json["updated"] == 2
    file.write_text(file.read_text().replace("aab", "aaXb"))
    assert cli("import", other, file, "--update", "--json").json["updated"] == 2
    assert cli("export", other).out == file.read_text()


def test_a_deleted_record_stays_deleted(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", {"title": "a"})
    cli("import", store, file, "--model", "Task")
    record = cli("list", store, "Task", "--json").json["records"][0]["id"]
    cli("delete", store, "Task", record)
    assert cli("import", store, file, "--model", "Task", "--again", "--update", "--json").json["existing"] == 1
    assert titles(cli, store) == []


def test_standard_input_and_output(cli: Cli, store: Path, state_dir: Path) -> None:
    text = '{"title": "a"}\n{"title": "b"}'
    for number, expected in enumerate(((2, 0), (0, 2))):
        found = run_process(state_dir, "import", store, "-", "--model", "Task", "--json", stdin=text)
        assert found.code == 0, found.err
        assert (found.json["created"], found.json["existing"]) == expected, number
        assert "importing" not in found.err, "no progress bar where nobody watches"
    assert cli("export", store).out.count("\n") == 2
    assert cli("export", store, "--json").error["type"] == "InputError"


def test_a_file_is_replaced_only_when_told_and_appears_whole(cli: Cli, store: Path, tmp_path: Path) -> None:
    created(cli, store, "title=a")
    file = tmp_path / "out.jsonl"
    file.write_text("precious")
    assert cli("export", store, "-o", file).code == 2
    assert file.read_text() == "precious"
    assert cli("export", store, "-o", file, "--force").code == 0
    assert json.loads(file.read_text())["fields"]["title"] == "a"
    assert cli("export", store, "-o", tmp_path / "nowhere" / "out.jsonl", "--json").error["type"] == "InputError"
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_an_export_never_replaces_a_database(cli: Cli, store: Path, tmp_path: Path) -> None:
    created(cli, store, "title=a")
    foreign, link = tmp_path / "foreign.csv", tmp_path / "link.jsonl"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE precious (a)")
    connection.close()
    link.symlink_to(store)
    for target in (store, foreign, link):
        before = target.read_bytes()
        refused = cli("export", store, "--model", "Task", "-o", target, "--force", "--json")
        assert (refused.code, refused.error["type"]) == (2, "InputError")
        assert "never replaces" in refused.error["message"]
        assert target.read_bytes() == before
    assert link.is_symlink()


def test_many_records_go_in_pages(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", *({"title": f"{number:04}"} for number in range(2_500)))
    assert cli("import", store, file, "--model", "Task", "--json").json["created"] == 2_500
    exported = [json.loads(line)["fields"]["title"] for line in cli("export", store).out.splitlines()]
    assert sorted(exported) == [f"{number:04}" for number in range(2_500)]
