"""What the random histories are about: models with random ids and one with a natural key, with every kind of field.

No `from __future__ import annotations`: under it a linter would take the quotes of `Ref["Task"]` for needless.
"""

from typing import Annotated, Any

from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.kinds import ASK, Counter, List, Map, Set, Text, ask, first, max_, merge_with, min_, three_way
from crdt_sync.core.model import Model
from crdt_sync.core.reference import Ref

UNANSWERED = 8
"""A value for which `add_up` asks."""
MUDDLED = 7
"""A value for which its answer depends on the order in which it is given the values."""


def add_up(base: Any, candidates: list[int]) -> Any:
    """What all changes come to together, for fields that an app's own function merges."""
    if UNANSWERED in candidates:
        return ASK
    if MUDDLED in candidates:
        return candidates[0]
    return max(candidates) if base is UNKNOWN else base + sum(value - base for value in candidates)


class Task(Model):
    """Every creation makes another one."""

    title: str = ""
    done: bool = False
    due: int | None = ask(default=None)
    owner: str = ask(default="nobody")
    parent: Ref["Task"] | None = None
    leader: str | None = first(default=None)
    best: int | None = max_(default=None)
    least: int | None = min_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]
    place: dict[str, int] = three_way(default_factory=dict)
    plan: list[int] = three_way(default_factory=list)
    body: str = three_way(default="")
    stage: int = merge_with(add_up, default=0)
    homes: Map[str, Annotated[dict[str, int], three_way()]]
    ranks: Map[str, Annotated[int, merge_with(add_up)]]


class Page(Task, key=("slug",)):
    """Two devices that create the same slug create one record."""

    slug: str


class Draft(Task, on_edit_after_delete="delete_wins"):
    """Is gone as soon as anybody deletes it."""


class Idea(Task, on_edit_after_delete="ask"):
    """Asks where it is deleted and edited at once."""


MODELS: tuple[type[Task], ...] = (Task, Page, Draft, Idea)
POLICIES: tuple[type[Task], ...] = (Task, Draft, Idea)
"""A model for each thing that may become of an edit made at once with a deletion."""
PLAIN = ("title", "done", "parent")
MERGED = ("place", "plan", "body")
ASKING = ("due", "owner")
REGISTERS = (*PLAIN, *ASKING, *MERGED, "stage")
LATTICES = ("leader", "best", "least")
KEYS = ("a", "b/c")
MAPS = ("prefs", "days", "homes", "ranks")
ENTRIES = tuple(f"{name}/{key}" for name in MAPS for key in KEYS)
"""The registers of the maps' entries."""


def entries_of(name: str) -> tuple[str, ...]:
    """The registers of one map's entries."""
    return tuple(f"{name}/{key}" for key in KEYS)


DEFAULTS: dict[str, Any] = {
    "title": "",
    "done": False,
    "parent": None,
    "due": None,
    "owner": "nobody",
    "place": {},
    "plan": [],
    "body": "",
    "stage": 0,
    "slug": None,
    **dict.fromkeys((*LATTICES, *ENTRIES)),
}
VALUES: dict[str, tuple[Any, ...]] = {
    "title": ("a", "b", "c"),
    "done": (True, False),
    "due": (1, 2, 3, None),
    "owner": ("ann", "bob", "cem"),
    "place": ({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1}, {"a": 2, "b": 2}, {}),
    "plan": ([1, 2], [1, 2, 3], [2, 1], [0, 1, 2]),
    "body": ("one\ntwo\nthree", "ONE\ntwo\nthree", "one\ntwo\nTHREE\nfour", "two"),
    "stage": (1, 2, MUDDLED, UNANSWERED),
    "parent": (
        Ref["Task"](f"01970000-0000-7000-8000-{0:012x}"),
        Ref["Task"](f"01970000-0000-7000-8000-{1:012x}"),
        None,
    ),
}
"""Few values, so that concurrent writes are often equal."""

HOMES: tuple[dict[str, int], ...] = ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 2})


def entry_value(name: str, number: int) -> Any:
    """What is put into an entry of a map where a history says 1, 2 or 3."""
    return HOMES[number - 1] if name == "homes" else number


ELEMENTS = ("red", "b" * 180)
"""The last one is longer than a key may be."""

SLUGS = ("home", "about")

GIVEN: dict[str, tuple[Any, ...]] = {"leader": ("ann", "bob"), "best": (1, 2, 3), "least": (1, 2, 3)}
"""What semilattices are given."""
