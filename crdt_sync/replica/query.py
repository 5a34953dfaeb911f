"""From the keywords of `find` to a query over the model's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crdt_sync.core.ids import DocumentKey, document_key, record_id
from crdt_sync.core.kinds import ColumnKind, FieldKind
from crdt_sync.core.kinds.plain import json_value
from crdt_sync.core.model import Model, ModelSpec
from crdt_sync.errors import CorruptStoreError, CRDTSyncError, InvalidValueError, UnknownFieldError
from crdt_sync.storage.base import Filter, FilterOp, Order, Query
from crdt_sync.storage.ordering import NAN_TEXT

_OPERATORS = {
    "": FilterOp.EQ,
    "lt": FilterOp.LT,
    "le": FilterOp.LE,
    "gt": FilterOp.GT,
    "ge": FilterOp.GE,
    "ne": FilterOp.NE,
    "in": FilterOp.IN,
    "contains": FilterOp.CONTAINS,
}


def found_key(partition: str, model: str, row: str) -> DocumentKey:
    """The address of a record that a query found.

    Raises:
        CorruptStoreError: a row of the table that no record has: it was changed by something else.
    """
    try:
        return document_key(partition, model, record_id(row))
    except (CRDTSyncError, ValueError, TypeError):
        raise CorruptStoreError(f"the table {model!r} has a row that is no record's", table=model) from None


def build_query(
    spec: ModelSpec,
    filters: Mapping[str, Any],
    *,
    order_by: str | Iterable[str] | None,
    limit: int | None,
    offset: int,
) -> Query:
    """Build a query.

    Args:
        spec: the model.
        filters: ``field=value`` for equality, ``field__lt`` and so on for the other comparisons.
        order_by: field names, each descending with a ``-`` in front.
        limit: at most so many rows; None for all.
        offset: how many rows to pass over.

    Raises:
        UnknownFieldError: a field or comparison that does not exist.
        InvalidValueError: a value that cannot be compared, or a bad limit.
    """
    for name, number in (("limit", limit), ("offset", offset)):
        if number is not None and (type(number) is not int or number < 0):
            raise InvalidValueError(f"{name} must be a whole number that is not negative")
    names = _order_names(order_by)
    return Query(
        view=spec.name,
        filters=tuple(_filter(spec, name, value) for name, value in filters.items()),
        order_by=tuple(_order(spec, name) for name in names),
        limit=limit,
        offset=offset,
    )


def fields_used(query: Query) -> frozenset[str]:
    """The fields that a query filters or orders by."""
    return frozenset((*(item.column for item in query.filters), *(item.column for item in query.order_by)))


def _order_names(order_by: object) -> list[str]:
    if order_by is None:
        return []
    names = [order_by] if isinstance(order_by, str) else order_by
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InvalidValueError("order_by takes a field's name, or a list of names")
    return list(names)


def _filter(spec: ModelSpec, keyword: str, value: Any) -> Filter:
    name, _, operator = keyword.partition("__")
    op = _OPERATORS.get(operator)
    if op is None:
        raise UnknownFieldError(
            f"there is no comparison {operator!r}", hint=f"Comparisons: {', '.join(filter(None, _OPERATORS))}."
        )
    if name == "id":
        return Filter(column="id", op=op, value=[str(item) for item in value] if op is FilterOp.IN else str(value))
    kind = spec.field(name)
    if op is FilterOp.IN:
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise InvalidValueError(f"{keyword} takes a list of values", field=name)
        return Filter(column=name, op=op, value=[_sought(kind, item) for item in value])
    if op is FilterOp.CONTAINS:
        value = value.id if isinstance(value, Model) else value
        part = value if isinstance(value, bytes) and kind.column_kind() is not ColumnKind.JSON else json_value(value)
        return Filter(column=name, op=op, value=part)
    taken = _sought if op in (FilterOp.EQ, FilterOp.NE) else _comparable
    return Filter(column=name, op=op, value=taken(kind, value))


def _comparable(kind: FieldKind, value: Any) -> Any:
    """A value to compare with, as the table keeps it; live field objects stand for their value."""
    plain = kind.plain(value)
    return None if plain is None else kind.sought(plain)


def _sought(kind: FieldKind, value: Any) -> Any:
    """A value that is looked for: NaN as the table writes it, since it is neither equal nor unequal to anything."""
    cell = _comparable(kind, value)
    return NAN_TEXT if cell != cell else cell  # noqa: PLR0124  only NaN differs from itself


def _order(spec: ModelSpec, name: str) -> Order:
    field = name.removeprefix("-")
    if field != "id":
        spec.field(field)
    return Order(column=field, descending=name.startswith("-"))
