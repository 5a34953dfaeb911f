"""Models out of Python files and packages, and the demo's options."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync.cli.model_files import load_models
from crdt_sync.cli.opening import Place, open_replica
from crdt_sync.cli.output import short, visible
from crdt_sync.core.model import spec_of
from tests.unit.cli.conftest import Cli, created


def names(source: str) -> list[str]:
    return [spec_of(model).name for model in load_models(source)]


def test_a_file_gives_all_its_models_in_order(models_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(str(models_file)) == ["Task", "City"]
    monkeypatch.chdir(models_file.parent)
    assert names("models.py") == ["Task", "City"]


def test_a_module_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shop_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text("from crdt_sync import Model\nclass Goods(Model):\n    name: str = ''\n")
    (package / "models.py").write_text("from shop_of_this_test.base import Goods\n_Hidden = Goods\nAlias = Goods\n")
    monkeypatch.chdir(tmp_path)
    assert names("shop_of_this_test.models") == ["Goods"]


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_of_this_test.py").write_text("LENGTH = 3\n")
    text = "from beside_of_this_test import LENGTH\nfrom crdt_sync import Model\nclass A(Model):\n    a: int = LENGTH\n"
    (tmp_path / "with_import.py").write_text(text)
    assert names(str(tmp_path / "with_import.py")) == ["A"]


def test_the_store_remembers_its_models_without_their_code(cli: Cli, store: Path, models_file: Path) -> None:
    models_file.unlink()
    record = created(cli, store, "title=x", "due=2026-01-31", 'tags=["a"]')
    fields = cli("show", store, "Task", record, "--json").json["fields"]
    assert (fields["due"], fields["tags"]) == ("2026-01-31", ["a"])
    assert cli("set", store, "Task", record, "due=soon").code == 4, "types are remembered too"


def test_models_given_to_a_command_are_declared(cli: Cli, store: Path, models_file: Path) -> None:
    models_file.write_text(models_file.read_text().replace('name: str = ""', 'name: str = ""\n    mayor: str = "?"'))
    created(cli, store, "code=7", model="City")
    found = cli("list", store, "City", "--models", models_file, "--json").json
    assert found["records"][0]["fields"]["mayor"] == "?"


def test_a_failed_open_leaves_no_lock(cli: Cli, store: Path) -> None:
    with open_replica(Place(path=store)), pytest.raises(Exception, match="open for writing"):
        open_replica(Place(path=store))
    with open_replica(Place(path=store)):
        pass


def test_the_demo_is_given_its_options(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []

    def run_demo(**options: object) -> int:
        given.append(options)
        return 1

    monkeypatch.setattr("crdt_sync.cli.demo.run_demo", run_demo)
    assert cli("demo", "--keep", "somewhere", "--records", "7", "--json").code == 1
    assert given == [{"keep": Path("somewhere"), "records": 7, "as_json": True}]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a\nb", "a⏎b"), ("\x1b[31m", "\\x1b[31m"), ("\u202e", "\\x202e"), (["\x07"], '["\\u0007"]'), (None, "null")],
)
def test_values_fit_in_a_line_and_steer_nothing(value: object, shown: str) -> None:
    assert short(value) == shown
    assert visible("é😀\n") == "é😀\n"
