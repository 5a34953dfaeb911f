"""CSV in and out: without loss over all kinds, with the header checked, in chunks, and resumable."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli, created

MODELS = """
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID
from crdt_sync import Counter, List, Map, Model, Ref, Set, Text, ask, first, max_, min_, three_way

class Mood(Enum):
    CALM = "calm"
    WILD = 3

class All(Model):
    text: str = "x"
    maybe: str | None = "d"
    number: int = 1
    real: float = 0.0
    flag: bool | None = None
    data: bytes = b""
    day: date | None = ask(default=None)
    moment: datetime | None = None
    hour: time | None = None
    span: timedelta | None = None
    price: Decimal | None = None
    key: UUID | None = None
    mood: Mood = Mood.CALM
    word: Literal["a", 1, None] = "a"
    mixed: int | str | None = None
    anything: Any = None
    many: list[int] = []
    named: dict[str, Any] = three_way(default={})
    pair: tuple[int, str] | None = None
    taken: str | None = first(default=None)
    best: int = max_(default=0)
    least: float | None = min_(default=None)
    owner: Ref["All"] | None = None
    notes: Text
    votes: Counter
    tags: Set[str]
    days: List[date]
    prefs: Map[str, Annotated[Any, ask()]]
"""
STRINGS = ["", "null", '"', '"a"', "[1]", "{", '{"$value": "c0"}', "a,b\n\r\nc", " x ", "1", "true", "é😀", "\ufeff"]
WHEN = "2026-01-31T10:00:00+02:00"


@pytest.fixture
def source(cli: Cli, tmp_path: Path) -> Path:
    return made(cli, tmp_path, "one.db")


def made(cli: Cli, place: Path, name: str) -> Path:
    file = place / "models.py"
    file.write_text(MODELS)
    assert cli("init", place / name, "--models", file).code == 0
    return place / name


def fill(path: Path) -> int:
    """Records with every kind of value; gives how many."""
    with Replica.open(path) as replica:
        (model,) = replica.models
        given: list[dict[str, object]] = [{}]
        given += [dict.fromkeys(("text", "maybe", "mixed", "anything", "notes"), text) for text in STRINGS]
        given += [{"tags": STRINGS, "prefs": {text: text for text in STRINGS}, "taken": text} for text in STRINGS]
        given += [{"maybe": None, "mixed": 1, "anything": item} for item in (1, 1.5, True, None, b"x", [1], (1,), "1")]
        given += [{"real": item, "least": 1.5} for item in (float("inf"), float("nan"), -0.0, 1.0)]
        given += [{"flag": False, "data": b"\xff\x00", "day": "2026-01-31", "moment": WHEN, "hour": "10:00"}]
        given += [
            {"span": 90.5, "price": "1.50", "key": "01970000-0000-7000-8000-000000000001", "mood": 3, "word": None}
        ]
        given += [{"many": [1, 2], "named": {"a": [None]}, "pair": (1, "b"), "best": 3, "votes": -2, "word": 1}]
        given += [{"days": ["2026-01-31"], "votes": 7, "owner": "01970000-0000-7000-8000-000000000001"}]
        for values in given:
            replica.create(model, **values)
        return len(given)


def test_everything_comes_back_equal(cli: Cli, source: Path, tmp_path: Path) -> None:
    count, other, file = fill(source), made(cli, tmp_path, "two.db"), tmp_path / "all.csv"
    assert cli("export", source, "--model", "All", "-o", file, "--json").json["records"] == count
    assert next(csv.reader([file.read_bytes().decode().splitlines()[0]]))[:3] == ["id", "text", "maybe"]
    found = cli("import", other, file, "--model", "All", "--chunk", "7", "--json")
    assert found.code == 0, found.err
    assert found.json["created"] == count
    assert cli("export", other).out == cli("export", source).out
    again = cli("import", other, file, "--model", "All", "--update", "--again", "--json").json
    assert again["updated"] == count
    assert cli("export", other).out == cli("export", source).out
    assert cli("export", other, "--format", "csv").out == file.read_bytes().decode()


def test_plain_values_are_plain_cells(cli: Cli, store: Path) -> None:
    name = created(cli, store, "title=Milk, cold", "price=1.50", "due=2026-01-31", "done=true", 'tags=["a"]', "votes=3")
    lines = cli("export", store, "--model", "Task", "--format", "csv").out.splitlines()
    assert lines == [
        "id,title,done,due,price,address,notes,votes,tags",
        f'{name},"Milk, cold",true,2026-01-31,1.50,{{}},,3,"[""a""]"',
    ]


def test_rows_that_somebody_typed_are_read_by_type(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(
        "\ufefftitle, done ,due,votes,tags,notes\r\n"
        'Milk,yes,2026-01-31,3,"[""a"", ""b""]","two\r\nlines"\r\n'
        "\r\n"
        "[draft],,,,,\r\n".encode()
    )
    found = cli("import", store, file, "--model", "Task", "--json")
    assert (found.code, found.json["created"]) == (0, 2), found.err
    records = cli("list", store, "Task", "--order-by", "-title", "--json").json["records"]
    assert [item["fields"]["title"] for item in records] == ["[draft]", "Milk"]
    milk = records[1]["fields"]
    assert (milk["done"], milk["due"], milk["votes"], milk["tags"]) == (True, "2026-01-31", 3, ["a", "b"])
    assert milk["notes"] == "two\r\nlines"
    assert cli("import", store, file, "--model", "Task", "--json").json["created"] == 0
    file.write_bytes(file.read_bytes() + b"Butter,,,,,\r\n")
    more = cli("import", store, file, "--model", "Task", "--json").json
    assert (more["created"], more["resumed_after_line"]) == (1, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (2, "has no header")),
        ("title,size\na,1\n", (4, "has no field 'size'")),
        ("title,title\na,b\n", (2, "twice")),
        ("title,done\na\n", (2, "line 2: the row has 1 cells, the header 2")),
        ("title,done\na,maybe\n", (4, "line 2: Task.done")),
        ('title\n"a\nb\n', (2, "a quoted cell does not end")),
        ('title\n"a"b"c"\n', (2, "line 2: no row of CSV")),
        ("title,tags\na,[1\n", (2, "line 2: the value of 'tags' is no JSON")),
        ("id,title\nx,a\n", (2, "line 2:")),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(
    cli: Cli, store: Path, tmp_path: Path, text: str, expected: tuple[int, str]
) -> None:
    file = tmp_path / "in.csv"
    file.write_text(text)
    found = cli("import", store, file, "--model", "Task")
    code, said = expected
    assert (found.code, said in found.err) == (code, True), found.err
    assert cli("status", store, "--json").json["entries"] == 0


def test_a_file_holds_one_model_in_one_format(cli: Cli, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("title\na\n")
    assert "records of one model" in cli("import", store, file).err
    assert "records of one model" in cli("export", store, "--format", "csv").err
    assert "there is no format 'xml'" in cli("export", store, "--format", "xml").err
    assert cli("import", store, file, "--format", "jsonl", "--model", "Task").code == 2


@pytest.mark.parametrize(
    "text", ["a\rb", "a\r", "\r", "\r\n", "a\n\rb", ",\r", "\x85\u2028\x0b", '"\r"', "\x00", " ", "\ufeff"]
)
def test_texts_with_any_break_come_back(cli: Cli, tmp_path: Path, text: str) -> None:
    models = tmp_path / "m.toml"
    models.write_text('[T.fields]\ntitle = "str"\nlast = "str"\n')
    one, two, file = tmp_path / "one.db", tmp_path / "two.db", tmp_path / "t.csv"
    for store in (one, two):
        assert cli("init", store, "--models", models).code == 0
    assert cli("create", one, "T", f"title:={json.dumps(text)}", f"last:={json.dumps(text)}").code == 0
    assert cli("export", one, "--model", "T", "-o", file).code == 0
    imported = cli("import", two, file, "--model", "T")
    assert imported.code == 0, imported.err
    (found,) = cli("list", two, "T", "--json").json["records"]
    assert found["fields"] == {"title": text, "last": text}
