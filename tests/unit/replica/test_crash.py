"""kill -9 at any moment: what was acknowledged is there, what is there is whole, and the tables are current."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, state_of

LARGE = "x" * 20_000
"""A text above this is derived later than it is logged (`documents.LARGE_BYTES`)."""

# Forks one process for each point, so that each is killed in the middle of its store's n-th call, and says what was
# acknowledged by then. A process of its own, because pytest may have threads.
DRIVER = """
import os, signal, sys
from crdt_sync import Replica
from tests.unit.replica.devices import Task

folder, points = sys.argv[1], [int(word) for word in sys.argv[2:]]

def act(replica, say):
    big = replica.create(Task, title="big", notes="x" * 20_000)
    say("big")
    for number in range(3):
        with replica.transaction():
            replica.create(Task, title=f"small {number}", tags=["t"])
            big.votes.increment()
        say(f"small {number}")
        big.notes.append(str(number))
        say(f"note {number}")
        big.title = f"big {number}"
        say(f"title {number}")
    replica.count(Task, notes__contains="x")
    replica.delete(big)
    say("deleted")
    replica.restore(Task, big.id)
    say("restored")

def run(point):
    os.makedirs(f"{folder}/{point}")
    said = open(f"{folder}/{point}/said", "a", buffering=1)
    replica = Replica.open(f"{folder}/{point}/a.db", [Task], state_dir=f"{folder}/{point}/state")
    store, left = replica._state.store, [point]
    for name in ("put", "put_many", "put_rows", "delete_many", "delete_rows"):
        def wrapped(*args, call=getattr(store, name), **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        setattr(store, name, wrapped)
    act(replica, lambda word: said.write(word + "\\n"))
    replica.close()
    said.write("closed\\n")

for point in points:
    child = os.fork()
    if child == 0:
        run(point)
        os._exit(0)
    os.waitpid(child, 0)
"""
POINTS = [*range(1, 60, 3), 75, 90, 105, 120, 1000]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", DRIVER, str(folder), *map(str, POINTS)], check=True, timeout=300)
    return folder


def expected(said: list[str]) -> dict[str, Any]:
    """What those who heard the acknowledgements count on."""
    numbers = [word.partition(" ")[2] for word in said]
    return {
        "smalls": {word for word in said if word.startswith("small")},
        "notes": "".join(number for word, number in zip(said, numbers, strict=True) if word.startswith("note")),
        "titles": [f"big {number}" for word, number in zip(said, numbers, strict=True) if word.startswith("title")],
    }


@pytest.mark.parametrize("point", POINTS)
def test_nothing_acknowledged_is_lost(killed: Path, point: int) -> None:
    place = killed / str(point)
    said = (place / "said").read_text().split("\n")[:-1]
    wanted = expected(said)
    with Replica.open(place / "a.db", [Task], state_dir=place / "state") as replica:
        tasks = {task.title: task for task in replica.find(Task)}
        bigs = [task for title, task in tasks.items() if title.startswith("big")]
        assert wanted["smalls"] <= tasks.keys()
        if "big" in said:
            deleting = "title 2" in said and "restored" not in said and not bigs
            assert deleting or len(bigs) == 1
        for big in bigs:
            notes = str(big.notes).removeprefix(LARGE)
            assert notes.startswith(wanted["notes"])
            assert len(notes) <= len(wanted["notes"]) + 1
            if wanted["titles"]:
                assert big.title >= wanted["titles"][-1]
            smalls = sum(title.startswith("small") for title in tasks)
            assert int(big.votes) == smalls, "a transaction is there whole, or not at all"
            assert replica.find(Task, notes__contains=str(big.notes)[-5:], title=big.title) == [big]
            assert str(replica.find(Task, title=big.title)[0].notes) == str(big.notes)
        assert state_of(replica).identity is not None
        with memory(7, Task) as peer:
            assert exchange(replica, peer).proven_equal
            assert {task.title for task in peer.find(Task)} == tasks.keys()
            replica.create(Task, title="goes on")
            assert exchange(replica, peer).proven_equal


def test_the_points_reach_from_the_first_write_to_a_clean_end(killed: Path) -> None:
    said = {point: (killed / str(point) / "said").read_text() for point in POINTS}
    assert said[POINTS[0]] == ""
    assert said[POINTS[-1]].endswith("closed\n")
    assert len(set(said.values())) > 8


WRITER = """
import sys
from crdt_sync import Replica
from tests.unit.replica.devices import Task
replica = Replica.open(sys.argv[1], [Task], state_dir=sys.argv[2])
number = 0
while True:
    replica.create(Task, title=str(number))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("pause_s", [0.02, 0.1, 0.3])
def test_a_process_killed_from_outside_loses_nothing_it_said(tmp_path: Path, pause_s: float) -> None:
    store, state = tmp_path / "a.db", tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store), str(state)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    time.sleep(pause_s)
    os.kill(process.pid, signal.SIGKILL)
    said = ["0", *process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    with Replica.open(store, [Task], state_dir=state) as replica:
        titles = {task.title for task in replica.find(Task)}
        assert titles >= set(said)
        assert len(titles) <= len(said) + 1
