"""Each import contract of pyproject.toml is seen to hold, and seen to break when a violation is planted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("protocol", "storage", "transport", "security", "replica", "aio", "blocking", "hub", "testing", "cli")
CHECK = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(sys.argv[1:])"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package in which every layer has a folder, also those that are not written yet."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "crdt_sync", tmp_path / "crdt_sync", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for layer in LAYERS:
        init = tmp_path / "crdt_sync" / layer / "__init__.py"
        init.parent.mkdir(exist_ok=True)
        init.touch()
    (tmp_path / "crdt_sync" / "__main__.py").touch()
    (tmp_path / "crdt_sync" / "security" / "handshake.py").touch()
    return tmp_path


def plant(checkout: Path, module: str, line: str) -> None:
    path = checkout.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def lint(checkout: Path, *, contract: str | None = None) -> tuple[int, str]:
    """Exit status, and the report with its wrapped lines joined."""
    chosen = ["--contract", contract] if contract else []
    done = subprocess.run(
        [sys.executable, "-c", CHECK, "--no-cache", *chosen],
        cwd=checkout,
        env={"PATH": "", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def contracts() -> list[dict[str, Any]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = config["tool"]["importlinter"]["contracts"]
    return found


def forbidden(contract: str) -> list[str]:
    names: list[str] = next(one["forbidden_modules"] for one in contracts() if one["id"] == contract)
    return names


def test_every_contract_is_planted_against_here() -> None:
    assert {one["id"] for one in contracts()} == {"layers", "pure", "engine"}


def test_contracts_hold_unplanted(checkout: Path) -> None:
    status, report = lint(checkout)
    assert status == 0, report
    assert "3 kept, 0 broken" in report


UPWARD_OR_SIDEWAYS = [
    ("crdt_sync.errors", "crdt_sync.core"),
    ("crdt_sync.core.planted", "crdt_sync.protocol"),
    ("crdt_sync.core.planted", "crdt_sync.storage"),
    ("crdt_sync.protocol.planted", "crdt_sync.storage"),
    ("crdt_sync.protocol.planted", "crdt_sync.transport"),
    ("crdt_sync.protocol.planted", "crdt_sync.security"),
    ("crdt_sync.storage.planted", "crdt_sync.protocol"),
    ("crdt_sync.storage.planted", "crdt_sync.replica"),
    ("crdt_sync.transport.planted", "crdt_sync.security"),
    ("crdt_sync.security.planted", "crdt_sync.transport"),
    ("crdt_sync.replica.planted", "crdt_sync.aio"),
    ("crdt_sync.aio.planted", "crdt_sync.blocking"),
    ("crdt_sync.blocking.planted", "crdt_sync.aio"),
    ("crdt_sync.aio.planted", "crdt_sync.hub"),
    ("crdt_sync.hub.planted", "crdt_sync.testing"),
    ("crdt_sync.testing.planted", "crdt_sync.cli"),
    ("crdt_sync.cli.planted", "crdt_sync.__main__"),
]


@pytest.mark.parametrize(("importer", "imported"), UPWARD_OR_SIDEWAYS)
def test_import_upward_or_sideways_breaks_the_layers(checkout: Path, importer: str, imported: str) -> None:
    plant(checkout, importer, f"import {imported}")
    status, report = lint(checkout, contract="layers")
    assert status == 1
    assert f"- {importer} -> {imported} (l." in report


def test_importing_only_for_types_breaks_the_layers_too(checkout: Path) -> None:
    plant(checkout, "crdt_sync.core.planted", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import crdt_sync.storage")
    status, report = lint(checkout, contract="layers")
    assert status == 1
    assert "crdt_sync.core.planted -> crdt_sync.storage" in report


def test_importing_the_package_itself_from_a_layer_breaks_the_layers(checkout: Path) -> None:
    """The package's ``__init__`` re-exports upper layers, so it must be imported by none."""
    plant(checkout, "crdt_sync.__init__", "import crdt_sync.replica")
    assert lint(checkout, contract="layers")[0] == 0
    plant(checkout, "crdt_sync.core.planted", "from crdt_sync import Replica")
    status, report = lint(checkout, contract="layers")
    assert status == 1
    assert "crdt_sync.core.planted -> crdt_sync (l." in report


def test_a_folder_outside_of_the_layers_breaks_the_layers(checkout: Path) -> None:
    plant(checkout, "crdt_sync.unlisted.planted", "")
    status, report = lint(checkout, contract="layers")
    assert status == 1
    assert "- crdt_sync.unlisted" in report


def test_downward_imports_are_free(checkout: Path) -> None:
    for importer, imported in (("cli", "testing"), ("hub", "aio"), ("replica", "storage"), ("storage", "core")):
        plant(checkout, f"crdt_sync.{importer}.planted", f"import crdt_sync.{imported}")
    assert lint(checkout, contract="layers")[0] == 0


@pytest.mark.parametrize(
    "importer", ["crdt_sync.core.planted", "crdt_sync.protocol.planted", "crdt_sync.security.handshake"]
)
def test_each_impure_module_breaks_purity(checkout: Path, importer: str) -> None:
    impure = forbidden("pure")
    assert {"asyncio", "sqlite3", "apsw", "websockets", "os", "time", "random", "pathlib", "secrets"} <= set(impure)
    for name in impure:
        plant(checkout, importer, f"import {name}")
    status, report = lint(checkout, contract="pure")
    assert status == 1
    assert [name for name in impure if f"{importer} -> {name} (l." not in report] == []


def test_impurity_one_import_away_breaks_purity(checkout: Path) -> None:
    plant(checkout, "crdt_sync.core.planted", "import crdt_sync.errors")
    plant(checkout, "crdt_sync.errors", "from os import path")
    status, report = lint(checkout, contract="pure")
    assert status == 1
    assert "crdt_sync.errors -> os (l." in report


@pytest.mark.parametrize(
    "importer", ["crdt_sync.__init__", "crdt_sync.core.planted", "crdt_sync.storage.planted", "crdt_sync.cli.planted"]
)
def test_the_engine_outside_of_its_one_module_breaks_the_engine_contract(checkout: Path, importer: str) -> None:
    plant(checkout, importer, "from pycrdt import Doc")
    status, report = lint(checkout, contract="engine")
    assert status == 1
    assert f"{importer.removesuffix('.__init__')} -> pycrdt (l." in report


def test_a_layer_that_uses_the_document_module_keeps_the_engine_contract(checkout: Path) -> None:
    plant(checkout, "crdt_sync.replica.planted", "import crdt_sync.core.document")
    assert lint(checkout, contract="engine")[0] == 0
