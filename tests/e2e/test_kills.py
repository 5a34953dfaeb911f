"""kill -9 of a hub and devices behind a bad network, in small; and that its checker sees what was lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.e2e.kills import Run
from tests.e2e.told import Diary, Held, Item, Owner, Write, look, problems_of, read_diary


@pytest.mark.slow
async def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    outcome = await Run(tmp_path, kills=8, devices=2, seed=7, tell=lambda line: None).run()
    assert outcome.problems == []
    assert outcome.kills >= 8
    assert outcome.saved > 10


@pytest.fixture
def told(tmp_path: Path) -> Path:
    path = tmp_path / "one.jsonl"
    diary = Diary(path)
    for token, what, record in (("t", "create", "r"), ("u", "tag", "r"), ("v", "vote", "r"), ("w", "pair", "r")):
        diary.note(said="try", token=token, what=what, record=record)
        diary.note(said="saved", token=token, record=record, made="", operations=["1"])
    diary.note(said="completed", token="u")
    diary.note(said="held", token="u", by=["somebody"])
    diary.note(said="try", token="x", what="note", record="r")
    diary.close()
    with path.open("a") as file:
        file.write('{"said": "saved", "tok')  # killed amid the line
    return path


FULL = Held(
    titles={"t": "r", "w+": "s"},
    tags={"u": "r", "w": "r"},
    notes={},
    votes={"r": 1, "s": 0},
    states={"r": frozenset()},
    fingerprint="",
    conflicts=frozenset(),
    device_id="",
)


def test_a_diary_says_what_was_relied_on(told: Path) -> None:
    writes = read_diary(told)
    assert {token: (write.saved, write.completed) for token, write in writes.items()} == {
        "t": (True, False),
        "u": (True, True),
        "v": (True, False),
        "w": (True, False),
        "x": (False, False),
    }
    assert writes["u"].held_by == {"somebody"}
    assert read_diary(told.with_name("none")) == {}


def test_a_store_that_has_everything_has_no_problem(told: Path) -> None:
    writes = read_diary(told)
    assert problems_of(FULL, [Owner(name="one", writes=writes)], name="hub") == []
    with_unsaid = replace(FULL, notes={"x": "r"})
    assert problems_of(with_unsaid, [Owner(name="one", writes=writes)], name="hub") == []


@pytest.mark.parametrize(
    ("held", "problem", "after_loss"),
    [
        (replace(FULL, titles={"w+": "s"}), "lacks create t", False),
        (replace(FULL, tags={"w": "r"}), "lacks tag u, which one was told is completed", True),
        (replace(FULL, tags={"u": "other", "w": "r"}), "lacks tag u", True),
        (replace(FULL, votes={"r": 0}), "counts 0 votes", False),
        (replace(FULL, votes={"r": 2}), "counts 2 votes", True),
        (replace(FULL, titles={"t": "r"}), "a part of the transaction w", True),
        (replace(FULL, notes={"y": "r"}), "shows y, which nobody wrote", True),
    ],
    ids=["saved", "completed", "elsewhere", "vote lost", "vote twice", "half", "invented"],
)
def test_the_checker_sees(told: Path, held: Held, problem: str, after_loss: bool) -> None:
    """What was only saved may go with its store; what was completed may not, and nothing may be there in part."""
    owner = Owner(name="one", writes=read_diary(told))
    (found,) = problems_of(held, [owner], name="hub")
    assert problem in found
    owner.destroyed = True
    assert [problem in each for each in problems_of(held, [owner], name="hub")] == ([True] if after_loss else [])


def test_a_look_at_a_store_finds_every_kind_of_write(tmp_path: Path) -> None:
    with Replica.open(":memory:", [Item]) as replica:
        item = replica.create(Item, title="t")
        item.tags.add("u")
        item.notes.append("x y ")
        item.votes.increment()
        held = look(replica)
        assert (held.titles, held.tags, held.notes) == ({"t": item.id}, {"u": item.id}, {"x": item.id, "y": item.id})
        assert held.votes == {item.id: 1}
        assert held.states == {item.id: frozenset()}
        item.state = "z"
        assert look(replica).states == {item.id: frozenset({"z"})}


def stated(*tokens: str, record: str = "r") -> Owner:
    writes = {token: Write(token=token, what="state", record=record, saved=True) for token in tokens}
    return Owner(name="one", writes=writes)


@pytest.mark.parametrize(
    ("written", "shown", "problem"),
    [
        (("a",), {"a"}, None),
        (("a", "b"), {"a", "b"}, None),
        (("a", "b"), {"b"}, None),
        (("a",), set(), "lacks state a"),
        (("a", "b"), set(), "lacks state"),
        ((), {"a"}, "shows"),
    ],
    ids=["one", "clash", "settled", "lost", "all lost", "invented"],
)
def test_the_checker_sees_what_a_field_that_asks_lost(
    written: tuple[str, ...], shown: set[str], problem: str | None
) -> None:
    held = replace(FULL, titles={}, tags={}, votes={"r": 0}, states={"r": frozenset(shown)})
    found = problems_of(held, [stated(*written)], name="hub")
    assert all(problem is not None and problem in each for each in found)
    assert bool(found) == (problem is not None)
