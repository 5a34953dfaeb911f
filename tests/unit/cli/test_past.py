"""A record as it was, why it is so, undo and redo on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
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
    assert cli("show", tasks, "Task", name, "--at", "2000-01-01T00:00+00:00").code == 3
    assert "shown 'Bread'" in cli("explain", tasks, "Task", name, "title").out
    assert "is live" in cli("explain", tasks, "Task", name).out
    assert cli("explain", tasks, "Task", name, "title", "--json").json["value"] == "Bread"


def test_the_times_that_log_prints_are_taken(cli: Cli, tasks: Path) -> None:
    """By the clock on the wall; one without a fraction of a second goes up to the end of that second."""
    name = created(cli, tasks, "title=Milk")
    printed = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", cli("log", tasks, "--record", name).out)[0]
    tomorrow = (datetime.now(UTC).astimezone() + timedelta(days=1)).strftime("%Y-%m-%d")
    for time in (printed, printed.replace(" ", "T"), tomorrow, "0s"):
        outcome = cli("show", tasks, "Task", name, "--at", time)
        assert "Milk" in outcome.out, (time, outcome.err)
    for time in ("2d", "2001-01-31", "2000-01-01T00:00+02:00", "0"):
        assert cli("show", tasks, "Task", name, "--at", time).code == 3


@pytest.mark.parametrize("time", ["noon", "99999999999999999999", "", "2x", "²"])
def test_what_is_no_time_is_refused_in_words_of_the_command_line(cli: Cli, tasks: Path, time: str) -> None:
    outcome = cli("show", tasks, "Task", created(cli, tasks, "title=Milk"), "--at", time, "--json")
    assert (outcome.code, outcome.error["type"]) == (2, "InputError")
    assert "is no time" in outcome.error["message"]
    assert "2d" in outcome.error["hint"]
    assert "datetime" not in outcome.error["hint"]
