"""Models in TOML: the same as in Python, and what is wrong is said with file, table and key."""

from __future__ import annotations

import re
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import pytest

from crdt_sync import Counter, List, Map, Model, Ref, Set, Text, ask, field, first, max_, min_, three_way
from crdt_sync.cli.model_files import load_models
from crdt_sync.cli.model_toml import FILE_BYTES_MAX, LINE_DOTS_MAX
from crdt_sync.errors import InputError, SchemaError
from crdt_sync.replica.schema import Schema
from tests.unit.cli.conftest import Cli

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "models-in-toml.md"


class Everything(Model, key=("code",), version=3):
    code: str
    many: list[int | None] = field(default=[1])
    named: dict[str, tuple[UUID, ...]] = field(default={})
    pair: tuple[int, str] | None = None
    state: Literal["open", "done", 3] = "open"
    due: date | None = ask(default=None)
    address: dict[str, str] = three_way(default={})
    price: Decimal = Decimal("1.50")
    taken: str | None = first(default=None)
    best: int = max_(default=0)
    least: int = min_(default=9, renamed_from="worst")
    owner: Ref["Everything"] | None = None  # noqa: UP037  the class is not there yet when pydantic reads it
    must: str | None
    body: Text = field(renamed_from="notes")
    votes: Counter
    tags: Set[str]
    steps: List[date]
    prefs: Map[str, Annotated[int, ask()]]


TOML = """
[Everything]
key = ["code"]
version = 3
[Everything.fields]
code = "str"
many = {type = "list[int|none]", default = [1]}
named = {type = "dict[str, tuple[UUID, ...]]", default = {}}
pair = "tuple[int, str]|none"
state = {one_of = ["open", "done", 3], default = "open"}
due = {type = "date|None", merge = "ask"}
address = {type = "dict[str, str]", merge = "three_way", default = {}}
price = {type = "Decimal", default = "1.50"}
taken = {type = "str|none", merge = "first"}
best = {type = "int", merge = "max", default = 0}
least = {type = "int", merge = "min", default = 9, renamed_from = "worst"}
owner = "Ref[Everything] | none"
must = {type = "str|none", required = true}
body = {type = "Text", renamed_from = "notes"}
votes = "Counter"
tags = "Set[str]"
steps = "List[date]"
prefs = {type = "Map[str, int]", merge = "ask"}
"""


def written(place: Path, text: str) -> str:
    file = place / "models.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_model_is_the_same_as_in_python(tmp_path: Path) -> None:
    assert Schema(load_models(written(tmp_path, TOML))).describe() == Schema([Everything]).describe()


def test_the_guide_works(cli: Cli, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    models, store = written(tmp_path, example), tmp_path / "tasks.db"
    assert cli("init", store, "--models", models, "--json").json["models"] == ["Task", "Country"]
    made = cli("create", store, "Task", "title=Water plants", "due=2027-01-31", 'prefs:={"a": 1}', "--json").json
    assert made["fields"]["state"] == "open"
    assert cli("list", store, "Task", "--where", "due=2027-01-31", "--models", models, "--json").json["total"] == 1


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('title = "string"', r"\[Task.fields\] title: there is no type 'string'"),
        ('title = "list[str, int]"', "there is no type"),
        ('title = "__import__(1)"', "there is no type"),
        ("title = 3", "title: a field is a type, or a table of its keys"),
        ('title = {type = "str", defualt = ""}', "there is no key 'defualt'"),
        ('title = {merge = "ask"}', "either type or one_of"),
        ('title = {type = "str", one_of = ["a"]}', "either type or one_of"),
        ("title = {one_of = []}", "one_of is a list"),
        ('title = {type = "str", merge = "best"}', "there is no merge 'best'"),
        ('title = {type = "str", merge = "merge_with"}', "merge_with needs a function"),
        ('title = {type = "int", default = "x"}', "title: the default does not fit the type: Input should be a valid"),
        ('title = {type = "int", default = 1, required = true}', "true goes without a default"),
        ('title = {type = "Text", default = ""}', "starts empty and takes no default"),
        ('title = {type = "Set[str]", merge = "ask"}', "merges by itself"),
        ('title = {type = "List[str]|none"}', "stand alone"),
        ('title = {type = "dict[str, str]", merge = "max"}', r"\[Task\]: .*takes a type with an order"),
        ('title = {type = "str", renamed_from = "a b"}', "first name"),
        ('_title = "str"', "a field is named by a letter"),
        ('"a b" = "str"', "a field is named by a letter"),
        ('model_dump = "str"', "every model has this attribute"),
        ('model_config = "str"', "every model has this attribute"),
        ('model_fields = "str"', "every model has this attribute"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, declared: str, said: str) -> None:
    source = written(tmp_path, f"[Task.fields]\n{declared}\n")
    with pytest.raises(SchemaError, match=said) as caught:
        load_models(source)
    assert caught.value.message.startswith(f"{source}: [Task")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Task = 3", "a table of fields"),
        ("[Task]\nfields = 3", "a table of fields"),
        ("[Task]\nversion = 'x'\n[Task.fields]\ntitle = 'str'", "version: a whole number"),
        ("[Task]\nkey = [1]\n[Task.fields]\ntitle = 'str'", "key: a list of names"),
        ("[Task]\nkey = ['name']\n[Task.fields]\ntitle = 'str'", "of its own fields"),
        ("[Task]\ncolour = 'red'\n[Task.fields]\ntitle = 'str'", "unknown class keyword colour"),
        ("['A B'.fields]\ntitle = 'str'", "cannot be named"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        load_models(written(tmp_path, text))


def test_fields_named_as_old_methods_of_pydantic_are_fields_like_others(cli: Cli, tmp_path: Path) -> None:
    names = ("copy", "json", "dict", "schema", "validate", "construct")
    source = written(tmp_path, "[Task.fields]\n" + "".join(f'{name} = "str"\n' for name in names))
    assert cli("init", tmp_path / "a.db", "--models", source).code == 0  # and warns of nothing, or the test would fail
    values = [f"{name}={name}" for name in names]
    made = cli("create", tmp_path / "a.db", "Task", *values, "--json").json
    assert cli("set", tmp_path / "a.db", "Task", made["id"], "copy=second").code == 0
    shown = cli("show", tmp_path / "a.db", "Task", made["id"], "--json").json["fields"]
    assert shown == {**{name: name for name in names}, "copy": "second"}


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    for text, said in (("[Task", "is no TOML"), ("", "declares no models")):
        with pytest.raises(InputError, match=said):
            load_models(written(tmp_path, text))
    with pytest.raises(InputError, match="cannot be read"):
        load_models(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("value", ["[" * 2_000 + "]" * 2_000, "{a=" * 2_000 + "1" + "}" * 2_000, "1" * 5_000])
def test_what_cannot_be_read_is_no_model_file(tmp_path: Path, value: str) -> None:
    """Values nested too deeply, and numbers with too many digits."""
    file = tmp_path / "models.toml"
    file.write_text(f"[Task.fields]\ntitle = {{type = 'any', default = {value}}}\n")
    with pytest.raises(InputError, match="is no TOML"):
        load_models(str(file))


@pytest.mark.parametrize(
    "text", ["a." * 20_000 + "b = 1", ("a." * 200 + "b = 1\n") * 400, "x = {" + "a." * 5_000 + "b = 1}", "#" * 100_000]
)
def test_a_file_that_would_take_long_to_read_is_refused_at_once(tmp_path: Path, text: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=r"longer|dots") as caught:
        load_models(written(tmp_path, text))
    assert caught.value.hint
    assert time.process_time() - started < 1


def test_the_slowest_file_that_is_read_takes_less_than_a_second(tmp_path: Path) -> None:
    line = "a." * LINE_DOTS_MAX + "{} = 1\n"
    text = "".join(line.format(f"b{number}") for number in range(FILE_BYTES_MAX // (len(line) + 5)))
    started = time.process_time()
    with pytest.raises(SchemaError):
        load_models(written(tmp_path, text))
    assert time.process_time() - started < 1
