"""Undo beside what others removed at the same time: it never brings that back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from crdt_sync import List, Map, Model, Replica, Set
from crdt_sync.core.inverting import OTHERS_WROTE
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory


class Recipe(Model):
    title: str = ""
    steps: List[str]
    tags: Set[str]
    prefs: Map[str, int]


Act = Callable[[Recipe], object]


@pytest.fixture
def two() -> Iterator[tuple[Replica, Replica]]:
    with memory(1, Recipe) as one, memory(2, Recipe, dice=Dice(2, now_ms=START_MS + 50)) as other:
        made = one.create(Recipe, steps=["s1", "s2"], tags=["a", "b"], prefs={"k": 1, "l": 1})
        made.title = "made"
        exchange(one, other)
        yield one, other


def remove_step(recipe: Recipe) -> None:
    del recipe.steps[0]


def remove_tag(recipe: Recipe) -> None:
    recipe.tags.discard("a")


def remove_key(recipe: Recipe) -> None:
    del recipe.prefs["k"]


def set_step(recipe: Recipe) -> None:
    recipe.steps[0] = "mine"


def set_key(recipe: Recipe) -> None:
    recipe.prefs["k"] = 2


def move_step(recipe: Recipe) -> None:
    recipe.steps.move(0, 1)


@pytest.mark.parametrize("is_settled_first", [False, True])
@pytest.mark.parametrize(
    ("mine", "theirs", "field"),
    [
        (remove_step, remove_step, "steps"),
        (set_step, remove_step, "steps"),
        (move_step, remove_step, "steps"),
        (remove_tag, remove_tag, "tags"),
        (remove_key, remove_key, "prefs"),
        (set_key, remove_key, "prefs"),
    ],
)
def test_what_others_removed_too_is_not_brought_back(
    two: tuple[Replica, Replica], mine: Act, theirs: Act, field: str, *, is_settled_first: bool
) -> None:
    one, other = two
    recipe, there = one.find(Recipe)[0], other.find(Recipe)[0]
    if is_settled_first:  # it stands alone in the log
        for replica in two:
            exchange(one, other)
            replica.compact()
    mine(recipe)
    theirs(there)
    exchange(one, other)
    before = recipe.model_dump()
    report = one.undo()
    assert report is not None
    assert (report.done, [(item.field, item.reason) for item in report.skipped]) == ((), [(field, OTHERS_WROTE)])
    exchange(one, other)
    assert recipe.model_dump() == there.model_dump() == before


def test_what_others_removed_beside_it_is_no_hindrance(two: tuple[Replica, Replica]) -> None:
    one, other = two
    recipe, there = one.find(Recipe)[0], other.find(Recipe)[0]
    with one.transaction():
        del recipe.steps[1], recipe.prefs["l"]
        recipe.tags.discard("b")
    for act in (remove_step, remove_tag, remove_key):
        act(there)
    exchange(one, other)
    report = one.undo()
    assert report is not None
    assert report.skipped == ()
    assert (list(recipe.steps), set(recipe.tags), dict(recipe.prefs)) == (["s2"], {"b"}, {"l": 1})
