"""Three versions of one app, which devices run at once: fields are renamed, added and removed, and models come and go.

No `from __future__ import annotations`, as in `models.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import create_model

from crdt_sync.core.kinds import Counter, List, Map, Set, Text, ask, field, first, max_, merge_with, three_way
from crdt_sync.core.model import Model
from tests.laws.models import HOMES, VALUES, add_up

TWINS: dict[str, Any] = {"unique": ("code",), "on_duplicate": "merge"}

OLD_FIELDS: dict[str, tuple[Any, Callable[..., Any], dict[str, Any]]] = {
    "code": (str | None, field, {"default": None}),
    "title": (str, field, {"default": ""}),
    "due": (int | None, ask, {"default": None}),
    "place": (dict[str, int], three_way, {"default_factory": dict}),
    "body": (str, three_way, {"default": ""}),
    "best": (int | None, max_, {"default": None}),
    "leader": (str | None, first, {"default": None}),
    "notes": (Text, field, {}),
    "votes": (Counter, field, {}),
    "tags": (Set[str], field, {}),
    "steps": (List[str], field, {}),
    "days": (Map[str, Annotated[int, ask()]], field, {}),
    "homes": (Map[str, Annotated[dict[str, int], three_way()]], field, {}),
}
RENAMED = {"title": "heading", "due": "until", "place": "spot", "notes": "text", "tags": "labels", "days": "dates"}
"""Old name → name since version 2."""
ALIKE = tuple(name for name in OLD_FIELDS if name not in RENAMED)


def _item(*, renamed: bool) -> Any:
    """The model `Item`, with the names of the first version or the later ones."""
    fields: dict[str, Any] = {}
    for name, (kind, declare, default) in OLD_FIELDS.items():
        if renamed and name in RENAMED:
            fields[RENAMED[name]] = (kind, declare(**default, renamed_from=name))
        else:
            fields[name] = (kind, declare(**default))
    if renamed:
        fields["stage"] = (int, merge_with(add_up, default=0))
        fields["extra"] = (Set[str], ...)
    return create_model("Item", __base__=Model, __cls_kwargs__=TWINS | {"version": 2 if renamed else 1}, **fields)


OldItem: Any = _item(renamed=False)
NewItem: Any = _item(renamed=True)


class Page(Model, key=("slug",), on_edit_after_delete="ask"):
    """Two devices that create the same slug create one record; who deletes what another edits is asked."""

    slug: str
    title: str = ""
    due: int | None = ask(default=None)
    votes: Counter


class Draft(Model, on_edit_after_delete="delete_wins"):
    """Is gone as soon as anybody deletes it."""

    title: str = ""
    notes: Text


class Memo(Model, unique=("code",), on_duplicate="keep_both"):
    """Came with the third version."""

    code: str | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class App:
    """One version: its models by name."""

    models: dict[str, Any]

    def name(self, model: str, field_name: str) -> str | None:
        """What a field of the first version is called here; None where it is not there."""
        declared = self.models[model].__crdt_spec__.fields
        new = RENAMED.get(field_name, field_name) if self.models[model] is NewItem else field_name
        return new if new in declared else None


APPS = (
    App({"Item": OldItem, "Page": Page, "Draft": Draft}),
    App({"Item": NewItem, "Page": Page}),
    App({"Item": NewItem, "Draft": Draft, "Memo": Memo}),
)

SET: dict[str, tuple[Any, ...]] = {
    "title": VALUES["title"],
    "due": (1, 2, 3),
    "place": VALUES["place"],
    "body": VALUES["body"],
    "best": (1, 2, 3),
    "leader": ("ann", "bob"),
    "code": ("x", "y", None),
    "stage": VALUES["stage"],
}
"""What registers are given, by their first names."""
MAP_VALUES: dict[str, tuple[Any, ...]] = {"days": (1, 2, 3), "homes": HOMES}
