"""A record as it was, why it is so, undo and redo on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli, created

MODELS = """
from crdt_sync import Model, Text

class Task(Model):
    title: str = ""
    notes: Text
"""


@pytest.fixture
def tasks(cli: Cli, tmp_path: Path) -> Path:
    """A store with a model."""
    file, path = tmp_path / "tasks.py", tmp_path / "tasks.db"
    file.write_text(MODELS)
    assert cli("init", path, "--models", file).code == 0
    return path


def test_undo_and_redo_reach_over_processes(cli: Cli, tasks: Path) -> None:
    name = created(cli, tasks, "title=Milk")
    assert cli("set", tasks, "Task", name, "title=Bread", "notes+=x").code == 0
    assert "taken back" in cli("undo", tasks).out
    assert "Milk" in cli("show", tasks, "Task", name).out
    assert cli("redo", tasks).code == 0
    assert "Bread" in cli("show", tasks, "Task", name).out
    assert cli("redo", tasks).code == 2


def test_record_as_it_was_and_why(cli: Cli, tasks: Path) -> None:
    name = created(cli, tasks, "title=Milk")
    made = cli("log", tasks, "--json").json["operations"][0]["timestamp"]
    cli("set", tasks, "Task", name, "title=Bread")
    assert "Milk" in cli("show", tasks, "Task", name, "--at", made).out
    assert "Bread" in cli("show", tasks, "Task", name, "--at", "2100-01-01T00:00+00:00").out
    assert cli("show", tasks, "Task", name, "--at", "noon").code == 2
    assert cli("show", tasks, "Task", name, "--at", "2000-01-01T00:00+00:00").code == 3
    assert "shown 'Bread'" in cli("explain", tasks, "Task", name, "title").out
    assert "is live" in cli("explain", tasks, "Task", name).out
    assert cli("explain", tasks, "Task", name, "title", "--json").json["value"] == "Bread"
