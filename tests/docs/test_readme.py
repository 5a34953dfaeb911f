"""The README promises two commands; CI must run the one for tests as it stands there, and both must be sound."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CI = ROOT / ".ci" / "run"
EXTRACTOR = ROOT / ".ci" / "readme_commands.py"


def extract(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXTRACTOR), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def command(name: str) -> str:
    found = extract(name)
    assert found.returncode == 0, found.stderr
    return found.stdout.rstrip("\n")


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_command_stands_in_the_readme_as_its_own_block(name: str) -> None:
    assert f"```sh\n{command(name)}\n```" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_command_is_sound_shell(name: str) -> None:
    subprocess.run(["sh", "-n", "-c", command(name)], check=True, timeout=60)


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_command_needs_nothing_but_python_and_makes_its_own_environment(name: str) -> None:
    words = re.findall(r"(?:^|&& )(\S+)", command(name))
    assert words[0] == "python3"
    assert all(word.startswith(".venv/bin/") for word in words[1:])
    assert command(name).startswith("python3 -m venv .venv && ")


@pytest.mark.parametrize(("name", "extra"), [("demo", "demo"), ("tests", "dev")])
def test_command_installs_an_extra_that_exists(name: str, extra: str) -> None:
    assert f"'.[{extra}]'" in command(name)
    assert extra in project()["optional-dependencies"]


def test_demo_command_ends_in_the_installed_program() -> None:
    assert command("demo").endswith("&& .venv/bin/crdt-sync demo")
    assert "crdt-sync" in project()["scripts"]


def test_test_command_runs_the_whole_suite_in_parallel() -> None:
    assert command("tests").endswith("&& .venv/bin/python -m pytest -n auto")


def test_ci_runs_the_test_command_of_the_readme_before_anything_else() -> None:
    lines = CI.read_text(encoding="utf-8").splitlines()
    taken = lines.index('test_command="$(python3 .ci/readme_commands.py tests)"')
    run = lines.index('sh -ec "$test_command"')
    first_tool = next(number for number, line in enumerate(lines) if line.startswith(".venv/bin/"))
    assert taken < run < first_tool
    assert CI.stat().st_mode & 0o111, "executable"
    assert "set -euo pipefail" in lines


@pytest.mark.parametrize(
    "tool", ["ruff check", "ruff format --check", "mypy", "lint-imports", "-m build", 'crdt-sync" --version']
)
def test_ci_runs(tool: str) -> None:
    assert tool in CI.read_text(encoding="utf-8")


def test_ci_is_sound_shell() -> None:
    subprocess.run(["bash", "-n", str(CI)], check=True, timeout=60)


@pytest.mark.parametrize(
    "text",
    [
        "# no quick start\n",
        "## Quick start\n\nno command\n",
        "## Quick start\n\n```sh\nonly one\n```\n\n## Later\n\n```sh\nnot this\n```\n",
    ],
)
def test_a_missing_command_is_an_error(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    found = extract("tests", str(readme))
    assert (found.returncode, found.stdout) == (2, "")
    assert str(readme) in found.stderr


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
