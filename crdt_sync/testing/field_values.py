"""What the fields of an app's models can hold, as Hypothesis strategies: by kind, type and constraints.

Hypothesis knows the types and the constraints of `annotated_types`, into which pydantic turns its own; patterns are
taken from pydantic. Whatever else a declaration asks for is asked of the declaration: what it refuses is not drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from annotated_types import GroupedMetadata
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from pydantic.fields import FieldInfo

from crdt_sync.core.checks import checked_instance
from crdt_sync.core.kinds import CounterKind, FieldKind, ListKind, MapKind, PlainRegister, SetKind, TextKind
from crdt_sync.core.kinds.three_way import ThreeWayRegister
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.core.reference import Ref
from crdt_sync.errors import CRDTSyncError, InputError, SchemaError
from crdt_sync.testing.arguments import checked_by_name, checked_models

T = TypeVar("T")
Values = st.SearchStrategy[Any]

ELEMENTS_MAX = 3
"""Elements that a first value of a set, list or map has."""
TEXT_CHARS_MAX = 8
KEYS = ("a", "b")
"""Keys of maps: few, so that devices write the same one."""
STEP_MAX = 3
NUMBER_MAX = 100
"""Of decimals with so many places."""
IDS = tuple(f"01970000-0000-7000-8000-{device:04x}{number:08x}" for device in (0, 1) for number in (1, 2))
"""To what references lead: the first records that replicas of a history make, and others that are not there."""
_LINES = st.lists(st.sampled_from(("a", "b", "c")), max_size=4).map("\n".join)
_ANY = st.none() | st.booleans() | st.integers() | st.text(max_size=TEXT_CHARS_MAX)


def by_model(models: Sequence[type[Model]], values: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """From ``"Model.field"`` → value to model → field → value.

    Raises:
        InputError: a name that is none of these models' fields, or what is no list of models.
    """
    checked_models(models)
    checked_by_name(values, what="what is given by field")
    found: dict[str, dict[str, T]] = {}
    fields = {spec_of(model).name: spec_of(model).fields for model in models}
    for name, value in values.items():
        model, _, field = name.partition(".")
        if field not in fields.get(model, {}):
            raise InputError(f"{name!r} is no field of these models", hint="Name it as in 'Task.state'.")
        found.setdefault(model, {})[field] = value
    return found


def texts() -> st.SearchStrategy[str]:
    """Short texts, also with characters beyond the basic plane."""
    return st.text(max_size=TEXT_CHARS_MAX)


def steps() -> st.SearchStrategy[int]:
    """What a counter is incremented by."""
    return st.integers(-STEP_MAX, STEP_MAX)


def values_of(kind: FieldKind, *, model: str = "") -> Values:
    """What a field may be given, as `replica.create` takes it.

    Raises:
        SchemaError: Hypothesis knows no values of the type; it names model and field.
    """
    match kind:
        case PlainRegister():
            return register_values(kind, model=model)
        case TextKind():
            return texts()
        case CounterKind():
            return steps()
        case SetKind():
            return st.lists(element_values(kind, model=model), max_size=ELEMENTS_MAX)
        case ListKind():
            return st.lists(register_values(kind.element, model=model), max_size=ELEMENTS_MAX)
        case MapKind():
            return st.dictionaries(
                st.sampled_from(KEYS), register_values(kind.entry, model=model), max_size=ELEMENTS_MAX
            )
        case _:
            raise SchemaError(f"model {model!r}, field {kind.name!r}: nothing is known of this kind")


def register_values(kind: PlainRegister, *, model: str = "") -> Values:
    """What a register may be given."""
    found = _declared(kind.info)
    if isinstance(kind, ThreeWayRegister) and kind.info.annotation is str:
        found = _LINES | found
    return _checked(found, kind.check, field=kind.name, model=model)


def element_values(kind: SetKind, *, model: str = "") -> Values:
    """What may be in a set."""
    found = _declared(FieldInfo.from_annotation(kind.element_type))
    return _checked(found, kind.check_element, field=kind.name, model=model)


def pooled(values: Values, *, name: Hashable) -> Values:
    """One of two values, which are drawn once for each example: so that records clash by them."""
    return st.integers(0, 1).flatmap(lambda number: st.shared(values, key=(name, number)))


def given(spec: ModelSpec, values: Mapping[str, Values]) -> dict[str, Values]:
    """What each field of a model may be given; those of natural keys and unique ones are often equal.

    Args:
        spec: of the model.
        values: the app's own strategies, by field.

    Raises:
        SchemaError: one is for a field that is not there, or of a field nothing is known.
    """
    strays = sorted(values.keys() - spec.fields.keys())
    if strays:
        raise SchemaError(f"model {spec.name!r} has no field {strays[0]!r}", hint="Name strategies by their fields.")
    for name, strategy in values.items():
        hint = "Write st.just(5), for example."
        checked_instance(strategy, st.SearchStrategy, what=f"what {name!r} is drawn from", hint=hint)
    found = {
        name: values[name] if name in values else values_of(kind, model=spec.name) for name, kind in spec.fields.items()
    }
    return {
        name: pooled(item, name=(spec.name, name)) if name in (*spec.key, *spec.unique) else item
        for name, item in found.items()
    }


def _checked(found: Values, check: Callable[[Any], Any], *, field: str, model: str) -> Values:
    """What a declaration takes."""

    def taken(value: Any) -> bool:
        try:
            check(value)
        except CRDTSyncError:
            return False
        return True

    kept = found.filter(taken)
    try:
        kept.validate()
    except (HypothesisException, TypeError) as error:
        raise SchemaError(
            f"model {model!r}, field {field!r}: Hypothesis makes no values of its type: {error}",
            hint=f"Give values={{{field!r}: …}}, a Hypothesis strategy.",
        ) from None
    return kept


def _declared(info: FieldInfo) -> Values:
    """Values of a type with its constraints."""
    return _of_type(info.annotation, tuple(info.metadata))


def _of_type(annotation: Any, metadata: tuple[Any, ...] = ()) -> Values:
    """Values of a type: what pydantic knows and Hypothesis does not is seen to here, the rest is Hypothesis' own."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        info = FieldInfo.from_annotation(annotation)
        return _of_type(info.annotation, (*info.metadata, *metadata))
    if origin in (Union, UnionType):
        members = [_of_type(item, () if item is type(None) else metadata) for item in arguments]
        return st.one_of(members)
    if isinstance(annotation, type) and issubclass(annotation, Ref):
        return st.sampled_from(IDS).map(annotation) if annotation.model else st.nothing()
    if annotation in (Any, object):
        return _ANY
    return _constrained(annotation, metadata) if metadata else _free(annotation, origin, arguments)


def _constrained(annotation: Any, metadata: tuple[Any, ...]) -> Values:
    """Values of a type within constraints: patterns and digits are pydantic's own, the others Hypothesis knows."""
    pattern = next((found for item in metadata if (found := getattr(item, "pattern", None))), None)
    if pattern is not None and annotation is str:
        return st.from_regex(pattern if isinstance(pattern, re.Pattern) else re.compile(pattern, re.ASCII))
    places = next((found for item in metadata if (found := getattr(item, "decimal_places", None)) is not None), None)
    if annotation is Decimal and places is not None:
        return st.decimals(-NUMBER_MAX, NUMBER_MAX, places=places)
    each = [part for item in metadata for part in (item if isinstance(item, GroupedMetadata) else (item,))]
    known = [item for item in each if type(item).__module__ == GroupedMetadata.__module__]
    constrained: Any = Annotated[annotation, *known] if known else annotation
    return st.from_type(constrained)


def _free(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Values:
    """Values of a type without constraints."""
    if annotation is str:
        return texts()
    if annotation in (dict, list):
        arguments = (str, Any) if annotation is dict else (Any,)
    if list in (annotation, origin):
        return st.lists(_of_type(arguments[0]), max_size=ELEMENTS_MAX)
    if dict in (annotation, origin) and arguments[0] is str:
        return st.dictionaries(st.sampled_from(KEYS) | texts(), _of_type(arguments[1]), max_size=ELEMENTS_MAX)
    return st.from_type(annotation)
