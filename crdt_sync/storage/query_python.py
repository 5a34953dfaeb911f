"""Answers a query on a view in Python, by the keys of `ordering` alone: what `query_sql` must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import ge, gt, le, lt
from typing import Final, TypeAlias, assert_never

from crdt_sync.errors import InvalidValueError
from crdt_sync.storage.base import Column, ColumnKind, Filter, FilterOp, Query
from crdt_sync.storage.ordering import Cell, decimal_cell_key, value_key, wide_cell_key
from crdt_sync.storage.rows import ID, ViewDefinition, check_query, filter_key, filter_values, json_contains, json_text

Row: TypeAlias = tuple[Cell, ...]
"""The cells of a row after its id."""

_Test: TypeAlias = Callable[[str, Row], bool]
_COMPARATORS: Final = {FilterOp.LT: lt, FilterOp.LE: le, FilterOp.GT: gt, FilterOp.GE: ge}


def matching(definition: ViewDefinition, rows: Mapping[str, Row], query: Query) -> list[str]:
    """The ids of the rows for which all filters hold, in order of id. Raises what `Store.query` does."""
    check_query(query)
    tests = [_test(definition, item) for item in query.filters]
    return sorted(row_id for row_id, row in rows.items() if all(test(row_id, row) for test in tests))


def answer(definition: ViewDefinition, rows: Mapping[str, Row], query: Query) -> list[str]:
    """The ids that a query asks for. Raises what `Store.query` does."""
    orders = []
    for order in query.order_by:
        column = definition.column(order.column)
        if column.kind is ColumnKind.JSON:
            raise InvalidValueError(f"{column.name} has no order to sort by", field=column.name)
        orders.append((_reader(definition, column), _keyed(definition, column), order.descending))
    ids = matching(definition, rows, query)
    for read, key, descending in reversed(orders):  # sorting is stable, so the first order comes last
        sort_keys = {row_id: key(read(row_id, rows[row_id])) or b"" for row_id in ids}  # None first: no key is empty
        ids.sort(key=sort_keys.__getitem__, reverse=descending)
    end = None if query.limit is None else query.offset + query.limit
    return ids[query.offset : end]


def _reader(definition: ViewDefinition, column: Column) -> Callable[[str, Row], Cell]:
    if column.name == ID:
        return lambda row_id, _row: row_id
    place = definition.view.columns.index(column)
    return lambda _row_id, row: row[place]


def _keyed(definition: ViewDefinition, column: Column) -> Callable[[Cell], bytes | None]:
    if column.kind is ColumnKind.DECIMAL:
        return decimal_cell_key
    return wide_cell_key if column.name in definition.wide else value_key


def _test(definition: ViewDefinition, item: Filter) -> _Test:
    column = definition.column(item.column)
    read = _reader(definition, column)
    holds = _cell_test(definition, column, item)
    return lambda row_id, row: holds(read(row_id, row))


def _cell_test(definition: ViewDefinition, column: Column, item: Filter) -> Callable[[Cell], bool]:
    value = item.value
    match item.op:
        case FilterOp.IS_NULL:
            if not isinstance(value, bool):
                raise InvalidValueError(f"IS_NULL on {column.name} takes True or False", field=column.name)
            return lambda cell: (cell is None) is value
        case FilterOp.EQ:
            return _among(definition, column, [value])
        case FilterOp.NE:
            equal = _among(definition, column, [value])
            return lambda cell: not equal(cell)
        case FilterOp.IN:
            return _among(definition, column, filter_values(item))
        case FilterOp.CONTAINS:
            return _contains(column, value)
        case FilterOp.CONTAINS_ANY:
            tests = [_contains(column, part) for part in filter_values(item)]
            return lambda cell: any(test(cell) for test in tests)
        case FilterOp.LT | FilterOp.LE | FilterOp.GT | FilterOp.GE:
            return _compared(definition, column, item)
        case _:
            assert_never(item.op)


def _among(definition: ViewDefinition, column: Column, values: Iterable[object]) -> Callable[[Cell], bool]:
    key: Callable[[Cell], object]
    wanted: set[object]
    comparable = [value for value in values if value is None or value == value]  # noqa: PLR0124  # NaN equals nothing
    if column.kind is ColumnKind.JSON:
        wanted = {None if value is None else json_text(value, field=column.name) for value in comparable}
        return lambda cell: cell in wanted
    wanted = {None if value is None else filter_key(column, value) for value in comparable}
    key = _keyed(definition, column)
    return lambda cell: key(cell) in wanted


def _compared(definition: ViewDefinition, column: Column, item: Filter) -> Callable[[Cell], bool]:
    value, compare = item.value, _COMPARATORS[item.op]
    if value is None or column.kind is ColumnKind.JSON:
        raise InvalidValueError(f"{column.name} cannot be less or greater than {value!r:.80}", field=column.name)
    bound = filter_key(column, value)
    if value != value:  # noqa: PLR0124  # NaN is neither less nor greater than anything
        return lambda _cell: False
    key = _keyed(definition, column)

    def holds(cell: Cell) -> bool:
        found = key(cell)
        return found is not None and found[:1] == bound[:1] and compare(found, bound)

    return holds


def _contains(column: Column, value: object) -> Callable[[Cell], bool]:
    if column.kind is ColumnKind.JSON:
        needle = json_text(value, field=column.name)
        return lambda cell: json_contains(cell, needle)
    if column.kind is ColumnKind.VALUE and isinstance(value, str):
        return lambda cell: isinstance(cell, str) and value in cell
    if column.kind is ColumnKind.VALUE and isinstance(value, bytes):
        return lambda cell: isinstance(cell, bytes) and value in cell
    raise InvalidValueError(f"{column.name} cannot contain {value!r:.80}", field=column.name)
