"""The declared models of an open replica, and how they stand in the store: tables to query, a description to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from time import perf_counter
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, split_document_key
from crdt_sync.core.kinds import (
    Counter,
    FieldKind,
    List,
    ListKind,
    Map,
    MapKind,
    MergeWithRegister,
    Set,
    SetKind,
    Text,
    TextKind,
    always_ask,
    ask,
    field,
    first,
    max_,
    merge_with,
    min_,
    three_way,
)
from crdt_sync.core.kinds.base import Clash
from crdt_sync.core.kinds.merge_with import no_clock
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.making import make_model
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.core.reference import Ref
from crdt_sync.core.upgrade import Upgrade, upgrades
from crdt_sync.errors import CorruptStoreError, SchemaError, UnknownModelError
from crdt_sync.replica.shield import Shield
from crdt_sync.storage.base import Column, View

OPEN = "open"
"""In a description: whether the model was open last time, so that its table was kept current."""

EQUALITY: Final = 1
"""By which form of equal values the store names unique ones; another number names them anew at the next open."""

UPGRADES = "upgrades"
"""In a description: that the app's own function reads older values, so that without the app others are shown."""

Row = tuple[Any, ...]

_UNREADABLE: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One declared model, prepared for use.

    Args:
        model: the class.
        spec: what it declares.
        text_fields: its Text fields, as documents name them.
        text_columns: its Text fields, as the model names them.
        all_fields: the names of all fields.
        names: how documents name a field → how the model does.
        view: its table.
        clashing: the fields that may clash, by name.
        upgrade: how values of older versions are read, where the model says so.
        shield: through it, whatever cannot be read stops nothing else.
    """

    model: type[Model]
    spec: ModelSpec
    text_fields: tuple[str, ...]
    text_columns: frozenset[str]
    all_fields: frozenset[str]
    names: Mapping[str, str]
    view: View
    clashing: Mapping[str, FieldKind]
    upgrade: Upgrade | None
    shield: Shield

    def values(self, content: Content) -> dict[str, Any]:
        """All fields of a record as plain values; what cannot be read is given as it is stored."""
        found = self.shield.call(partial(self._values, content), otherwise=None, what="")
        if found is None:
            found = {name: self.read(kind, content) for name, kind in self.spec.fields.items()}
        return found

    def _values(self, content: Content) -> dict[str, Any] | None:
        if self.upgrade is None:
            return {name: kind.read(content) for name, kind in self.spec.fields.items()}
        read = self.upgrade.read(content)
        return {name: read[name] if name in read else kind.read(content) for name, kind in self.spec.fields.items()}

    def read(self, kind: FieldKind, content: Content) -> Any:
        """One field of a record as a plain value; what cannot be read is given as it is stored."""
        found = self.shield.call(partial(self._read, kind, content), otherwise=_UNREADABLE, what=f"field {kind.name!r}")
        if found is not _UNREADABLE:
            return found
        stored = kind.stored_value
        return self.shield.call(partial(stored, content), otherwise=kind.empty(), what=f"stored field {kind.name!r}")

    def _read(self, kind: FieldKind, content: Content) -> Any:
        if self.upgrade is None or not kind.in_creation:
            return kind.read(content)
        return self.upgrade.read(content)[kind.name]

    def unreadable(self, kind: FieldKind, content: Content) -> str:
        """Why a field cannot be read; empty where it can."""
        return self.shield.failure(partial(self._read, kind, content))

    def clashes(self, kind: FieldKind, content: Content) -> list[Clash]:
        """The clashes of a field; none where they cannot be told."""
        return self.shield.call(partial(kind.clashes, content), otherwise=[], what=f"the conflicts of {kind.name!r}")

    def unique_values(self, content: Content) -> dict[str, Any]:
        """What the unique fields of a record show."""
        if self.upgrade is None:
            return {name: self.spec.fields[name].read(content) for name in self.spec.unique}
        read = self.upgrade.read(content)
        return {name: read[name] for name in self.spec.unique}

    def is_live(self, content: Content) -> bool:
        """Whether a record with this content is shown."""
        return content.is_live(self.spec.on_edit_after_delete)

    def row(self, key: DocumentKey, content: Content) -> Row:
        """The record's row in its table."""
        values = self.values(content)
        cells = self.shield.call(partial(self._cells, values), otherwise=None, what="")
        if cells is None:
            cells = [
                self.shield.call(partial(kind.to_column, values[name]), otherwise=None, what=f"the column {name!r}")
                for name, kind in self.spec.fields.items()
            ]
        return (split_document_key(key)[2], *cells)

    def _cells(self, values: Mapping[str, Any]) -> list[Any] | None:
        return [kind.to_column(values[name]) for name, kind in self.spec.fields.items()]


class Schema:
    """All models of an open replica."""

    def __init__(self, models: Iterable[type[Model]]) -> None:
        self._declared: dict[str, Declared] = {}
        lowered: dict[str, str] = {}
        for model in models:
            spec = spec_of(model)
            other = lowered.setdefault(spec.name.lower(), spec.name)
            if other != spec.name or spec.name in self._declared:
                raise SchemaError(f"two models are named {spec.name!r} (upper and lower case count as equal)")
            self._declared[spec.name] = _declared(model, spec)
            _time_merge_functions(spec)

    def __iter__(self) -> Iterator[Declared]:
        return iter(self._declared.values())

    def names(self) -> tuple[str, ...]:
        """The names of all models."""
        return tuple(self._declared)

    def get(self, name: str) -> Declared | None:
        """A model by name, or None where this app does not know it."""
        return self._declared.get(name)

    def of(self, model: type[Model] | str) -> Declared:
        """A model by class or name.

        Raises:
            UnknownModelError: the replica was not opened with it.
        """
        name = model if isinstance(model, str) else spec_of(model).name
        declared = self._declared.get(name)
        if declared is None or (not isinstance(model, str) and declared.model is not model):
            raise UnknownModelError(
                f"this replica was not opened with model {name!r}",
                hint=f"Its models: {', '.join(self._declared) or 'none'}. Pass the class in Replica.open(models=[…]).",
            )
        return declared

    def by_key(self, key: DocumentKey) -> Declared | None:
        """The model of a document, or None where this app does not know it."""
        return self._declared.get(split_document_key(key)[1])

    def describe(self) -> dict[str, Any]:
        """The declarations as plain data, so that tools can open the store without the app's code."""
        return {declared.spec.name: _describe(declared) for declared in self._declared.values()}


def _declared(model: type[Model], spec: ModelSpec) -> Declared:
    texts = [kind for kind in spec.fields.values() if isinstance(kind, TextKind)]
    return Declared(
        model=model,
        spec=spec,
        text_fields=tuple(kind.stored for kind in texts),
        text_columns=frozenset(kind.name for kind in texts),
        all_fields=frozenset(spec.fields),
        names={kind.stored: name for name, kind in spec.fields.items()},
        view=_view(spec),
        clashing={name: kind for name, kind in spec.fields.items() if type(kind).clashes is not FieldKind.clashes},
        upgrade=Upgrade(model) if upgrades(model) else None,
        shield=Shield(spec.name),
    )


def partition_of(declared: Declared, values: Mapping[str, Any]) -> str:
    """The partition of a new record; one for everything in this version."""
    del declared, values
    return DEFAULT_PARTITION


def _view(spec: ModelSpec) -> View:
    return View(
        name=spec.name,
        columns=tuple(Column(name=name, kind=kind.column_kind()) for name, kind in spec.fields.items()),
        indexes=tuple((name,) for name in spec.key),
    )


def _time_merge_functions(spec: ModelSpec) -> None:
    """Have slow merge functions told in the log; a clock that somebody else gave stays."""
    for kind in spec.fields.values():
        register = kind.entry if isinstance(kind, MapKind) else kind
        if isinstance(register, MergeWithRegister) and register.clock is no_clock:
            register.clock = perf_counter


def _describe(declared: Declared) -> dict[str, Any]:
    spec = declared.spec
    described = {
        OPEN: True,
        "key": list(spec.key),
        "on_edit_after_delete": spec.on_edit_after_delete,
        **(_describe_unique(spec) if spec.unique else {}),
        "version": spec.version,
        "fields": {name: _describe_field(kind) for name, kind in spec.fields.items()},
    }
    if declared.upgrade is not None:
        described[UPGRADES] = True
    return described


def _describe_unique(spec: ModelSpec) -> dict[str, Any]:
    return {"unique": list(spec.unique), "on_duplicate": spec.on_duplicate, "equality": EQUALITY}


def _describe_field(kind: FieldKind) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": type(kind).__name__}
    if kind.stored != kind.name:
        described["renamed_from"] = kind.stored
    if isinstance(kind, PlainRegister):
        described["type"] = _type_data(kind.info.annotation)
        described["required"] = kind.info.is_required()
        if kind.has_default:
            described["default"] = codec.encode(kind.default()).hex()
        if isinstance(kind, MergeWithRegister):  # who lacks the function shows other values
            described["function"] = getattr(kind.function, "__qualname__", type(kind.function).__qualname__)
    elif isinstance(kind, SetKind):
        described["type"] = _type_data(kind.element_type)
    elif isinstance(kind, ListKind):
        described["type"] = _type_data(kind.element.info.annotation)
    elif isinstance(kind, MapKind):
        described["entry"] = _describe_field(kind.entry)
    return described


def read_description(data: bytes) -> dict[str, Any]:
    """What `Schema.describe` gave, out of the store.

    Raises:
        CorruptStoreError: the bytes are no such thing.
    """
    try:
        description = json.loads(data)
        if all(isinstance(model, dict) for model in description.values()):
            return dict(description)
    except (ValueError, AttributeError, RecursionError):
        raise CorruptStoreError("the description of the models cannot be read", table="meta") from None
    raise CorruptStoreError("the description of the models has the wrong shape", table="meta")


def models_of(description: Mapping[str, Any]) -> list[type[Model]]:
    """Models made from what `Schema.describe` gave; validators and what functions make anew are not in it.

    Raises:
        SchemaError: the description was written by another version.
    """
    try:
        return [_model_of(name, data) for name, data in description.items()]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SchemaError("the store's description of its models cannot be read", hint="Pass --models.") from None


def _model_of(name: str, data: Mapping[str, Any]) -> type[Model]:
    fields = {name: _field_of(item) for name, item in data["fields"].items()}
    keywords = {
        "key": tuple(data["key"]),
        "on_edit_after_delete": data["on_edit_after_delete"],
        "unique": tuple(data.get("unique", ())),
        "on_duplicate": data.get("on_duplicate", "merge"),
        "version": data["version"],
    }
    return make_model(name, keywords=keywords, fields=fields)


def _field_of(data: Mapping[str, Any]) -> Any:
    annotation, default = _unnamed_field_of(data)
    first_name = data.get("renamed_from")
    return (annotation if first_name is None else Annotated[annotation, field(renamed_from=first_name)], default)


def _unnamed_field_of(data: Mapping[str, Any]) -> Any:
    match data["kind"]:
        case "TextKind":
            return (Text, ...)
        case "CounterKind":
            return (Counter, ...)
        case "SetKind":
            element = _type_of(data["type"])
            return (Set[element], ...)  # type: ignore[valid-type]  # a type made at run time
        case "ListKind":
            element = _type_of(data["type"])
            return (List[element], ...)  # type: ignore[valid-type]  # as above
        case "MapKind":
            entry, info = _unnamed_field_of({**data["entry"], "required": False})
            if isinstance(info, FieldInfo):
                entry = Annotated[entry, *info.metadata]
            return (Map[str, entry], ...)  # type: ignore[valid-type]  # as above
        case kind:
            default = ... if data["required"] else codec.decode(bytes.fromhex(data.get("default", "c0")))
            declare = _FIELD_FUNCTIONS.get(kind)
            return (_type_of(data["type"]), default if declare is None else declare(default=default))


_FIELD_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "AskRegister": ask,
    "ThreeWayRegister": three_way,
    "MergeWithRegister": partial(merge_with, always_ask),
    "First": first,
    "Greatest": max_,
    "Least": min_,
}
_NAMED: dict[str, Any] = {
    "none": None,
    "...": ...,
    "any": Any,
    **{item.__name__: item for item in (bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID)},
}
_NAMES = {member: name for name, member in _NAMED.items()} | {type(None): "none"}
_ORIGINS: dict[str, Any] = {"list": list, "dict": dict, "tuple": tuple}


def _type_data(annotation: Any) -> Any:
    """An annotation as plain data; what has no counterpart becomes "any"."""
    if isinstance(annotation, type) and issubclass(annotation, Ref):
        return ["ref", annotation.model]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ["literal", *(codec.encode(member.value).hex() for member in annotation)]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ["literal", *(codec.encode(value).hex() for value in arguments)]
    if origin in (Union, UnionType):
        return ["union", *(_type_data(argument) for argument in arguments)]
    if origin is Annotated:
        return _type_data(arguments[0])
    if origin in (list, dict, tuple):
        return [origin.__name__, *(_type_data(argument) for argument in arguments)]
    if annotation in (list, dict, tuple):
        return [annotation.__name__]
    return _NAMES.get(annotation, "any")


def _type_of(data: Any) -> Any:
    if isinstance(data, str):
        return _NAMED[data]
    head, *rest = data
    if head == "ref":
        return Ref.__class_getitem__(rest[0])
    if head == "literal":
        return Literal[tuple(codec.decode(bytes.fromhex(item)) for item in rest)]
    if head == "union":
        return Union[tuple(_type_of(item) for item in rest)]  # noqa: UP007  members are known at run time only
    return _ORIGINS[head][tuple(_type_of(item) for item in rest)] if rest else _ORIGINS[head]
