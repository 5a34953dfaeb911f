"""Undo by an older version of the app: what its models do not know is said to be left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask
from crdt_sync.replica.undo import UNKNOWN_FIELD
from tests.unit.replica.devices import on_disk

OLD: Any = create_model("Task", __base__=Model, title=(str, ""))
NEW: Any = create_model(
    "Task",
    __base__=Model,
    title=(str, ""),
    extra=(str, ask(default="e")),
    notes=(Text, ...),
    votes=(Counter, ...),
    tags=(Set[str], ...),
    steps=(List[str], ...),
    prefs=(Map[str, int], ...),
)
VALUES: dict[str, Any] = {
    "extra": "new",
    "notes": "text",
    "votes": 2,
    "tags": {"a"},
    "steps": ["s"],
    "prefs": {"k": 1},
}


def write(task: Any, name: str) -> None:
    if name == "votes":
        task.votes.increment(VALUES[name])
    else:
        setattr(task, name, VALUES[name])


def title_of(replica: Replica, model: Any) -> str:
    (task,) = replica.find(model)
    return str(task.title)


def skipped(replica: Replica) -> list[tuple[str, str]]:
    report = replica.undo()
    assert report is not None
    return [(item.field, item.reason) for item in report.skipped]


@pytest.mark.parametrize("name", VALUES)
def test_a_transaction_of_fields_that_are_not_known_is_told_of_and_no_older_one_is_taken_back(
    tmp_path: Path, name: str
) -> None:
    with on_disk(tmp_path, NEW) as replica:
        task = replica.create(NEW, title="1")
        task.title = "2"
        write(task, name)
    with on_disk(tmp_path, OLD, seed=1) as replica:
        pending = replica.pending_count()
        assert skipped(replica) == [(name, UNKNOWN_FIELD)]
        assert (title_of(replica, OLD), replica.pending_count()) == ("2", pending)
        assert skipped(replica) == []
        assert title_of(replica, OLD) == "1"
    with on_disk(tmp_path, NEW, seed=2) as replica:
        assert replica.get(NEW, task.id).model_dump() == {**task_of(title="1"), name: VALUES[name]}


def task_of(**values: Any) -> dict[str, Any]:
    return {"extra": "e", "notes": "", "votes": 0, "tags": set(), "steps": [], "prefs": {}, **values}


def test_what_is_known_of_a_transaction_is_taken_back_and_the_rest_is_told_of(tmp_path: Path) -> None:
    with on_disk(tmp_path, NEW) as replica:
        task = replica.create(NEW, title="1")
        with replica.transaction():
            task.title = "2"
            for name in VALUES:
                write(task, name)
    with on_disk(tmp_path, OLD, seed=1) as replica:
        assert skipped(replica) == [(name, UNKNOWN_FIELD) for name in sorted(VALUES)]
        assert title_of(replica, OLD) == "1"
        assert skipped(replica) == []  # the creation, which ends with all that is in it
        assert replica.count(OLD) == 0
