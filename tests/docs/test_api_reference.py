"""docs/reference/api.md has every public name, with the parameters that it takes, and none that is not there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import crdt_sync
from crdt_sync import Replica

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`$(.*?)(?=^##+ [`N]|\Z)", PAGE, re.MULTILINE | re.DOTALL))
CLASSES = [name for name in crdt_sync.__all__ if inspect.isclass(getattr(crdt_sync, name))]
INSTANCE_ATTRIBUTES = {"Replica": {"local", "port"}, "SyncManager": {"peers", "queue"}}


def rows(name: str) -> dict[str, str]:
    """Attribute or method → parameters as documented, or an empty string."""
    listed = re.findall(r"^\| `(\w+)(\([^|]*\))?` \|", SECTIONS[name], re.MULTILINE)
    return dict(listed)


def public(cls: type) -> set[str]:
    own = [base for base in cls.__mro__ if base.__module__.startswith("crdt_sync.")]
    members = {name for base in own for name in vars(base) if not name.startswith("_")}
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return members | fields | INSTANCE_ATTRIBUTES.get(cls.__name__, set())


def test_page_has_the_names_of_the_package_in_order() -> None:
    assert list(SECTIONS) == crdt_sync.__all__


@pytest.mark.parametrize("name", CLASSES)
def test_class_is_documented_whole(name: str) -> None:
    inherited = {"isdisjoint"}
    assert set(rows(name)) - inherited == public(getattr(crdt_sync, name))


@pytest.mark.parametrize("name", CLASSES)
def test_methods_take_what_is_documented(name: str) -> None:
    cls = getattr(crdt_sync, name)
    for method, written in rows(name).items():
        if not written or method == "isdisjoint":
            continue
        actual = list(inspect.signature(getattr(cls, method)).parameters.values())
        if inspect.isfunction(inspect.getattr_static(cls, method)):
            actual = actual[1:]
        assert documented(written) == [(item.name, item.kind, shown(item)) for item in actual], method


@pytest.mark.parametrize("name", ["SyncManager", "connect", "reconcile", "serve"])
def test_function_names_all_its_options(name: str) -> None:
    parameters = inspect.signature(getattr(crdt_sync, name)).parameters
    assert [option for option in parameters if not re.search(rf"\b{option}\b", SECTIONS[name])] == []


def test_what_is_not_built_is_not_there() -> None:
    planned = PAGE.partition("## Not built yet")[2]
    names = re.findall(r"`(\w+)`", planned)
    assert [name for name in names if hasattr(crdt_sync, name) or hasattr(Replica, name)] == []


def documented(written: str) -> list[tuple[str, inspect._ParameterKind, str]]:
    function = ast.parse(f"def f{written}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    scope: dict[str, object] = {}
    exec(compile(ast.Module([function], []), "api.md", "exec"), scope)  # noqa: S102  a signature of our own page
    made = scope["f"]
    assert callable(made)
    return [(item.name, item.kind, shown(item)) for item in inspect.signature(made).parameters.values()]


def shown(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is inspect.Parameter.empty else repr(parameter.default)
