"""Field values on the command line and in JSON: `field=value` to Python values, and back without loss."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from crdt_sync.core import codec
from crdt_sync.core.kinds import CounterKind, FieldKind, ListKind, MapKind, SetKind, TextKind
from crdt_sync.core.kinds.app_type import first_reason, raised
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.errors import CRDTSyncError, InputError, InvalidValueError, MalformedEntryError

EXACT = "$value"
"""Key of a JSON object that holds value bytes as hex digits: what JSON and the declared type cannot give back."""

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:=|\+=|-=|=)(.*)", re.DOTALL)
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
_CONTAINERS = frozenset((list, dict, tuple, set, frozenset))
_ADAPTERS_CACHED = 1024
_NONE_SUCH = object()
_JSON_TYPES = (Any, str, bool, int, float, None, NoneType, list, dict)


class Operator(StrEnum):
    """What an assignment does to its field."""

    TEXT = "="
    JSON = ":="
    ADD = "+="
    REMOVE = "-="


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One `field=value` of the command line, taken apart and not understood yet."""

    field: str
    operator: Operator
    text: str


def parse_assignment(text: str) -> Assignment:
    """Take `field=value`, `field:=json`, `field+=value` or `field-=value` apart.

    Raises:
        InputError: it is none of them.
    """
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text.partition('=')[0]!r} is no assignment",
            hint="Write field=value, field:=json, field+=value or field-=value.",
        )
    return Assignment(field=match[1], operator=Operator(match[2]), text=match[3])


_TYPED_HINT = "Strings need double quotes: field:='\"text\"'."


def parse_json(text: str, *, what: str, hint: str = _TYPED_HINT) -> Any:
    """Read JSON as it stands in a standard: no NaN, no name twice in an object.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{what} is no JSON: {reason}", hint=hint) from None


def value_of_text(kind: FieldKind, text: str, *, model: str) -> Any:
    """The value that somebody means who types ``text`` for a field, in pydantic's lax mode.

    Lists, dicts and sets are written as JSON. Bytes are the text's UTF-8.

    Raises:
        InputError, InvalidValueError: it does not fit the field's type.
    """
    if text[:1] in ("[", "{") and takes_container(kind):
        return value_of_json(kind, parse_json(text, what=f"the value of {kind.name!r}"), model=model)
    return _validated(lambda: _text_adapter(kind).validate_python(text), kind=kind, model=model)


def value_of_json(kind: FieldKind, data: Any, *, model: str) -> Any:
    """The value of a field that JSON stands for; the inverse of `json_of_value`.

    Raises:
        InvalidValueError: it does not fit the field's type.
    """
    if _is_exact(data):
        return _as_declared(kind, _exactly(data, kind=kind, model=model))
    if isinstance(kind, SetKind) and isinstance(data, list) and any(map(_is_exact, data)):
        return _elements(kind, data, model=model)
    text = json.dumps(data)
    return _validated(lambda: _adapter(kind).validate_json(text), kind=kind, model=model)


def _is_exact(data: Any) -> bool:
    return isinstance(data, dict) and data.keys() == {EXACT}


def _exactly(data: dict[str, Any], *, kind: FieldKind, model: str) -> Any:
    """The value whose bytes JSON holds."""
    try:
        return codec.decode(bytes.fromhex(data[EXACT]))
    except (MalformedEntryError, ValueError, TypeError):
        raise InvalidValueError(f"{model}.{kind.name}: {EXACT} holds no value bytes", field=kind.name) from None


def _as_declared(kind: FieldKind, value: Any) -> Any:
    """A decoded value as the field's type has it, as far as it fits: enum members for what they are stored as."""
    match kind:
        case PlainRegister():
            return kind.convert(value)
        case ListKind() if isinstance(value, list):
            return [kind.element.convert(item) for item in value]
        case MapKind() if isinstance(value, dict):
            return {name: kind.entry.convert(item) for name, item in value.items()}
        case _:
            return value


def _elements(kind: SetKind, data: list[Any], *, model: str) -> set[Any]:
    """The elements of a set, some of which are given by their bytes."""
    adapter = _element_adapter(kind)

    def element(item: Any) -> Any:
        if not _is_exact(item):
            return adapter.validate_json(json.dumps(item))
        return adapter.validate_python(_exactly(item, kind=kind, model=model))

    elements = _validated(lambda: [element(item) for item in data], kind=kind, model=model)
    try:
        return set(elements)
    except TypeError:
        raise InvalidValueError(f"{model}.{kind.name}: an element must be hashable", field=kind.name) from None


def element_of_text(kind: SetKind | ListKind, text: str, *, model: str) -> Any:
    """One element of a set or list, as typed."""
    if isinstance(kind, ListKind):
        return value_of_text(kind.element, text, model=model)
    adapter: TypeAdapter[Any] = TypeAdapter(kind.element_type)
    return _validated(lambda: adapter.validate_python(text), kind=kind, model=model)


def held_element(kind: SetKind | ListKind, held: Iterable[Any], text: str, *, model: str) -> Any:
    """The element of a set or list that somebody types to take it out: one of the declared type, or else as shown.

    Raises:
        InputError, InvalidValueError: it does not fit the type, and nothing that is there is shown so.
    """
    present = list(held)
    shown = next((item for item in present if text in _forms(kind, item)), _NONE_SUCH)
    try:
        element = element_of_text(kind, text, model=model)
    except (InputError, InvalidValueError):
        if shown is _NONE_SUCH:
            raise
        return shown
    return element if element in present or shown is _NONE_SUCH else shown


def _forms(kind: FieldKind, element: Any) -> tuple[str, str]:
    """How an element is shown."""
    return str(element), json.dumps(_json_of(kind, element, _any_adapter()), ensure_ascii=False)


def json_of_value(kind: FieldKind, value: Any) -> Any:
    """A field's value as JSON from which `value_of_json` makes an equal value of the same type."""
    if isinstance(kind, SetKind):
        elements = [_json_of(kind, element, _element_adapter(kind)) for element in value]
        return sorted(elements, key=lambda item: json.dumps(item, sort_keys=True))
    return _json_of(kind, value, _adapter(kind))


def takes_container(kind: FieldKind) -> bool:
    """Whether a field holds lists, dicts or sets, whose values are typed as JSON."""
    if isinstance(kind, SetKind | ListKind | MapKind):
        return True
    return isinstance(kind, PlainRegister) and not _CONTAINERS.isdisjoint(_members(kind.info.annotation))


def _json_of(kind: FieldKind, value: Any, adapter: TypeAdapter[Any]) -> Any:
    if _is_json(value) and (_is_all_json(kind) or not _reads_otherwise(value, adapter)):
        return value
    dumped = _dumped(value, adapter)
    return {EXACT: codec.encode(value).hex()} if dumped is _NONE_SUCH else dumped


def _reads_otherwise(value: Any, adapter: TypeAdapter[Any]) -> bool:
    """Whether the field's type takes a value's JSON for another value: a text for bytes, or for a date."""
    try:
        back = adapter.validate_json(json.dumps(value))
    except Exception:  # noqa: BLE001  whatever an app's code raises: it does not take the value
        return False  # it is written as it is, so that a person sees what does not fit
    return type(back) is not type(value) or codec.encode(back) != codec.encode(value)


@lru_cache(maxsize=_ADAPTERS_CACHED)
def _is_all_json(kind: FieldKind) -> bool:
    """Whether JSON alone tells the types of the field's values apart."""
    return _names_json(_annotation(kind))


def _names_json(annotation: Any) -> bool:
    arguments = get_args(annotation)
    if not arguments:
        return annotation in _JSON_TYPES
    if get_origin(annotation) in (*_CONTAINERS, Union, UnionType):
        return all(map(_names_json, arguments))
    return False


def _dumped(value: Any, adapter: TypeAdapter[Any]) -> Any:
    """What pydantic makes of a value for JSON; `_NONE_SUCH` where it cannot, or would not read it back as it was."""
    try:
        dumped = adapter.dump_python(value, mode="json", warnings=False)
        back = adapter.validate_json(json.dumps(dumped, allow_nan=False))
        is_exact = type(back) is type(value) and codec.encode(back) == codec.encode(value)
    except Exception:  # noqa: BLE001  whatever an app's code raises: it does not give the value back
        return _NONE_SUCH
    is_taken = isinstance(dumped, dict) and dumped.keys() == {EXACT}
    return dumped if is_exact and not is_taken else _NONE_SUCH


def _is_json(value: Any) -> bool:
    """Whether JSON itself gives the value back equal and of the same type."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return value.keys() != {EXACT} and all(type(key) is str and _is_json(item) for key, item in value.items())
    return False


def _annotation(kind: FieldKind) -> Any:
    match kind:
        case TextKind():
            return str
        case CounterKind():
            return int
        case SetKind():
            return set[kind.element_type]  # type: ignore[name-defined]  # a type made at run time
        case ListKind():
            return list[kind.element.info.annotation]  # type: ignore[name-defined]  # as above
        case MapKind():
            return dict[str, kind.entry.info.annotation]  # type: ignore[name-defined]  # as above
        case PlainRegister():
            return kind.info.annotation
        case _:
            return Any


@lru_cache(maxsize=_ADAPTERS_CACHED)
def _adapter(kind: FieldKind) -> TypeAdapter[Any]:
    return _configured(_annotation(kind))


@lru_cache(maxsize=_ADAPTERS_CACHED)
def _text_adapter(kind: FieldKind) -> TypeAdapter[Any]:
    """Without our configuration, which takes every text of bytes for base64."""
    return TypeAdapter(_annotation(kind))


@lru_cache(maxsize=_ADAPTERS_CACHED)
def _element_adapter(kind: SetKind) -> TypeAdapter[Any]:
    return _configured(kind.element_type)


@lru_cache(maxsize=1)
def _any_adapter() -> TypeAdapter[Any]:
    return _configured(Any)


def _configured(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError:  # a type that brings a configuration of its own
        return TypeAdapter(annotation)


def _validated(validate: Callable[[], Any], *, kind: FieldKind, model: str) -> Any:
    try:
        return validate()
    except ValidationError as error:
        raise InvalidValueError(f"{model}.{kind.name}: {first_reason(error)}", field=kind.name) from None
    except CRDTSyncError:
        raise
    except Exception as error:
        raise InvalidValueError(f"{model}.{kind.name}: its type {raised(error)}", field=kind.name) from error


def _members(annotation: Any) -> frozenset[Any]:
    """The types that an annotation may hold, without their arguments."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in _CONTAINERS or not arguments:
        return frozenset((origin or annotation,))
    return frozenset().union(*(_members(argument) for argument in arguments if _is_type(argument)))


def _is_type(argument: Any) -> bool:
    return isinstance(argument, type) or get_origin(argument) is not None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not in JSON")


def _refuse_twice(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice in one object")
        found[name] = value
    return found
