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
    assert outcome.hub_kills > 0
    assert outcome.saved > 10
    assert outcome.completed > 0
    assert outcome.looked_up_at_kills > 0
    assert outcome.held_looked_up > 0


@pytest.fixture
def told(tmp_path: Path) -> Path:
    path = tmp_path / "one.jsonl"
    diary = Diary(path)
    for token, what, record in (("t", "create", "r"), ("u", "tag", "r"), ("v", "vote", "r"), ("w", "pair", "r")):
        diary.note(said="try", token=token, what=what, record=record)
        diary.note(said="saved", token=token, record=record, made="", operations=["1"])
    diary.note(said="completed", token="u")
    diary.note(said="held", token="u", by=["somebody"], places=[["", 1, 2]])
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
    assert writes["u"].held_by == {"somebody": {("", 1, 2)}}
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


def state(token: str, *over: str, owed: bool = True) -> Write:
    """A write to the field that asks, which saw ``over`` there; only tried, where it is not owed."""
    return Write(token=token, what="state", record="r", over=frozenset(over), saved=owed, completed=owed)


@pytest.mark.parametrize(
    ("written", "shown", "problem"),
    [
        ([[state("a")]], {"a"}, None),
        ([[state("a")], [state("b")]], {"a", "b"}, None),
        ([[state("a")], [state("b")], [state("c", "a", "b")]], {"c"}, None),
        ([[state("a"), state("b", "a")], [state("c", "a", owed=False)]], {"b", "c"}, None),
        ([[state("a")], [state("b", "a", owed=False)]], {"b"}, None),
        ([[state("a")], [state("b", "a", owed=False), state("c", "b", owed=False)]], {"c"}, None),
        ([[state("a")], [state("b", "a", owed=False)]], {"a"}, None),
        ([[state("a")]], set(), "lacks state a"),
        ([[state("a")], [state("b")]], set(), "lacks state"),
        ([[state("a")], [state("b")]], {"b"}, "lacks state a"),
        ([[state("a"), state("b", "a"), state("c", "b")]], {"a"}, "state"),
        ([[state("a"), state("b", "a")]], {"a", "b"}, "shows state a, which was replaced"),
        ([[state("a")], [state("b", "a")]], {"a", "b"}, "shows state a, which was replaced"),
        ([[state("a")], [state("z", owed=False)]], {"z"}, "lacks state a"),
        ([[]], {"a"}, "shows"),
    ],
    ids=[
        *("one", "clash", "settled", "clash with the latest", "by one who was killed", "by two", "not by one who was"),
        *("lost", "all lost", "one of a clash lost", "put back", "back beside it", "back", "by one who did not see it"),
        "invented",
    ],
)
def test_the_checker_sees_what_a_field_that_asks_lost(
    written: list[list[Write]], shown: set[str], problem: str | None
) -> None:
    """A value goes by a write that saw it, or by a later one of the same device, and by nothing else."""
    owners = [Owner(name=str(at), writes={each.token: each for each in some}) for at, some in enumerate(written)]
    held = replace(FULL, titles={}, tags={}, votes={"r": 0}, states={"r": frozenset(shown)})
    found = problems_of(held, owners, name="hub")
    assert all(problem is not None and problem in each for each in found)
    assert bool(found) == (problem is not None)
