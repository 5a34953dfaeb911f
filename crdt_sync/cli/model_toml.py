"""Models out of a TOML file, for those who use the command line alone: no code is run."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from crdt_sync.core.kinds import Counter, List, Map, Set, Text, ask, field, first, max_, min_, three_way
from crdt_sync.core.making import make_model
from crdt_sync.core.model import Model
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InputError, SchemaError

_PLAIN: dict[str, Any] = {
    "none": None,
    "None": None,
    "any": Any,
    **{item.__name__: item for item in (bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID)},
}
_LIVE: dict[str, Any] = {"Text": Text, "Counter": Counter, "Set": Set, "List": List, "Map": Map}
_GENERIC: dict[str, Any] = {"list": list, "dict": dict, "tuple": tuple, "Set": Set, "List": List, "Map": Map}
_MERGES: dict[str, Callable[..., Any]] = {
    "plain": field,
    "ask": ask,
    "three_way": three_way,
    "first": first,
    "max": max_,
    "min": min_,
}
FILE_BYTES_MAX: Final = 64 * 1024
LINE_DOTS_MAX: Final = 200
_FIELD_KEYS = ("type", "one_of", "merge", "default", "required", "renamed_from")
_TYPES_HINT = (
    f"Types: {', '.join((*_PLAIN, *_LIVE))}; list[T], dict[str, T], tuple[T, ...], Set[T], List[T], Map[str, T], "
    "Ref[Model], and T|none."
)
_EXAMPLE = '[Task.fields] with title = "str" and due = {type = "date|none", merge = "ask"}'


def load_toml(path: Path) -> tuple[type[Model], ...]:
    """The models that a TOML file declares, in its order.

    Raises:
        InputError: it cannot be read, or is no TOML, or declares nothing.
        SchemaError: a declaration in it cannot work; it names file, table and key.
    """
    try:
        data = tomllib.loads(_text(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # what is no TOML, or no UTF-8, or too long or deep to be read
        raise InputError(f"{path} is no TOML: {error}") from None
    if not data:
        raise InputError(f"{path} declares no models", hint=f"Write {_EXAMPLE}.")
    return tuple(_model(name, table, where=f"{path}: [{name}]") for name, table in data.items())


def _text(path: Path) -> str:
    """What a file holds, where it is none that takes long to be understood.

    Raises:
        InputError: it would. The time for a key grows with the square of its dots, and a key is in one line.
    """
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"{path} is longer than {FILE_BYTES_MAX} bytes", hint="Give a file that declares models only.")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.count(b".") > LINE_DOTS_MAX:
            hint = "Break it: a key of a model file needs one dot, [Model.fields]."
            raise InputError(f"{path}: line {number} has more than {LINE_DOTS_MAX} dots", hint=hint)
    return data.decode()


def _model(name: str, table: object, *, where: str) -> type[Model]:
    fields = table.get("fields") if isinstance(table, dict) else None
    if not isinstance(table, dict) or not isinstance(fields, dict):
        raise SchemaError(f"{where}: a model has a table of fields", hint=f"Write {_EXAMPLE}.")
    keywords = {key: _keyword(key, value, where=where) for key, value in table.items() if key != "fields"}
    made = {key: _field(item, where=f"{where[:-1]}.fields] {key}") for key, item in fields.items()}
    for key in made:
        if not key.isidentifier() or key.startswith("_"):
            raise SchemaError(f"{where[:-1]}.fields] {key!r}: a field is named by a letter, then letters, digits and _")
        if key.startswith("model_") and hasattr(Model, key):
            raise SchemaError(
                f"{where[:-1]}.fields] {key}: every model has this attribute", hint="Name the field otherwise."
            )
    try:
        return make_model(name, keywords=keywords, fields=made)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error.message}", hint=error.hint) from None
    except (PydanticUserError, NameError, ValueError, TypeError) as error:
        raise SchemaError(f"{where}: pydantic cannot build it: {str(error).splitlines()[0]}") from None


def _keyword(key: str, value: object, *, where: str) -> object:
    if key == "version" and type(value) is not int:
        raise SchemaError(f"{where} version: a whole number")
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise SchemaError(f"{where} {key}: a list of names of fields", hint=f'Write {key} = ["title"].')
        return tuple(value)
    return value


def _field(item: object, *, where: str) -> Any:
    """What pydantic makes a field of: its annotation, and its default or field function."""
    data = {"type": item} if isinstance(item, str) else item
    if not isinstance(data, dict):
        raise SchemaError(f"{where}: a field is a type, or a table of its keys", hint=f"Write {_EXAMPLE}.")
    for key in data:
        if key not in _FIELD_KEYS:
            raise SchemaError(f"{where}: there is no key {key!r}", hint=f"Keys: {', '.join(_FIELD_KEYS)}.")
    annotation = _annotation(data, where=where)
    declare = _merge(data, where=where)
    options: dict[str, Any] = {}
    if "renamed_from" in data:
        options["renamed_from"] = data["renamed_from"]
    if getattr(annotation, "__origin__", annotation) in _LIVE.values():
        return _live(annotation, data, declare, options, where=where)
    required = data.get("required", "default" not in data and not _takes_none(annotation))
    if type(required) is not bool or (required and "default" in data):
        raise SchemaError(f"{where}: required = true or false, and true goes without a default")
    if not required:
        options["default"] = _default(annotation, data, where=where)
    return annotation, declare(**options)


def _live(
    annotation: Any, data: Mapping[str, Any], declare: Callable[..., Any], options: dict[str, Any], *, where: str
) -> Any:
    """A field that is changed in part; ``merge`` is how the values of a map merge."""
    for key in ("default", "required"):
        if key in data:
            raise SchemaError(f"{where}: a {data['type']} starts empty and takes no {key}")
    if declare is not field:
        if getattr(annotation, "__origin__", None) is not Map:
            raise SchemaError(f"{where}: a {data['type']} merges by itself", hint="Leave merge out.")
        name, value = annotation.__args__
        entry = declare()
        annotation = Map[name, Annotated[value, *entry.metadata]]  # type: ignore[valid-type]  # made at run time
    return annotation, field(**options)


def _merge(data: Mapping[str, Any], *, where: str) -> Callable[..., Any]:
    wanted = data.get("merge", "plain")
    if wanted == "merge_with":
        raise SchemaError(
            f"{where}: merge_with needs a function, which TOML cannot hold",
            hint="Declare this model in a Python file, or let the field ask.",
        )
    if not isinstance(wanted, str) or wanted not in _MERGES:
        raise SchemaError(f"{where}: there is no merge {wanted!r}", hint=f"One of {', '.join(_MERGES)}.")
    return _MERGES[wanted]


def _default(annotation: Any, data: Mapping[str, Any], *, where: str) -> Any:
    if "default" not in data:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        return adapter.validate_python(data["default"])
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        raise SchemaError(f"{where}: the default does not fit the type: {reason}") from None


def _annotation(data: Mapping[str, Any], *, where: str) -> Any:
    if ("type" in data) == ("one_of" in data):
        raise SchemaError(f"{where}: a field has either type or one_of", hint=_TYPES_HINT)
    if "one_of" in data:
        options = data["one_of"]
        if not isinstance(options, list) or not options or not all(type(item) in (str, int, bool) for item in options):
            raise SchemaError(f"{where}: one_of is a list of texts or numbers", hint='Write one_of = ["open", "done"].')
        return Literal[tuple(options)]
    try:
        return _type_of(ast.parse(str(data["type"]), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        raise SchemaError(f"{where}: there is no type {data['type']!r}", hint=_TYPES_HINT) from None


def _type_of(node: ast.expr) -> Any:
    """The type that an expression names; nothing of it is run.

    Raises:
        ValueError: none.
    """
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _PLAIN or name in _GENERIC or name in _LIVE:
            return {**_PLAIN, **_GENERIC, **_LIVE}[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type_of(left), _type_of(right)]  # noqa: UP007  members are known at run time only
        case ast.Subscript(value=ast.Name(id="Ref"), slice=(ast.Name(id=name) | ast.Constant(value=str(name)))):
            return Ref.__class_getitem__(name)
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _GENERIC:
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if len(parts) != (2 if name in ("dict", "Map") else len(parts) if name == "tuple" else 1):
                raise ValueError(name)
            arguments = tuple(... if _is_ellipsis(part) and name == "tuple" else _type_of(part) for part in parts)
            return _GENERIC[name][arguments if len(arguments) > 1 or name == "tuple" else arguments[0]]
        case _:
            raise ValueError(ast.dump(node))


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _takes_none(annotation: Any) -> bool:
    return annotation in (None, Any) or type(None) in getattr(annotation, "__args__", ())
