"""The demo's side of one worker process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crdt_sync.errors import CRDTSyncError

STOP_TIMEOUT_S = 15.0

Watch = Callable[[dict[str, Any]], None]
"""Called with each message that is no answer: progress."""


class Device:
    """One process with one replica.

    Args:
        name: hub, laptop or phone.
        folder: where its store, keys and log are kept.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.store = folder / f"{name}.db"
        self.device_id = ""
        self._log_path = folder / f"{name}.log"
        self._log = self._log_path.open("wb")
        command = [sys.executable, "-m", "crdt_sync.cli.demo.worker", str(self.store), str(folder / f"{name}.state")]
        self._process = subprocess.Popen(  # noqa: S603  our own worker, with paths that we chose
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tell(self, do: str, **arguments: Any) -> None:
        """Give a command without waiting for its answer; `answer` gets it."""
        if self._process.stdin is None or self._process.poll() is not None:
            raise self._died()
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self, watch: Watch | None = None) -> Any:
        """Wait for the answer to the last command.

        Raises:
            CRDTSyncError: the command failed, or the process ended.
        """
        while True:
            line = "" if self._process.stdout is None else self._process.stdout.readline()
            if not line:
                raise self._died()
            message = json.loads(line)
            if "error" in message:
                raise CRDTSyncError(f"{self.name}: {message['error']}", hint=message["hint"])
            if "result" in message:
                result = message["result"]
                if isinstance(result, dict) and result.get("device"):
                    self.device_id = result["device"]
                return result
            if watch is not None:
                watch(message)

    def ask(self, do: str, *, watch: Watch | None = None, **arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        self.tell(do, **arguments)
        return self.answer(watch)

    def stop(self) -> None:
        """End the process cleanly, or by force where it does not."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _died(self) -> CRDTSyncError:
        self._log.flush()
        last = self._log_path.read_text(errors="replace").strip().splitlines()[-1:]
        return CRDTSyncError(
            f"the {self.name} process ended: {last[0] if last else 'no message'}",
            hint="Run again with --keep DIR and look at the log files there.",
        )
