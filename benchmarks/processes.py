"""Other processes that take a part in a benchmark and talk in lines of JSON over their standard streams."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import ROOT

START_TIMEOUT_S = 30.0


class Process:
    """A module of ours run as a program; it is ended when the block is left.

    Args:
        module: its name.
        arguments: what it is told, as one JSON object on its command line.
    """

    def __init__(self, module: str, arguments: Mapping[str, object]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            (sys.executable, "-m", module, json.dumps(arguments)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate(timeout=START_TIMEOUT_S)

    def answer(self) -> dict[str, Any]:
        """The next thing that it says.

        Raises:
            RuntimeError: it ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with {self._process.wait(timeout=START_TIMEOUT_S)}")
        said: dict[str, Any] = json.loads(line)
        return said

    def ask(self, **question: object) -> dict[str, Any]:
        """Say something and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self.answer()


def arguments() -> dict[str, Any]:
    """What a program started by `Process` was told."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    return told


def say(**answer: object) -> None:
    """Answer the process that started this one."""
    print(json.dumps(answer), flush=True)


def hear() -> dict[str, Any]:
    """Wait for what the process that started this one says."""
    said: dict[str, Any] = json.loads(sys.stdin.readline())
    return said


async def hear_later() -> dict[str, Any]:
    """As `hear`, while the event loop goes on."""
    return await asyncio.to_thread(hear)
