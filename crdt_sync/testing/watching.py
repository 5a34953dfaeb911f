"""An app's models for one replica of a test: with merge functions in place of declared ones, and all of them watched.

Each replica of a history has classes of its own, as it would in a process of its own: nothing that one remembers, such
as what a merge function answered, reaches another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy
from time import perf_counter
from typing import Any, cast

from pydantic import create_model

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.kinds import ASK, FieldKind, MapKind, MergeWithRegister, PlainRegister
from crdt_sync.core.kinds.declare import KindMarker, MergeMarker
from crdt_sync.core.kinds.merge_with import MergeFunction, function_name
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import InputError, SchemaError
from crdt_sync.testing.merges import CALL_MAX_S, STEPS_MAX, EndlessError, Example, FaultError, Trial
from crdt_sync.testing.timing import Stopwatch, TooSlowError

RUN_MAX_S = 600.0
"""All calls of one function in one test."""

Report = Callable[[str, str, str], None]
"""Told of a fault: model, field, and what is wrong."""


def replaced(model: type[Model], functions: Mapping[str, MergeFunction]) -> type[Model]:
    """A class of its own for a model, with merge functions for some of its fields.

    Args:
        model: the app's.
        functions: by field; each takes the place of what the field is declared with.

    Raises:
        SchemaError: a field that is not there, or that holds no plain value.
    """
    spec = spec_of(model)
    fields: dict[str, Any] = {}
    for name, function in functions.items():
        if not callable(function):
            raise InputError(
                f"what merges {spec.name}.{name} is a function, not a {type(function).__name__}",
                hint="Give a function of a base and a list of candidates.",
            )
        if not isinstance(spec.fields.get(name), PlainRegister):
            raise SchemaError(f"model {spec.name!r}: {name!r} is no field that can have a merge function")
        info = copy(model.model_fields[name])
        info.metadata = [item for item in info.metadata if not isinstance(item, KindMarker)]
        info.metadata.append(MergeMarker(function))
        fields[name] = (info.annotation, info)
    keywords = {
        "key": spec.key,
        "on_edit_after_delete": spec.on_edit_after_delete,
        "version": spec.version,
        "unique": spec.unique,
        "on_duplicate": spec.on_duplicate,
    }
    made = create_model(spec.name, __base__=model, __cls_kwargs__=keywords, **fields)
    return cast("type[Model]", made)


def merge_registers(model: type[Model]) -> dict[str, MergeWithRegister]:
    """The registers of a model that an app's own function merges, those of map entries too, by field."""
    found: dict[str, FieldKind] = {
        name: kind.entry if isinstance(kind, MapKind) else kind for name, kind in spec_of(model).fields.items()
    }
    return {name: kind for name, kind in found.items() if isinstance(kind, MergeWithRegister)}


def checked_names(may_drop: Collection[str]) -> Collection[str]:
    """Names of fields.

    Raises:
        InputError: no collection, or one text.
    """
    if isinstance(may_drop, str) or not isinstance(may_drop, Collection):
        raise InputError("may_drop is a list of names", hint='Write may_drop=["Task.state"], also for one field.')
    return may_drop


def refuse_idle(models: Collection[type[Model]], *, may_drop: Collection[str]) -> None:
    """Refuse to let elements be lost where nothing can lose any.

    Raises:
        InputError: a field without a merge function.
    """
    merged = {f"{spec_of(model).name}.{field}" for model in models for field in merge_registers(model)}
    if idle := sorted(set(may_drop) - merged):
        raise InputError(f"{idle[0]!r} in may_drop has no merge function", hint="Leave it out: nothing is lost there.")


def watch(model: type[Model], report: Report, *, may_drop: Collection[str] = ()) -> None:
    """Have the merge functions of a class that `replaced` made judged at whatever they are asked, from now on.

    What they answered before is forgotten, and who watched before is told no more.

    Args:
        model: the class.
        report: told of each fault.
        may_drop: fields whose elements a function may lose.
    """
    for name, register in merge_registers(model).items():
        if isinstance(register.function, _Watched):
            register.function = register.function.watched
        register.forget()
        register.function = _Watched(model, name, register, report, keep_elements=name not in may_drop)


class _Watched:
    """Calls a merge function, and judges it by the same question put in other ways."""

    def __init__(
        self, model: type[Model], field: str, register: MergeWithRegister, report: Report, *, keep_elements: bool
    ) -> None:
        self.watched = register.function
        self._names = spec_of(model).name, field
        self._report = report
        stopwatch = Stopwatch(lines_max=STEPS_MAX, call_max_s=CALL_MAX_S, run_max_s=RUN_MAX_S, clock=perf_counter)
        self._trial = Trial(register, stopwatch, lines_max=STEPS_MAX, keep_elements=keep_elements)
        self.__qualname__ = function_name(register.function)

    def __call__(self, base: Any, candidates: list[Any]) -> Any:
        stored = tuple(codec.encode(item) for item in candidates)
        example = Example(None if base is UNKNOWN else codec.encode(base), stored)
        try:
            self._trial.ask(example)
        except (FaultError, TooSlowError) as error:
            self._report(*self._names, f"merge function {self.__qualname__} {self._trial.told or error}")
            if isinstance(error, EndlessError | TooSlowError):
                return ASK  # it may come to no end where nobody watches
        return self.watched(base, candidates)
