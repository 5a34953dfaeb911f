"""Runs the commands of a page as they stand there, as somebody would type them in a folder."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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


def surroundings(folder: Path) -> dict[str, str]:
    """What a program of a page runs in: the package of the checkout, a state directory, and a clock of its own."""
    clock = folder / "clock"
    clock.mkdir(exist_ok=True)
    (clock / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    paths = os.pathsep.join((str(clock), str(ROOT)))
    return {**os.environ, "CRDT_SYNC_STATE_DIR": str(folder / "state"), "PYTHONPATH": paths}


def commands_of(text: str) -> str:
    """The shell blocks of a text, one after the other."""
    return "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def run_commands(commands: str, folder: Path) -> str:
    """Run commands in a folder and give what they print; ``crdt-sync serve`` runs on behind those that follow it."""
    program = folder / "bin" / "crdt-sync"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crdt_sync "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = re.sub(
        r"^(crdt-sync serve .*)$",
        r"\1 --json > serving.json & server=$!\n"
        r"trap 'kill $server; wait $server || true' EXIT\n"
        r"for try in $(seq 600); do test -s serving.json && break; sleep 0.1; done\n"
        r"test -s serving.json",
        commands.replace("8765", str(_free_port())),
        flags=re.MULTILINE,
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**surroundings(folder), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
