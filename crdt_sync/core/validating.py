"""Records against what their model declares: what may be written, and what is wrong with a record as it stands.

Validators are an app's own code. A record may hold what they refuse, written by another version of the app or merged
from edits that were right by themselves; then it can be edited all the same, so that it can be mended field by field.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NoReturn

from pydantic import ValidationError
from pydantic_core import SchemaValidator

from crdt_sync.core.declaration import ModelSpec
from crdt_sync.core.kinds.app_type import first_reason, raised
from crdt_sync.core.kinds.enum_members import holds_member, misplaced_member
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import CRDTSyncError, InvalidValueError

WHOLE_RECORD: Final = ""
"""Stands for the field where the fields fit, and a validator of the record refuses them together."""

_MODELS_CACHED: Final = 1024


def validate_creation(model: type[Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the values of a new record, defaults included.

    Returns:
        field → value to store; a None that is also the default is left out.

    Raises:
        UnknownFieldError, InvalidValueError: nothing was changed.
    """
    spec = spec_of(model)
    for name in values:
        spec.field(name)
    given = {name: spec.fields[name].plain(value) for name, value in values.items()}
    for name, kind in spec.fields.items():
        if name not in given and not kind.in_creation:
            given[name] = kind.empty()
    _refuse_members(model, given, of=values)
    try:
        draft = model.__pydantic_validator__.validate_python(given)
    except Exception as error:  # noqa: BLE001  whatever an app's code raises refuses the values
        _refuse(spec, error, field=_culprit(model, given))
    checked: dict[str, Any] = {}
    for name, kind in spec.fields.items():
        value = draft.__dict__[name]
        if value is None and name not in values:
            continue
        checked[name] = kind.validate(value)
    return checked


def validate_change(model: type[Model], current: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate new values of some fields of a record whose current values are ``current``.

    Raises:
        UnknownFieldError, InvalidValueError: nothing was changed.
    """
    spec = spec_of(model)
    for name in values:
        spec.field(name)
        if name in spec.key:
            raise InvalidValueError(
                f"field {name!r} is part of the natural key of {spec.name!r} and cannot change",
                field=name,
                hint="Delete the record and create another one.",
            )
    plain = {name: spec.fields[name].plain(value) for name, value in values.items()}
    _refuse_members(model, {**current, **plain}, of=values)
    changed = _changed(model, current, plain)
    return {name: spec.fields[name].validate(changed[name]) for name in values}


def complaints(model: type[Model], values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with a record: field → why its value does not fit, in declared order, then `WHOLE_RECORD`."""
    spec, found = spec_of(model), {}
    judged = _fields_with_validators(model)
    for name, kind in spec.fields.items():
        reason = kind.complaint(values[name])
        if not reason and name in judged and not (isinstance(kind, PlainRegister) and kind.is_default(values[name])):
            error = _field_error(model, values, name)
            reason = "" if error is None else _reason(error)
        if reason:
            found[name] = reason
    refusal = _refusal(model, values)
    return found if refusal is None else {**found, WHOLE_RECORD: _reason(refusal)}


def _changed(model: type[Model], current: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a whole record after a change, of which validators see the final state only.

    Fields that do not change may hold what is not valid any more. Then each new value is validated by itself, beside
    all the others; and where a validator of the record refused it as it was, it is not asked about the change.
    """
    final = {**current, **values}
    if len(values) > 1 or _judges_records(model):
        judged = _judged(model, final)
        if judged is not None:
            return judged.__dict__
    for name, value in values.items():
        final = _assigned(model, final, name, value)
    refusal = _refusal(model, final)
    if refusal is not None and _refusal(model, current) is None:
        _refuse(spec_of(model), refusal, field=WHOLE_RECORD)
    return final


def _refuse_members(model: type[Model], values: Mapping[str, Any], *, of: Iterable[str]) -> None:
    """Refuse members of an app's Enums in fields of other types.

    Args:
        model: the model.
        values: of a whole record.
        of: the fields that are given.

    Raises:
        InvalidValueError: there is one.
    """
    for name in filter(lambda name: holds_member(values[name]), of):
        validated = partial(_validated, model, values, name)
        if wrong := misplaced_member(values[name], strictly=partial(validated, strict=True), laxly=validated):
            raise InvalidValueError(f"{spec_of(model).name}.{name}: {wrong}", field=name)


def _validated(model: type[Model], values: Mapping[str, Any], name: str, *, strict: bool | None = None) -> Any:
    """What becomes of one field's value; of the record's where validators of it may make another one of that."""
    own = copy.deepcopy(dict(values))  # a validator may change what it sees
    if _judges_records(model):
        return model.__pydantic_validator__.validate_python(own, strict=strict).__dict__[name]
    after: Any = _fields_of(model).validate_assignment(own, name, own[name], strict=strict)
    return after[0][name]


def _judged(model: type[Model], values: Mapping[str, Any]) -> Model | None:
    """A whole record as its model takes it; None where it does not, whatever is at fault."""
    try:
        judged: Model = model.__pydantic_validator__.validate_python(dict(values))
    except Exception:  # noqa: BLE001  whatever an app's code raises: it did not take the record
        return None
    return judged


def _assigned(model: type[Model], values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Values with one field's validated beside the others.

    Raises:
        InvalidValueError: it does not fit, or a validator of the field failed.
    """
    try:
        after: Any = _fields_of(model).validate_assignment(dict(values), name, value)
    except Exception as error:  # noqa: BLE001  whatever an app's code raises refuses the value
        _refuse(spec_of(model), error, field=name)
    changed: dict[str, Any] = after[0]  # beside the fields that a model does not declare, and the names of those set
    return changed


def _field_error(model: type[Model], values: Mapping[str, Any], name: str) -> Exception | None:
    """What the validation of one field's value raises beside the others; None where it fits."""
    try:
        _fields_of(model).validate_assignment(copy.deepcopy(dict(values)), name, copy.deepcopy(values[name]))
    except Exception as error:  # noqa: BLE001  whatever an app's code raises is what is wrong with the value
        return error
    return None


def _refusal(model: type[Model], values: Mapping[str, Any]) -> Exception | None:
    """What the app's validators of whole records raise about one, whatever its fields are; None where they take it.

    They are asked by assigning a field that fits. Where none does there is no telling.
    """
    if not _judges_records(model):
        return None
    fitting = next((name for name in values if _field_error(model, values, name) is None), None)
    if fitting is None:
        return None
    own = copy.deepcopy(dict(values))  # a validator may change what it sees
    try:
        model.__pydantic_validator__.validate_assignment(model.model_construct(**own), fitting, own[fitting])
    except Exception as error:  # noqa: BLE001  whatever an app's code raises is what is wrong with the record
        return error
    return None


def _culprit(model: type[Model], given: Mapping[str, Any]) -> str:
    """The first of the given fields whose value is refused by itself; none where they are refused together."""
    return next((name for name in given if _field_error(model, given, name) is not None), WHOLE_RECORD)


def _judges_records(model: type[Model]) -> bool:
    decorators = model.__pydantic_decorators__
    return bool(decorators.model_validators or decorators.root_validators)


@lru_cache(maxsize=_MODELS_CACHED)
def _fields_with_validators(model: type[Model]) -> frozenset[str]:
    """The fields that functions of the class judge; those of annotations are a part of the field's type."""
    decorators = model.__pydantic_decorators__
    named = {name for found in decorators.field_validators.values() for name in found.info.fields}
    named.update(name for old in decorators.validators.values() for name in old.info.fields)
    return frozenset(model.model_fields) if "*" in named else frozenset(named)


@lru_cache(maxsize=_MODELS_CACHED)
def _fields_of(model: type[Model]) -> SchemaValidator:
    """What validates a model's fields, without the validators of whole records that stand around them."""
    schema: Any = model.__pydantic_core_schema__
    definitions: dict[str, Any] = {}
    config = None
    while schema["type"] != "model-fields":
        definitions.update((item["ref"], item) for item in schema.get("definitions", ()))
        config = schema.get("config", config)
        schema = definitions[schema["schema_ref"]] if schema["type"] == "definition-ref" else schema["schema"]
    if definitions:
        schema = {"type": "definitions", "schema": schema, "definitions": list(definitions.values())}
    return SchemaValidator(schema, config)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_reason(error)
    return error.message if isinstance(error, CRDTSyncError) else f"a validator {raised(error)}"


def _refuse(spec: ModelSpec, error: Exception, *, field: str) -> NoReturn:
    """Raise a typed error from pydantic's, without the value (errors carry no record contents), or from the app's own.

    Raises:
        InvalidValueError: always; an error of this package as it is.
    """
    if isinstance(error, CRDTSyncError):
        raise error
    if not isinstance(error, ValidationError):
        where = f"{spec.name}.{field}" if field else spec.name
        raise InvalidValueError(f"{where}: {_reason(error)}", field=field) from error
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"{spec.name}.{field}" if field else spec.name
    raise InvalidValueError(f"{where}: {first['msg']}{more}", field=field) from None
