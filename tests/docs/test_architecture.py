"""docs/architecture.md names folders and modules that exist, and all of the layers that the contracts know."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "crdt_sync"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NOT_BUILT = {"hub"}


def exists(name: str, *, near: list[Path]) -> bool:
    return any((place / name).exists() for place in (PACKAGE, ROOT, *near))


def test_every_module_and_folder_that_is_named_exists() -> None:
    missing: list[str] = []
    for line in PAGE.splitlines():
        names = re.findall(r"`([\w/]+(?:\.py|/))`", line)
        folders = [top / name for top in (PACKAGE, ROOT) for name in names if name.endswith("/")]
        near = [*folders, PACKAGE / "core", PACKAGE / "core" / "kinds"]
        missing += [name for name in names if not exists(name, near=near)]
    assert missing == []


def test_every_layer_is_in_the_picture_and_in_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    rows = [re.findall(r"\w+", row) for row in layers]
    picture = re.search(r"```mermaid\nflowchart TD\n(.*?)```", PAGE, re.DOTALL)
    assert picture is not None
    drawn = set(re.findall(r"\w+", picture[1]))
    names = re.findall(r"`([\w/.]+)`", PAGE.partition("| folder |")[2])
    table = {name.rstrip("/").removesuffix(".py") for name in names}
    for row in rows:
        for layer in set(row) - NOT_BUILT:
            assert layer in drawn
            assert layer in table or layer == "__main__"
    order = [picture[1].index(row[0]) for row in rows if row[0] not in NOT_BUILT]
    assert order == sorted(order), "drawn from the top down"


def test_every_folder_of_the_package_is_in_the_table() -> None:
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")]
    assert [name for name in folders if f"`{name}/`" not in PAGE] == []
