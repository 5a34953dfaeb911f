"""Real processes for the tests with real faults: a hub, devices, and the command line, all of them ours to kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
"""The machines are shared; whoever needs longer hangs."""
ANSWER_BYTES_MAX = 16 * 2**20
"""The longest line that a process says."""


class EndedError(Exception):
    """A process ended by itself, which none of them may."""


class Program:
    """A process that says a line of JSON when it is ready, and is killed.

    Args:
        arguments: of the Python interpreter.
        home: where a user's directories are.
        log: where its standard error goes.
    """

    def __init__(self, *arguments: str, home: Path, log: Path) -> None:
        self._arguments = arguments
        self._home = home
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict[str, Any]:
        """Start it; what it says once it is ready.

        Raises:
            EndedError: it ended instead.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=ANSWER_BYTES_MAX,
                env=surroundings(self._home),
            )
        return await self.answer(timeout_s=START_TIMEOUT_S)

    async def ask(self, what: object = None) -> dict[str, Any]:
        """Say something, as a line of JSON; what it answers, however long that takes.

        Raises:
            EndedError: it ended instead.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return await self.answer()

    async def answer(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The next thing that it says.

        Raises:
            EndedError: it ended instead.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            raise EndedError(self._told())
        said: dict[str, Any] = json.loads(line)
        return said

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    async def end(self, number: signal.Signals = signal.SIGKILL) -> bytes:
        """Have it end by a signal, and wait until it has; what else it said.

        Raises:
            EndedError: it had ended before.
        """
        assert self._process is not None
        if self._process.returncode is not None:
            raise EndedError(self._told())
        self._process.send_signal(number)
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        await self._process.wait()
        return rest

    def abandon(self) -> None:
        """Have it end, however it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _told(self) -> str:
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        return f"{' '.join(self._arguments[:4])} ended by itself: {tail}"


class Nursery(Program):
    """Where lives begin that end by a kill, one at a time; see `tests.e2e.nursery`."""

    def __init__(self, *, home: Path, log: Path) -> None:
        super().__init__("-m", "tests.e2e.nursery", home=home, log=log)
        self._child = 0

    async def begin(self, what: object) -> None:
        """Begin a life; it has only just begun when this returns."""
        self._child = (await self.ask(what))["pid"]

    async def kill(self) -> list[dict[str, Any]]:
        """End it, and wait until it has ended; what it said meanwhile.

        Raises:
            EndedError: it had ended by itself.
        """
        os.kill(self._child, signal.SIGKILL)
        said: list[dict[str, Any]] = []
        while "ended" not in (line := await self.answer()):
            said.append(line)
        self._child = 0
        if line["ended"] != -signal.SIGKILL:
            raise EndedError(self._told())
        return said

    def abandon(self) -> None:
        if self._child and self._process is not None and self._process.returncode is None:
            os.kill(self._child, signal.SIGKILL)  # not another one's id: whom the nursery has not buried keeps its own
        super().abandon()


def say(**what: Any) -> None:
    """Tell who started this process; in one piece, for it may be killed at any moment."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def command(*arguments: str, home: Path) -> tuple[int, Any]:
    """Run ``crdt-sync``; its exit code, and the JSON that it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crdt_sync", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=surroundings(home),
    )
    out, error = await process.communicate()
    return process.returncode or 0, json.loads(out or error or b"null")


def state_of(home: Path) -> Path:
    """Where keys and fences are of a device whose user's directories are below ``home``."""
    return home / "state" / "crdt_sync"


def surroundings(home: Path) -> Mapping[str, str]:
    """The environment of a process whose user's directories are below ``home``."""
    names = ("CACHE", "CONFIG", "DATA", "RUNTIME", "STATE")
    places = {f"XDG_{name}_{'DIR' if name == 'RUNTIME' else 'HOME'}": home / name.lower() for name in names}
    for place in places.values():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(place) for name, place in places.items()}}
