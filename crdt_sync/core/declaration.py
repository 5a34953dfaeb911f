"""Declarations: what a model class says about its fields, checked when the class is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, PydanticUserError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_core import SchemaError as CoreSchemaError

from crdt_sync.core import codec
from crdt_sync.core.content import EditAfterDelete
from crdt_sync.core.equality import canonical
from crdt_sync.core.ids import RecordId, natural_record_id
from crdt_sync.core.kinds import AskRegister, FieldKind, PlainRegister, SetKind, holds_live_kind, kind_of
from crdt_sync.core.layout import check_field_name
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import MalformedEntryError, SchemaError, UnknownFieldError

OnDuplicate = Literal["merge", "keep_both", "ask"]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a replica knows of a declared model.

    Args:
        name: the class's name; it addresses the records on every device.
        fields: field name → kind, in declared order.
        key: the fields of the natural key, or none.
        on_edit_after_delete: what becomes of an edit made at once with a delete.
        version: the app's own version of this declaration.
        required: fields that a creation must give.
        unique: the fields that, together, no two records should have equal, or none.
        on_duplicate: what becomes of two that have, since they were created at once.
    """

    name: str
    fields: Mapping[str, FieldKind]
    key: tuple[str, ...]
    on_edit_after_delete: EditAfterDelete
    version: int
    required: frozenset[str]
    unique: tuple[str, ...] = ()
    on_duplicate: OnDuplicate = "merge"

    @property
    def groups(self) -> bool:
        """Whether several records may show as one: by their values, or since somebody said so."""
        return bool(self.unique) and self.on_duplicate != "keep_both"

    @property
    def asks(self) -> bool:
        """Whether a person says what becomes of records that were created twice."""
        return bool(self.unique) and self.on_duplicate == "ask"

    def natural_id(self, values: Mapping[str, Any]) -> RecordId:
        """The record id that the natural key of ``values`` gives."""
        return natural_record_id(self.name, codec.encode([canonical(values[name]) for name in self.key]))

    def field(self, name: str) -> FieldKind:
        """The kind of a field.

        Raises:
            UnknownFieldError: the model declares no such field.
        """
        kind = self.fields.get(name)
        if kind is None:
            raise UnknownFieldError(
                f"model {self.name!r} has no field {name!r}", hint=f"Its fields: {', '.join(self.fields)}."
            )
        return kind


def build(model: type[BaseModel]) -> None:
    """Have pydantic build its validators, which a model's configuration defers until here.

    Raises:
        SchemaError: pydantic cannot; it names the field.
    """
    try:
        model.model_rebuild(raise_errors=False, _types_namespace={})
    except (PydanticUserError, CoreSchemaError) as error:
        field = next((name for name, info in model.model_fields.items() if not _can_be_built(name, info)), None)
        where = f"model {model.__name__!r}" if field is None else f"model {model.__name__!r}, field {field!r}"
        if field is not None and isinstance(error, PydanticUserError):
            raise SchemaError(f"{where}: pydantic knows no values of {model.model_fields[field].annotation}") from None
        raise SchemaError(f"{where}: pydantic cannot build it: {str(error).splitlines()[-1].strip()}") from None


def _can_be_built(name: str, info: FieldInfo) -> bool:
    field: Any = (info.annotation, info)
    try:
        create_model("Field", **{name: field})
    except (PydanticUserError, CoreSchemaError):
        return False
    return True


def read_declaration(
    model: type[BaseModel],
    *,
    key: tuple[str, ...],
    on_edit_after_delete: EditAfterDelete,
    version: int,
    unique: tuple[str, ...] = (),
    on_duplicate: OnDuplicate = "merge",
) -> ModelSpec:
    """The spec of a model class that was just made.

    Raises:
        SchemaError: it says what cannot work.
    """
    name = model.__name__
    if not _NAME.fullmatch(name) or len(name) > ENTRY_LIMITS.name_bytes_max or name.lower().startswith("sqlite"):
        raise SchemaError(f"a model cannot be named {name!r}: ASCII letters, digits and _, starting with a letter")
    if on_edit_after_delete not in get_args(EditAfterDelete):
        raise SchemaError(
            f"model {name!r}: there is no on_edit_after_delete={on_edit_after_delete!r}",
            hint=f"It is one of {', '.join(map(repr, get_args(EditAfterDelete)))}.",
        )
    if not model.__pydantic_complete__:
        raise SchemaError(
            f"model {name!r}: an annotation cannot be resolved",
            hint="Import its fields' types for run time too, and define them before the model.",
        )
    if not _names_fields(key, model):
        raise SchemaError(f"model {name!r}: key= takes a tuple of its own fields")
    fields = {field: _kind(name, field, info) for field, info in model.model_fields.items()}
    _check_names(name, fields)
    for field in key:
        if type(fields[field]) is not PlainRegister:
            raise SchemaError(f"model {name!r}: the key field {field!r} must be a plain register")
    _check_unique(model, fields, unique=unique, on_duplicate=on_duplicate)
    required = frozenset(
        field for field, info in model.model_fields.items() if fields[field].in_creation and info.is_required()
    )
    return ModelSpec(
        name=name,
        fields=fields,
        key=tuple(key),
        on_edit_after_delete=on_edit_after_delete,
        version=version,
        required=required,
        unique=tuple(unique),
        on_duplicate=on_duplicate,
    )


def _check_names(name: str, fields: Mapping[str, FieldKind]) -> None:
    lowered = [field.lower() for field in fields]
    if len(set(lowered)) != len(lowered):
        raise SchemaError(f"model {name!r}: two fields differ only in upper and lower case")
    stored: dict[str, str] = {}
    for field, kind in fields.items():
        if stored.setdefault(kind.stored, field) != field:
            raise SchemaError(
                f"model {name!r}: fields {stored[kind.stored]!r} and {field!r} are both kept as {kind.stored!r}",
                hint="A name that renamed_from= gives is taken for ever; name the new field otherwise.",
            )


def _check_unique(
    model: type[BaseModel], fields: Mapping[str, FieldKind], *, unique: tuple[str, ...], on_duplicate: OnDuplicate
) -> None:
    name = model.__name__
    if not _names_fields(unique, model):
        raise SchemaError(f"model {name!r}: unique= takes a tuple of its own fields")
    for field in unique:
        if not isinstance(fields[field], PlainRegister):
            raise SchemaError(f"model {name!r}: the unique field {field!r} must hold a plain value")
    if on_duplicate not in get_args(OnDuplicate):
        raise SchemaError(
            f"model {name!r}: there is no on_duplicate={on_duplicate!r}",
            hint=f"It is one of {', '.join(map(repr, get_args(OnDuplicate)))}.",
        )
    if on_duplicate != "merge" and not unique:
        raise SchemaError(f"model {name!r}: on_duplicate= goes with unique=")


def _names_fields(key: object, model: type[BaseModel]) -> bool:
    return isinstance(key, tuple | list) and len(set(key)) == len(key) and set(key) <= model.model_fields.keys()


def _kind(model: str, field: str, info: FieldInfo) -> FieldKind:
    try:
        check_field_name(field)
    except MalformedEntryError as error:
        raise SchemaError(f"model {model!r}, field {field!r}: {error.message}") from None
    if field in _RESERVED:
        raise SchemaError(f"model {model!r}: {field!r} is taken by every record; name the field otherwise")
    if "__" in field:
        raise SchemaError(f"model {model!r}: {field!r} has two underscores, which `find` takes for a comparison")
    if holds_live_kind(info.annotation):
        raise SchemaError(
            f"model {model!r}, field {field!r}: Text, Counter, Set, List and Map stand alone",
            hint="Write `notes: Text`, without a union, an Optional or a container around it.",
        )
    if _holds_callable(info.annotation):
        raise SchemaError(f"model {model!r}, field {field!r}: a function cannot be kept")
    try:
        kind = kind_of(field, info)
    except SchemaError as error:
        raise SchemaError(f"model {model!r}, {error.message}", hint=error.hint) from None
    has_default = info.default is not PydanticUndefined or info.default_factory is not None
    if not kind.in_creation and has_default:
        raise SchemaError(f"model {model!r}, field {field!r}: this kind starts empty and takes no default")
    if isinstance(kind, SetKind) and (get_origin(kind.element_type) or kind.element_type) in (list, dict, set):
        raise SchemaError(f"model {model!r}, field {field!r}: a set holds hashable values; use tuples")
    if isinstance(kind, AskRegister) and get_origin(info.annotation) is None and info.annotation is None:
        raise SchemaError(f"model {model!r}, field {field!r}: ask() needs a type")
    return kind


def _holds_callable(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) is Callable or any(map(_holds_callable, get_args(annotation)))


_RESERVED = frozenset(("id",))
