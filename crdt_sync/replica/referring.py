"""Queries by references: whoever looks for a record finds what refers to it by any of the ids that it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, get_args

from crdt_sync.core.ids import document_key, record_id, split_document_key
from crdt_sync.core.model import Model
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InputError
from crdt_sync.replica.duplicates import group_of
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Filter, FilterOp, Query

_MODELS_CACHED: Final = 256


def following(state: State, declared: Declared, query: Query) -> Query:
    """A query that also finds references by the ids of records that those it names were merged with."""
    fields = _referring(declared.model)
    if not fields:
        return query
    found = (_followed(state, fields.get(item.column, ()), item) for item in query.filters)
    return replace(query, filters=tuple(item for items in found for item in items))


def ids_of(state: State, models: Iterable[str], value: object) -> list[str]:
    """All ids of the record that an id names, the one it shows under first; of anything else the value alone.

    Args:
        state: the replica.
        models: whose record it may be.
        value: an id, or anything else.
    """
    if not isinstance(value, str):
        return []
    try:
        name = record_id(value)
    except InputError:
        return []
    for model in models:
        target = state.schema.get(model)
        if target is not None and target.spec.groups:
            group = group_of(state, target, document_key(partition_of(target, {}), target.spec.name, name))
            if len(group) > 1:
                return [split_document_key(key)[2] for key in group]
    return []


def _followed(state: State, models: Iterable[str], item: Filter) -> Iterator[Filter]:
    """A filter, or those that mean it of all ids of the records that it names."""
    values: list[Any] = item.value if item.op is FilterOp.IN and isinstance(item.value, list) else [item.value]
    ids = [ids_of(state, models, value) for value in values]
    flat = [name for value, names in zip(values, ids, strict=True) for name in names or [value]] if any(ids) else []
    match item.op:
        case FilterOp.EQ | FilterOp.IN if flat:
            yield replace(item, op=FilterOp.IN, value=flat)
        case FilterOp.NE if flat:
            yield from (replace(item, value=name) for name in flat)
        case FilterOp.CONTAINS if flat:
            yield replace(item, op=FilterOp.CONTAINS_ANY, value=flat)
        case _:
            yield item


@lru_cache(maxsize=_MODELS_CACHED)
def _referring(model: type[Model]) -> Mapping[str, tuple[str, ...]]:
    """The fields of a model that hold references → the models that they refer to."""
    found = {name: tuple(dict.fromkeys(_targets(info.annotation))) for name, info in model.model_fields.items()}
    return {name: targets for name, targets in found.items() if targets}


def _targets(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, Ref):
        if annotation.model:
            yield annotation.model
    else:
        for argument in get_args(annotation):
            yield from _targets(argument)
