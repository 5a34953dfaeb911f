"""A command line to try, in this process or as one of its own, with stores and a state directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 60

MODELS = """
from __future__ import annotations
from datetime import date
from decimal import Decimal
from crdt_sync import Counter, Model, Set, Text, ask

class Task(Model):
    title: str = ""
    done: bool = False
    due: date | None = ask(default=None)
    price: Decimal | None = None
    address: dict = {}
    notes: Text
    votes: Counter
    tags: Set[str]

class City(Model, key=("code",)):
    code: int
    name: str = ""
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = json.loads(self.err)["error"]
        return error


Cli = Callable[..., Outcome]


@pytest.fixture
def state_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short enough for a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="cli-"))
    monkeypatch.setenv("CRDT_SYNC_STATE_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], state_dir: Path) -> Cli:
    """Run a command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def store(cli: Cli, tmp_path: Path, models_file: Path) -> Path:
    """A store with models and no records."""
    path = tmp_path / "a.db"
    assert cli("init", path, "--models", models_file, "--no-name").code == 0
    return path


@pytest.fixture
def other(cli: Cli, tmp_path: Path, models_file: Path) -> Path:
    """Another device's store."""
    path = tmp_path / "b.db"
    assert cli("init", path, "--models", models_file, "--no-name").code == 0
    return path


def created(cli: Cli, store: Path, *assignments: str, model: str = "Task") -> str:
    """Create a record; gives its id."""
    found = cli("create", store, model, *assignments, "--json")
    assert found.code == 0, found.err
    record_id: str = found.json["id"]
    return record_id


def contents(store: Path) -> Any:
    """All records, and how many entries of which author the log has."""
    with Replica.open(store, read_only=True) as replica:
        records = [repr(record) for model in replica.models for record in replica.find(model, order_by="id")]
        return records, replica.port.vector()


def exchange(one: Replica, other: Replica) -> None:
    """Bring everything from each replica to the other, without a session."""
    for source, target in ((one, other), (other, one)):
        target.port.accept_records(source.port.space_records(0)[0])
        page = source.port.runs_after(0, target.port.vector(), bytes_max=10_000_000)
        target.port.accept_runs([run[0] for run in page.runs])


def clash(store: Path, other: Path, field: str, values: tuple[Any, Any]) -> None:
    """Let two devices write a field of their first common Task at once."""
    with Replica.open(store) as a, Replica.open(other) as b:
        exchange(a, b)
        for replica, value in ((a, values[0]), (b, values[1])):
            record = replica.find(replica.model("Task"))[0]
            replica.update(record, **{field: value})
        exchange(a, b)


def environment(state_dir: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CRDT_SYNC_STATE_DIR": str(state_dir), "PYTHONWARNINGS": "error"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "crdt_sync", *(str(item) for item in arguments)]


def run_process(state_dir: Path, *arguments: object, stdin: str = "") -> Outcome:
    """Run a command line as a process of its own."""
    done = subprocess.run(
        command(*arguments),
        env=environment(state_dir),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)


@dataclass(slots=True)
class Serving:
    """A running `serve`."""

    process: subprocess.Popen[str]
    where: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.where["url"])

    def stop(self, number: int = signal.SIGTERM) -> Outcome:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT_S)
        return Outcome(code=self.process.returncode, out=out, err=err)


@contextmanager
def serving(state_dir: Path, store: Path, *options: object) -> Iterator[Serving]:
    """Serve a store in a process of its own."""
    process = subprocess.Popen(
        command("serve", store, "--json", *options),
        env=environment(state_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise AssertionError(process.communicate(timeout=WAIT_S)[1])
            yield Serving(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.kill()
