"""From a declaration to a field kind: the one place that knows all kinds."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from crdt_sync.core.kinds.ask import AskRegister
from crdt_sync.core.kinds.base import FieldKind
from crdt_sync.core.kinds.counter import Counter, CounterKind
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.kinds.set import Set, SetKind
from crdt_sync.core.kinds.text import Text, TextKind


class AskMarker:
    """Marks a field declared with `ask`."""


def ask(*args: Any, **kwargs: Any) -> Any:
    """Declare a field whose concurrent values, where they differ, are a conflict that a person settles.

    Takes the arguments of pydantic's `Field`; the latest value is shown until then.
    """
    info: FieldInfo = Field(*args, **kwargs)
    info.metadata.append(AskMarker())
    return info


def holds_live_kind(annotation: Any) -> bool:
    """Whether a Text, Counter or Set stands inside of another type, where it could not merge as such."""
    return any(_is_live_kind(argument) or holds_live_kind(argument) for argument in get_args(annotation))


def _is_live_kind(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in (Text, Counter, Set)


def kind_of(name: str, info: FieldInfo) -> FieldKind:
    """The kind of a declared field."""
    annotation: Any = info.annotation
    if annotation is Text:
        return TextKind(name)
    if annotation is Counter:
        return CounterKind(name)
    if (get_origin(annotation) or annotation) is Set:
        arguments = get_args(annotation)
        return SetKind(name, arguments[0] if arguments else Any)
    if any(isinstance(item, AskMarker) for item in info.metadata):
        return AskRegister(name, info)
    return PlainRegister(name, info)
