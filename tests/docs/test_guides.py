"""The code in the tutorial, the guides and the README runs, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.docs.shell import ROOT, TIMEOUT_S, commands_of, run_commands, surroundings

TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [
    ROOT / "README.md",
    TUTORIAL,
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
    *sorted((ROOT / "docs" / "kinds").glob("[a-z]*.md")),
]


def python_of(page: Path) -> str:
    """The unnamed Python blocks of a page, as one program with the page's line numbers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    program, inside = [], False
    for line in lines:
        fence = line.startswith("```")
        inside = (line == "```python") if fence else inside
        program.append(line if inside and not fence else "")
    return "\n".join(program)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    program = tmp_path / f"{page.stem.replace('-', '_')}.py"
    program.write_text(python_of(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{page}: the line numbers are the page's"


@pytest.mark.slow
def test_python_of_all_pages_has_right_types(tmp_path: Path) -> None:
    programs = [tmp_path / f"{page.stem.replace('-', '_').lower()}.py" for page in PAGES]
    for page, program in zip(PAGES, programs, strict=True):
        program.write_text(python_of(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_commands_of_the_tutorial_run(tmp_path: Path) -> None:
    text = TUTORIAL.read_text(encoding="utf-8").partition("## From Python")[0]
    for name, content in re.findall(r"^```python (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    run_commands(commands_of(text), tmp_path)
    state = tmp_path / "state"
    with (
        Replica.open(tmp_path / "laptop.db", state_dir=state) as laptop,
        Replica.open(tmp_path / "phone.db", state_dir=state) as phone,
    ):
        (here,), (there,) = laptop.find(laptop.model("Task")), phone.find(phone.model("Task"))
        assert here.model_dump() == there.model_dump()
        shown = {name: str(value) for name, value in here.model_dump().items()}
        assert (shown["due"], shown["votes"], shown["tags"]) == ("2026-07-02", "3", "{'garden'}")
        assert shown["notes"] == "Not the cactus. Use rain water."
        assert laptop.conflicts() == phone.conflicts() == []
