"""Hypothesis strategies for an app's own models: records, edits of them, and histories of several replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, cast

from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from crdt_sync.core.kinds import CounterKind, FieldKind, ListKind, MapKind, PlainRegister, SetKind, TextKind
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.errors import InputError
from crdt_sync.testing.arguments import checked_by_name, checked_models, whole
from crdt_sync.testing.editing import Edit
from crdt_sync.testing.field_values import KEYS, Values, by_model, element_values, given, register_values, steps, texts
from crdt_sync.testing.steps import (
    Carry,
    Change,
    Compact,
    Create,
    Delete,
    Meet,
    Race,
    Reopen,
    Resolve,
    Restore,
    Scenario,
    Step,
    TakeBack,
    Wait,
)

# Strategies show as the functions `crdt_record`, `crdt_edit` and `crdt_history`: the pytest plugin looks for them.

Edits = st.SearchStrategy[Edit]
Own = Mapping[str, Values]
"""An app's own strategies: ``"Model.field"`` → values."""

REPLICAS_MAX = 8
STEPS_MAX = 20
CUT_FRAMES_MAX = 12
WAITS_MS = (-5_000, 1, 700, 100_000)
"""Clocks differ by less than what replicas follow."""
_AT = st.integers(0, 5)
_RECORD = st.sampled_from((0, 0, 0, 1, 2))
"""Most is done to the first record, so that it is done at once."""


def records(model: type[Model], /, *, values: Mapping[str, Values] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """What `replica.create(model, **values)` takes: values that the model's types, constraints and validators accept.

    Fields that need no value are often left out.

    Args:
        model: the model.
        values: the app's own strategies for some of its fields.

    Raises:
        SchemaError: Hypothesis knows no values of a field's type, and ``values`` has none; or it names another field.
    """
    spec = spec_of(model)
    fields = given(spec, values or {})
    needed = {*spec.required, *spec.key}
    made = st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in needed},
        optional={name: fields[name] for name in fields if name not in needed},
    )

    @st.composite
    def crdt_record(draw: st.DrawFn) -> dict[str, Any]:
        values = draw(made)
        kept = values if _taken(model, values) else _acceptable(model, values, needed)
        assume(kept is not None)
        return cast("dict[str, Any]", kept)

    return crdt_record()


def _acceptable(model: type[Model], values: dict[str, Any], needed: set[str]) -> dict[str, Any] | None:
    """As many of a record's values as the model takes together; None where it refuses those that it must have."""
    kept = {name: value for name, value in values.items() if name in needed}
    if not _taken(model, kept):
        return None
    for name, value in values.items():
        if name not in needed and _taken(model, kept | {name: value}):
            kept[name] = value
    return kept


def edits(model: type[Model], /, *, values: Mapping[str, Values] | None = None) -> Edits:
    """Edits of one record of a model; ``edit.apply(record)`` does one.

    A record may refuse one: a `first` field that has its value, or a validator of the whole record.

    Args:
        model: the model.
        values: the app's own strategies for some of its fields.

    Raises:
        SchemaError: as `records`.
    """
    every = st.one_of(list(edits_by_field(spec_of(model), values or {}).values()))

    @st.composite
    def crdt_edit(draw: st.DrawFn) -> Edit:
        return draw(every)

    return crdt_edit()


def edits_by_field(spec: ModelSpec, values: Mapping[str, Values]) -> dict[str, Edits]:
    """Edits of each field that can be edited: the natural key stays."""
    fields = given(spec, values)
    return {
        name: _edits_of(kind, fields[name], model=spec.name)
        for name, kind in spec.fields.items()
        if name not in spec.key
    }


def histories(
    models: Sequence[type[Model]],
    replicas: int = 2,
    *,
    steps_max: int = STEPS_MAX,
    values: Own | None = None,
) -> st.SearchStrategy[Scenario]:
    """What users, networks and machines do to some replicas; `crdt_sync.testing.play` does it.

    Args:
        models: of the app.
        replicas: how many, from 2 to 8.
        steps_max: how many steps at most.
        values: the app's own strategies: ``"Model.field"`` → values.

    Raises:
        SchemaError: as `records`.
        InputError: numbers that cannot be.
    """
    whole(steps_max, what="steps_max", least=0)
    own = values or {}
    every = st.one_of(list(steps_by_name(models, replicas, values=own).values()))
    third = st.lists(every, max_size=-(-steps_max // 3))  # Hypothesis draws short lists: three of them make a long one
    first, later = beginnings(models, values=own), st.tuples(third, third, third)

    @st.composite
    def crdt_history(draw: st.DrawFn) -> Scenario:
        begun, *parts = draw(first), *draw(later)
        return Scenario(replicas=replicas, steps=(*begun, *spread(replicas), *chain.from_iterable(parts)))

    return crdt_history()


def beginnings(models: Sequence[type[Model]], *, values: Own) -> st.SearchStrategy[tuple[Create, ...]]:
    """A record of each model, created on the first replica."""
    own = by_model(models, values)
    return st.tuples(*(_creations(model, st.just(0), own.get(spec_of(model).name, {})) for model in models))


def spread(replicas: int) -> tuple[Carry, ...]:
    """The first replica's records are brought to the others, so that all edit the same ones."""
    return tuple(Carry(source=0, target=target) for target in range(1, replicas))


def steps_by_name(models: Sequence[type[Model]], replicas: int, *, values: Own) -> dict[str, st.SearchStrategy[Step]]:
    """Strategies of all that can happen, by what it is.

    Raises:
        SchemaError, InputError: as `histories`.
    """
    checked_models(models)
    checked_by_name(values, what="values")
    if not models or not 2 <= whole(replicas, what="replicas") <= REPLICAS_MAX:
        raise InputError(
            f"a history is of one model at least, and of 2 to {REPLICAS_MAX} replicas",
            hint="Write [Task], and replicas=2, for example.",
        )
    own = by_model(models, values)
    on, other = st.integers(0, replicas - 1), st.integers(1, replicas - 1)
    name = st.sampled_from([spec_of(model).name for model in models])
    pairs = st.tuples(on, other).map(lambda pair: (pair[0], (pair[0] + pair[1]) % replicas))
    creations, changes, races = (
        st.one_of([make(model, on, own.get(spec_of(model).name, {})) for model in models])
        for make in (_creations, _changes, _races(replicas))
    )
    cut = st.none() | st.integers(1, CUT_FRAMES_MAX)
    return {
        "create": creations,
        "change": changes,
        "race": races,
        "delete": st.builds(Delete, on=on, model=name, record=_RECORD),
        "restore": st.builds(Restore, on=on, model=name, record=_RECORD),
        "resolve": st.builds(Resolve, on=on, conflict=_RECORD, candidate=_AT),
        "meet": st.builds(lambda pair, cut: Meet(left=pair[0], right=pair[1], cut=cut), pairs, cut),
        "carry": pairs.map(lambda pair: Carry(source=pair[0], target=pair[1])),
        "take_back": st.builds(TakeBack, on=on, redo=st.booleans()),
        "compact": st.builds(Compact, on=on),
        "reopen": st.builds(Reopen, kill=st.booleans()),
        "wait": st.builds(Wait, on=on, ms=st.sampled_from(WAITS_MS)),
    }


_Maker = Callable[[type[Model], st.SearchStrategy[int], Mapping[str, Values]], st.SearchStrategy[Step]]


def _creations(
    model: type[Model], on: st.SearchStrategy[int], values: Mapping[str, Values]
) -> st.SearchStrategy[Create]:
    return st.builds(Create, on=on, model=st.just(spec_of(model).name), values=records(model, values=values))


def _changes(model: type[Model], on: st.SearchStrategy[int], values: Mapping[str, Values]) -> st.SearchStrategy[Step]:
    some = st.lists(edits(model, values=values), min_size=1, max_size=3).map(tuple)
    return st.builds(Change, on=on, model=st.just(spec_of(model).name), record=_RECORD, edits=some)


def _races(replicas: int) -> _Maker:
    def make(model: type[Model], on: st.SearchStrategy[int], values: Mapping[str, Values]) -> st.SearchStrategy[Step]:
        fields = edits_by_field(spec_of(model), values).values()
        some = st.one_of([st.lists(field, min_size=2, max_size=replicas).map(tuple) for field in fields])
        return st.builds(Race, on=on, model=st.just(spec_of(model).name), record=_RECORD, edits=some)

    return make


def _edits_of(kind: FieldKind, values: Values, *, model: str) -> Edits:
    """Edits of one field, by its kind."""
    name = kind.name

    def doing(do: str, *arguments: Values) -> Edits:
        return st.tuples(*arguments).map(lambda drawn: Edit(field=name, do=do, arguments=drawn))

    setting = doing("set", values)
    match kind:
        case PlainRegister():
            return setting
        case CounterKind():
            return doing("increment", steps())
        case TextKind():
            names, marked = st.sampled_from(("bold", "size")), st.none() | st.booleans() | st.integers(1, 3)
            marks = st.dictionaries(names, marked, min_size=1, max_size=2)
            typing = doing("insert", _AT, texts()) | doing("delete", _AT, st.integers(1, 3))
            return typing | setting | doing("format", _AT, st.integers(1, 3), marks)
        case SetKind():
            element = element_values(kind, model=model)
            return doing("add", element) | doing("discard", element) | setting
        case ListKind():
            element = register_values(kind.element, model=model)
            moves = doing("pop", _AT) | doing("move", _AT, _AT)
            return doing("insert", _AT, element) | doing("put", _AT, element) | moves | setting
        case MapKind():
            key, entry = st.sampled_from(KEYS), register_values(kind.entry, model=model)
            return doing("put", key, entry) | doing("remove", key) | setting
        case _:
            return setting


def _taken(model: type[Model], values: dict[str, Any]) -> bool:
    """Whether a model's validators take a record as a whole; what they refuse, or fail on, is not drawn."""
    empty = {name: kind.empty() for name, kind in spec_of(model).fields.items() if not kind.in_creation}
    try:
        model.model_validate(empty | values)
    except ValidationError:
        return False
    return True
