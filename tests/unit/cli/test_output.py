"""Standard output that cannot be written, or that nobody reads: an error that says so, or a quiet end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.conftest import WAIT_S, Cli, command, created, environment

FULL = Path("/dev/full")
COMMANDS = [
    ("export", "STORE"),
    ("list", "STORE", "Task"),
    ("list", "STORE", "Task", "--json"),
    ("status", "STORE"),
    ("check", "STORE"),
    ("check", "STORE", "--json"),
    ("--version",),
    ("--help",),
    ("list", "--help"),
    ("conflicts", "--help"),
]


def run(arguments: tuple[str, ...], *, store: Path, state_dir: Path, output: int) -> tuple[int, str]:
    done = subprocess.run(
        command(*(str(store) if item == "STORE" else item for item in arguments)),
        env=environment(state_dir),
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(
    cli: Cli, store: Path, state_dir: Path, arguments: tuple[str, ...]
) -> None:
    created(cli, store, "title=Milk")
    with FULL.open("w") as full:
        code, err = run(arguments, store=store, state_dir=state_dir, output=full.fileno())
    assert code == 6, err
    assert "standard output cannot be written" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_output_that_nobody_reads_ends_quietly(
    cli: Cli, store: Path, state_dir: Path, arguments: tuple[str, ...]
) -> None:
    created(cli, store, "title=Milk")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(arguments, store=store, state_dir=state_dir, output=writing) == (0, "")
    finally:
        os.close(writing)
