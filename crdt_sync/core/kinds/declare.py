"""From a declaration to a field kind: the one place that knows all kinds."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from crdt_sync.core.kinds.ask import AskRegister
from crdt_sync.core.kinds.base import FieldKind
from crdt_sync.core.kinds.counter import Counter, CounterKind
from crdt_sync.core.kinds.lattice import First, Greatest, Lattice, Least
from crdt_sync.core.kinds.list import List, ListKind
from crdt_sync.core.kinds.map import Map, MapKind
from crdt_sync.core.kinds.merge_with import MergeFunction, MergeWithRegister
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.kinds.set import Set, SetKind
from crdt_sync.core.kinds.text import Text, TextKind
from crdt_sync.core.kinds.three_way import ThreeWayRegister
from crdt_sync.core.layout import check_field_name
from crdt_sync.errors import MalformedEntryError, SchemaError


class KindMarker:
    """Marks a field with the register that a field function declares."""

    def __init__(self, kind: type[PlainRegister]) -> None:
        self.kind = kind

    def register(self, name: str, info: FieldInfo) -> PlainRegister:
        """The kind of the field."""
        return self.kind(name, info)


class MergeMarker(KindMarker):
    """Marks a field with the app's merge function."""

    def __init__(self, function: MergeFunction) -> None:
        super().__init__(MergeWithRegister)
        self.function = function

    def register(self, name: str, info: FieldInfo) -> PlainRegister:
        return MergeWithRegister(name, info, self.function)


class FirstName:
    """Marks a field that was renamed with the name that it had first."""

    def __init__(self, name: str) -> None:
        self.name = name


def field(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field of any kind that had another name before.

    Takes the arguments of pydantic's `Field`, as in ``heading: str = field(default="", renamed_from="title")``.
    ``renamed_from``, which all field functions take, is the first name that
    the field had, however often it was renamed: documents keep that name, so older and newer versions of the app read
    and write the same field, and nothing is moved.
    """
    return _marked(None, args, kwargs, renamed_from=renamed_from)


def ask(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field whose concurrent values, where they differ, are a conflict that a person settles.

    Takes the arguments of `field`; the latest value is shown until then.
    """
    return _marked(KindMarker(AskRegister), args, kwargs, renamed_from=renamed_from)


def three_way(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field whose concurrent values merge against their common ancestor.

    Dicts and lists merge by path, texts by line, any other value whole; only where changes overlap it is a conflict.
    Takes the arguments of `field`.
    """
    return _marked(KindMarker(ThreeWayRegister), args, kwargs, renamed_from=renamed_from)


def merge_with(function: MergeFunction, /, *args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field whose concurrent values a function of the app merges.

    The function takes the common ancestor (`UNKNOWN` where it is not kept) and the list of concurrent values, and gives
    the value that is shown, or `ASK` to have a person choose. It must be pure, indifferent to their order, and the same
    on every device: change the model's ``version`` with it. What follows it are the arguments of `field`.

    Raises:
        SchemaError: it cannot be called.
    """
    if not callable(function):
        raise SchemaError("merge_with takes a function first", hint="Write `state: str = merge_with(choose)`.")
    return _marked(MergeMarker(function), args, kwargs, renamed_from=renamed_from)


def first(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field that keeps the first value that it is given; of several at once, the earliest.

    Takes the arguments of `field`. None is no value; a default that is not None is one.
    """
    return _marked(KindMarker(First), args, kwargs, renamed_from=renamed_from)


def max_(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field that keeps the greatest value that it is ever given; takes the arguments of `field`.

    Assigning a smaller value changes nothing.
    """
    return _marked(KindMarker(Greatest), args, kwargs, renamed_from=renamed_from)


def min_(*args: Any, renamed_from: str | None = None, **kwargs: Any) -> Any:
    """Declare a field that keeps the least value that it is ever given; takes the arguments of `field`.

    Assigning a greater value changes nothing.
    """
    return _marked(KindMarker(Least), args, kwargs, renamed_from=renamed_from)


def _marked(
    marker: KindMarker | None, args: tuple[Any, ...], kwargs: dict[str, Any], *, renamed_from: str | None
) -> Any:
    info: FieldInfo = Field(*args, **kwargs)
    if marker is not None:
        info.metadata.append(marker)
    if renamed_from is not None:
        info.metadata.append(FirstName(renamed_from))
    return info


def holds_live_kind(annotation: Any) -> bool:
    """Whether a Text, Counter, Set, List or Map stands inside of another type, where it could not merge as such."""
    return any(_is_live_kind(argument) or holds_live_kind(argument) for argument in get_args(annotation))


def _is_live_kind(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in (Text, Counter, Set, List, Map)


def kind_of(name: str, info: FieldInfo) -> FieldKind:
    """The kind of a declared field.

    Raises:
        SchemaError: it cannot merge values of this type, or its first name is none.
    """
    kind = _kind_of(name, info)
    for marker in info.metadata:
        if isinstance(marker, FirstName):
            try:
                check_field_name(marker.name)
            except (MalformedEntryError, AttributeError):
                raise SchemaError(f"field {name!r}: renamed_from= takes the first name that the field had") from None
            kind.stored = marker.name
    return kind


def _kind_of(name: str, info: FieldInfo) -> FieldKind:
    annotation: Any = info.annotation
    if annotation is Text:
        return TextKind(name)
    if annotation is Counter:
        return CounterKind(name)
    if (get_origin(annotation) or annotation) is Set:
        arguments = get_args(annotation)
        return SetKind(name, arguments[0] if arguments else Any)
    if (get_origin(annotation) or annotation) is List:
        return ListKind(name, _element(name, annotation, at=0))
    if (get_origin(annotation) or annotation) is Map:
        if (get_args(annotation) or (str,))[0] is not str:
            raise SchemaError(f"field {name!r}: the keys of a Map are texts: write Map[str, …]")
        return MapKind(name, _element(name, annotation, at=1))
    return register_of(name, info)


def _element(name: str, annotation: Any, *, at: int) -> PlainRegister:
    """What one element of a list or entry of a map is."""
    arguments = get_args(annotation)
    info = FieldInfo.from_annotation(arguments[at] if arguments else Any)
    register = register_of(name, info)
    if any(isinstance(marker, FirstName) for marker in info.metadata):
        raise SchemaError(f"field {name!r}: renamed_from= belongs to the field, not to what is in it")
    if at == 0 and type(register) is not PlainRegister:
        raise SchemaError(f"field {name!r}: the elements of a List are plain values, without a field function")
    if isinstance(register, Lattice):
        raise SchemaError(f"field {name!r}: the values of a Map are plain, or ask, three_way or merge_with")
    return register


def register_of(name: str, info: FieldInfo) -> PlainRegister:
    """The register of a declared value.

    Raises:
        SchemaError: two field functions, or one that cannot merge values of this type.
    """
    markers = [item for item in info.metadata if isinstance(item, KindMarker)]
    if len(markers) > 1:
        raise SchemaError(f"field {name!r}: it is declared with two field functions")
    return markers[0].register(name, info) if markers else PlainRegister(name, info)
