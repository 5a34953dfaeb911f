"""What the random histories are about: models with random ids and one with a natural key, with every kind of field.

No `from __future__ import annotations`: under it a linter would take the quotes of `Ref["Task"]` for needless.
"""

from typing import Annotated, Any

from crdt_sync.core.kinds import Counter, List, Map, Set, Text, ask, first, max_, min_
from crdt_sync.core.model import Model
from crdt_sync.core.reference import Ref


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


class Page(Model, key=("slug",)):
    """Two devices that create the same slug create one record."""

    slug: str
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


class Draft(Task, on_edit_after_delete="delete_wins"):
    """Is gone as soon as anybody deletes it."""


class Idea(Task, on_edit_after_delete="ask"):
    """Asks where it is deleted and edited at once."""


MODELS: tuple[type[Task | Page], ...] = (Task, Page, Draft, Idea)
POLICIES: tuple[type[Task], ...] = (Task, Draft, Idea)
"""A model for each thing that may become of an edit made at once with a deletion."""
PLAIN = ("title", "done", "parent")
ASKING = ("due", "owner")
REGISTERS = (*PLAIN, *ASKING)
LATTICES = ("leader", "best", "least")
KEYS = ("a", "b/c")
MAPS = ("prefs", "days")
ENTRIES = tuple(f"{name}/{key}" for name in MAPS for key in KEYS)
"""The registers of the maps' entries."""
ASKING_ENTRIES = tuple(f"days/{key}" for key in KEYS)

DEFAULTS: dict[str, Any] = {
    "title": "",
    "done": False,
    "parent": None,
    "due": None,
    "owner": "nobody",
    "slug": None,
    **dict.fromkeys((*LATTICES, *ENTRIES)),
}
VALUES: dict[str, tuple[Any, ...]] = {
    "title": ("a", "b", "c"),
    "done": (True, False),
    "due": (1, 2, 3, None),
    "owner": ("ann", "bob", "cem"),
    "parent": (
        Ref["Task"](f"01970000-0000-7000-8000-{0:012x}"),
        Ref["Task"](f"01970000-0000-7000-8000-{1:012x}"),
        None,
    ),
}
"""Few values, so that concurrent writes are often equal."""

ELEMENTS = ("red", "b" * 180)
"""The last one is longer than a key may be."""

SLUGS = ("home", "about")

GIVEN: dict[str, tuple[Any, ...]] = {"leader": ("ann", "bob"), "best": (1, 2, 3), "least": (1, 2, 3)}
"""What semilattices are given."""
