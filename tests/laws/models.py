"""What the random histories are about: one model with random ids, one with a natural key, with every kind of field."""

from __future__ import annotations

from typing import Any

from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model


class Task(Model):
    """Every creation makes another one."""

    title: str = ""
    done: bool = False
    due: int | None = ask(default=None)
    owner: str = ask(default="nobody")
    notes: Text
    votes: Counter
    tags: Set[str]


class Page(Model, key=("slug",)):
    """Two devices that create the same slug create one record."""

    slug: str
    title: str = ""
    done: bool = False
    due: int | None = ask(default=None)
    owner: str = ask(default="nobody")
    notes: Text
    votes: Counter
    tags: Set[str]


MODELS: tuple[type[Task | Page], ...] = (Task, Page)
PLAIN = ("title", "done")
ASKING = ("due", "owner")
REGISTERS = (*PLAIN, *ASKING)
DEFAULTS: dict[str, Any] = {"title": "", "done": False, "due": None, "owner": "nobody", "slug": None}
VALUES: dict[str, tuple[Any, ...]] = {
    "title": ("a", "b", "c"),
    "done": (True, False),
    "due": (1, 2, 3, None),
    "owner": ("ann", "bob", "cem"),
}
"""Few values, so that concurrent writes are often equal."""

ELEMENTS = ("red", "b" * 180)
"""The last one is longer than a key may be."""

SLUGS = ("home", "about")
