"""The code in the tutorial, the guides and the README runs, as it stands there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crdt_sync import Replica

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [
    ROOT / "README.md",
    TUTORIAL,
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
    *sorted((ROOT / "docs" / "kinds").glob("[a-z]*.md")),
]
TIMEOUT_S = 300
CLOCK = """
import time

read, last = time.time_ns, 0


def time_ns():
    global last
    last = max(read(), last + 1_000_000)
    return last


time.time_ns = time_ns
"""
"""Lets a millisecond pass between any two looks at the clock: on a page it is told which of two writes comes later."""


def python_of(page: Path) -> str:
    """The unnamed Python blocks of a page, as one program with the page's line numbers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    program, inside = [], False
    for line in lines:
        fence = line.startswith("```")
        inside = (line == "```python") if fence else inside
        program.append(line if inside and not fence else "")
    return "\n".join(program)


def surroundings(folder: Path) -> dict[str, str]:
    """What a program of the page runs in: the package of the checkout, a state directory, and a clock of its own."""
    clock = folder / "clock"
    clock.mkdir(exist_ok=True)
    (clock / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    paths = os.pathsep.join((str(clock), str(ROOT)))
    return {**os.environ, "CRDT_SYNC_STATE_DIR": str(folder / "state"), "PYTHONPATH": paths}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


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
    program = tmp_path / "bin" / "crdt-sync"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crdt_sync "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    script = "".join(blocks).replace("8765", str(free_port()))
    served, count = re.subn(
        r"^(crdt-sync serve .*)$",
        r"\1 --json > serving.json & server=$!\n"
        r"trap 'kill $server; wait $server || true' EXIT\n"
        r"for try in $(seq 600); do test -s serving.json && break; sleep 0.1; done",
        script,
        flags=re.MULTILINE,
    )
    assert count == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", served],
        cwd=tmp_path,
        env={**surroundings(tmp_path), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
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
