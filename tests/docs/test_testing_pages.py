"""The pages about the test kit: their test modules run, and what they print is what the pages show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import crdt_sync.testing
from tests.docs.shell import ROOT, TIMEOUT_S, surroundings
from tests.installed import install

TUTORIAL = ROOT / "docs" / "tutorial" / "merge-function.md"
GUIDE = ROOT / "docs" / "howto" / "test-your-app.md"
REFERENCE = ROOT / "docs" / "reference" / "testing.md"
BLOCK = re.compile(r"^```(?:python (?P<file>\S+)|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = surroundings(folder)
    env["PYTHONPATH"] = f"{env['PYTHONPATH']}:{install(folder / 'installed')}"
    return subprocess.run(
        [sys.executable, "-m", *command, "-p", "no:cacheprovider", "-W", "ignore"],
        cwd=folder,
        env=env | {"PYTEST_ADDOPTS": "", "HYPOTHESIS_PROFILE": "default"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def said(output: str) -> list[str]:
    """What pytest says of failures, without tracebacks, module names and times."""
    found: list[str] = []
    for line in output.splitlines():
        if line.startswith("E   "):
            found.append(re.sub(r"^(?:\w+\.)+(\w+Error: )", r"\1", line[4:]))
        elif line.startswith("FAILED "):
            found.append(line.partition(" - ")[0])
        elif re.match(r"\d+ (failed|passed)", line):
            found.append(line.partition(" in ")[0])
    return found


def certain(lines: list[str]) -> list[str]:
    """Without what Hypothesis may shorten to something else: how the history got there, and which character is least.

    It begins with characters that it finds in the code, so that changes far from here change what it ends with.
    """
    kept = [line for line in lines if not line.startswith(("state.", "  replica"))]
    return [re.sub(r"'.'", "'0'", line) for line in kept]


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """Each command runs with the files as they stand above it."""
    commands = 0
    for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"], encoding="utf-8")
            continue
        command, _, shown = block["text"].partition("\n")
        assert command.startswith("$ python -m ")
        folder = tmp_path / str(commands)
        folder.mkdir()
        for file in tmp_path.glob("*.py"):
            (folder / file.name).write_bytes(file.read_bytes())
        printed = said(run(shlex.split(command)[3:], folder).stdout)
        assert certain(printed) == certain(shown.splitlines())
        for start in ("state.begin(", "state.teardown(", "  replica 0 shows"):
            assert any(line.startswith(start) for line in printed) is (f"\n{start}" in shown)
        commands += 1
    assert commands == 3


def test_the_test_of_the_tutorial_has_ten_lines() -> None:
    blocks = {block["file"]: block["text"] for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8"))}
    assert len(blocks["test_cart.py"].rstrip().splitlines()) <= 11


@pytest.mark.slow
def test_modules_of_the_guide_pass(tmp_path: Path) -> None:
    files = [block["file"] for block in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]
    for block in BLOCK.finditer(GUIDE.read_text(encoding="utf-8")):
        (tmp_path / block["file"]).write_text(block["text"], encoding="utf-8")
    done = run(["pytest", "-q", "--crdt-seed=1", "--crdt-examples=5", *files], tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(files) == 5


def test_reference_has_every_name_of_the_kit() -> None:
    text = REFERENCE.read_text(encoding="utf-8") + (REFERENCE.parent / "simulation.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)[`(.]", text))
    assert [name for name in crdt_sync.testing.__all__ if name not in listed] == []
    assert [name for name in crdt_sync.testing.__all__ if not hasattr(crdt_sync.testing, name)] == []
