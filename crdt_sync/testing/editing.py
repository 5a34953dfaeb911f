"""Edits of one record as values: made by strategies, printed by a failure, and done on a live record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdt_sync.core.model import Model
from crdt_sync.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of one field.

    Places in texts and lists are counted modulo what is there, so an edit fits whatever record it meets.

    Args:
        field: the field's name.
        do: ``set`` (any field but a counter), ``increment`` (a counter), ``add`` or ``discard`` (a set), ``insert``,
            ``delete`` or ``format`` (a text), ``insert``, ``put``, ``move`` or ``pop`` (a list), ``put`` or ``remove``
            (a map).
        arguments: what it takes, in the order of the field object's own method.
    """

    field: str
    do: str
    arguments: tuple[Any, ...] = ()

    def apply(self, record: Model) -> None:
        """Do it, as a local write of a live record.

        Raises:
            ModelError, RecordError: the record refuses it, as it would refuse its user; nothing was changed.
            InputError: no such edit.
        """
        if self.do == "set":
            setattr(record, self.field, self.arguments[0])
            return
        live = getattr(record, self.field)
        match (self.do, *self.arguments):
            case ("increment", step):
                live.increment(step)
            case ("add", element):
                live.add(element)
            case ("discard", element):
                live.discard(element)
            case ("insert", at, value):
                live.insert(at % (len(live) + 1), value)
            case ("remove", key):
                live.pop(key, None)
            case ("put", at, value):
                _put(live, at, value)
            case ("delete" | "format" | "pop" | "move", *_):
                if len(live):
                    self._within(live)
            case _:
                raise InputError(f"there is no edit {self.do!r} with {len(self.arguments)} arguments")

    def _within(self, live: Any) -> None:
        """What needs something to be there."""
        at = self.arguments[0] % len(live)
        match (self.do, *self.arguments[1:]):
            case ("delete", count):
                live.delete(at, min(count, len(live) - at))
            case ("format", count, attributes):
                live.format(at, min(count, len(live) - at), **attributes)
            case ("pop",):
                live.pop(at)
            case ("move", to):
                live.move(at, to % len(live))
            case _:
                raise InputError(f"there is no edit {self.do!r} with {len(self.arguments)} arguments")


def _put(live: Any, at: Any, value: Any) -> None:
    """Set an element of a list or an entry of a map."""
    if isinstance(at, str):
        live[at] = value
    elif len(live):
        live[at % len(live)] = value
