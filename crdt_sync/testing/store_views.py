"""The part of the acceptance suite of stores that is about views and queries; `stores.StoreAcceptance` is the whole."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from decimal import Decimal

import pytest

from crdt_sync.errors import InvalidValueError, SchemaError, UnknownFieldError, UnknownModelError
from crdt_sync.storage.base import Column, ColumnKind, Filter, FilterOp, Order, Query, Store, View, ViewValue
from crdt_sync.testing.view_values import (
    DECIMALS,
    JSONS,
    VALUES,
    WIDE_VALUES,
    as_decimal,
    compares,
    sorted_ids,
)

_COLUMNS = (
    Column(name="value"),
    Column(name="decimal", kind=ColumnKind.DECIMAL),
    Column(name="json", kind=ColumnKind.JSON),
)
_VIEW = View(name="Thing", columns=_COLUMNS, indexes=(("value",), ("decimal", "value")))


class ViewAcceptance:
    """The promises of `Store` about views."""

    def test_views_are_listed_as_they_were_defined(self, store: Store) -> None:
        other = View(name="Another", columns=())
        with store.transaction():
            assert store.define_view(_VIEW)
            assert store.define_view(other)
            assert not store.define_view(_VIEW)
        assert store.views() == (other, _VIEW)
        with store.transaction():
            store.drop_view("Thing")
            store.drop_view("Unknown")
        assert store.views() == (other,)

    def test_a_view_with_other_columns_is_empty_and_one_with_other_indexes_is_not(self, store: Store) -> None:
        with store.transaction():
            store.define_view(_VIEW)
            store.put_rows("Thing", [("a", 1, None, None)])
            assert not store.define_view(View(name="Thing", columns=_COLUMNS, indexes=(("json",), ("value",))))
            assert store.query(Query(view="Thing")) == ["a"]
            assert store.define_view(View(name="Thing", columns=_COLUMNS[:1], indexes=(("value",),)))
            assert store.query(Query(view="Thing")) == []
            assert store.define_view(View(name="Thing", columns=_COLUMNS[:2]))
        assert store.views() == (View(name="Thing", columns=_COLUMNS[:2]),)

    @pytest.mark.parametrize(
        "view",
        [
            View(name="", columns=()),
            View(name="with space", columns=()),
            View(name='quo"te', columns=()),
            View(name="1digit", columns=()),
            View(name="line\n", columns=()),
            View(name="Größe", columns=()),
            View(name="x" * 65, columns=()),
            View(name="sqlite_thing", columns=()),
            View(name="_CRDT_log", columns=()),
            View(name="THING", columns=()),
            View(name="A", columns=(Column(name="id"),)),
            View(name="A", columns=(Column(name="ID"),)),
            View(name="A", columns=(Column(name="x"), Column(name="X"))),
            View(name="A", columns=(Column(name="x;"),)),
            View(name="A", columns=(Column(name="x"),), indexes=(("y",),)),
            View(name="A", columns=(Column(name="x"),), indexes=((),)),
            View(name="A", columns=(Column(name="x"),), indexes=(("x", "x"),)),
            View(name="A", columns=(Column(name="x"),), indexes=(("x",), ("x",))),
            View(name="A", columns=tuple(Column(name=f"x{number}") for number in range(501))),
        ],
        ids=lambda view: repr(view.name),
    )
    def test_names_that_some_tool_would_trip_over_are_refused(self, store: Store, view: View) -> None:
        with store.transaction():
            store.define_view(_VIEW)
        with pytest.raises(SchemaError), store.transaction():
            store.define_view(view)
        assert store.views() == (_VIEW,)

    def test_words_of_sql_are_names_like_others(self, store: Store) -> None:
        view = View(name="select", columns=(Column(name="order"), Column(name="group")), indexes=(("order", "group"),))
        with store.transaction():
            store.define_view(view)
            store.put_rows("select", [("a", 1, 2), ("b", 2, 1)])
        order = (Order(column="order", descending=True),)
        assert store.query(Query(view="select", order_by=order)) == ["b", "a"]

    def test_rows_replace_and_disappear(self, store: Store) -> None:
        with store.transaction():
            store.define_view(_VIEW)
            store.put_rows("Thing", [("a", 1, 1, [1]), ("b", 1, 1, [1]), ("a", 2, None, None)])
            store.delete_rows("Thing", ["b", "missing"])
        assert store.query(Query(view="Thing", filters=(_where("value", FilterOp.EQ, 2),))) == ["a"]
        assert store.query_count(Query(view="Thing")) == 1

    @pytest.mark.parametrize(
        "row",
        [
            ("a",),
            ("a", 1, 1, 1, 1),
            (1, 1, 1, 1),
            ("a", [], None, None),
            ("a", 1j, None, None),
            ("a", "\ud800", None, None),
            ("\ud800", None, None, None),
            ("a", None, "text", None),
            ("a", None, [], None),
            ("a", None, None, 1j),
            ("a", None, None, ["\ud800"]),
            ("a", None, None, [b"bytes"]),
        ],
        ids=repr,
    )
    def test_values_that_a_column_cannot_keep_are_refused(self, store: Store, row: tuple[ViewValue, ...]) -> None:
        with store.transaction():
            store.define_view(_VIEW)
        with pytest.raises(InvalidValueError), store.transaction():
            store.put_rows("Thing", [("kept", 1, 1, 1), row])
        assert store.query(Query(view="Thing")) == []

    def test_unknown_views_and_columns_are_named(self, store: Store) -> None:
        with store.transaction():
            store.define_view(_VIEW)
        with pytest.raises(UnknownModelError, match="Missing"):
            store.query(Query(view="Missing"))
        with pytest.raises(UnknownModelError, match="Missing"), store.transaction():
            store.put_rows("Missing", [("a",)])
        with pytest.raises(UnknownModelError, match="Missing"), store.transaction():
            store.delete_rows("Missing", ["a"])
        with pytest.raises(UnknownFieldError, match="missing"):
            store.query(Query(view="Thing", filters=(_where("missing", FilterOp.EQ, 1),)))
        with pytest.raises(UnknownFieldError, match="Value"):
            store.query(Query(view="Thing", order_by=(Order(column="Value"),)))

    @pytest.mark.parametrize(
        "query",
        [
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.LT, value=None),)),
            Query(view="Thing", filters=(Filter(column="decimal", op=FilterOp.GE, value=None),)),
            Query(view="Thing", filters=(Filter(column="decimal", op=FilterOp.EQ, value="text"),)),
            Query(view="Thing", filters=(Filter(column="json", op=FilterOp.LT, value=[1]),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.EQ, value=[1]),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.EQ, value="\ud800"),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.CONTAINS, value=1),)),
            Query(view="Thing", filters=(Filter(column="decimal", op=FilterOp.CONTAINS, value="1"),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.IS_NULL, value=1),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.IN, value="text"),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.IN, value=[0] * 10_001),)),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.EQ, value=0),) * 101),
            Query(view="Thing", filters=(Filter(column="value", op=FilterOp.IN, value=[0] * 9_000),) * 4),
            Query(view="Thing", order_by=(Order(column="json"),)),
            Query(view="Thing", limit=-1),
            Query(view="Thing", offset=-1),
        ],
        ids=lambda query: repr((*query.filters[:1], *query.order_by))[:60],
    )
    def test_questions_without_a_meaning_are_refused(self, store: Store, query: Query) -> None:
        with store.transaction():
            store.define_view(_VIEW)
            store.put_rows("Thing", [("a", 1, 1, [1])])
        with pytest.raises(InvalidValueError):
            store.query(query)
        if query.filters:
            with pytest.raises(InvalidValueError):
                store.query_count(query)

    @pytest.mark.parametrize("values", [VALUES, (*VALUES, *WIDE_VALUES)], ids=["plain", "wide"])
    def test_values_compare_as_in_python(self, store: Store, values: Sequence[ViewValue]) -> None:
        rows = self._filled(store, "value", values)
        for operand in (*VALUES, *WIDE_VALUES, Decimal("0.5"), Decimal("1e30")):
            for op in (FilterOp.EQ, FilterOp.NE, FilterOp.LT, FilterOp.LE, FilterOp.GT, FilterOp.GE):
                if operand is None and op not in {FilterOp.EQ, FilterOp.NE}:
                    continue
                expected = [row_id for row_id, value in rows.items() if compares(value, op, operand)]
                found = store.query(Query(view="Thing", filters=(_where("value", op, operand),)))
                assert found == expected, (op, operand)

    def test_decimals_compare_as_numbers(self, store: Store) -> None:
        rows = self._filled(store, "decimal", DECIMALS)
        numbers = {row_id: as_decimal(value) for row_id, value in rows.items()}
        for operand in DECIMALS:
            for op in (FilterOp.EQ, FilterOp.NE, FilterOp.LT, FilterOp.LE, FilterOp.GT, FilterOp.GE):
                if operand is None and op not in {FilterOp.EQ, FilterOp.NE}:
                    continue
                expected = [row_id for row_id, number in numbers.items() if compares(number, op, as_decimal(operand))]
                found = store.query(Query(view="Thing", filters=(_where("decimal", op, operand),)))
                assert found == expected, (op, operand)

    def test_equality_of_json_is_that_of_its_text(self, store: Store) -> None:
        rows = self._filled(store, "json", JSONS)
        by_value = {repr(value): row_id for row_id, value in rows.items()}
        for value in JSONS:
            found = store.query(Query(view="Thing", filters=(_where("json", FilterOp.EQ, value),)))
            assert found == [by_value[repr(value)]]
            others = store.query(Query(view="Thing", filters=(_where("json", FilterOp.NE, value),)))
            assert others == sorted(rows.keys() - found)
        reordered = {"a": 2, "b": 1}
        assert store.query(Query(view="Thing", filters=(_where("json", FilterOp.EQ, reordered),))) == [
            by_value[repr({"b": 1, "a": 2})]
        ]

    def test_in_finds_any_of_several(self, store: Store) -> None:
        rows = self._filled(store, "value", VALUES)
        choices: Sequence[Sequence[ViewValue]] = (
            [],
            [None],
            [1, "a"],
            [None, b"a", 0.5],
            [math.nan],
            [True, 10**30],
            list(range(9_000)),
        )
        for wanted in choices:
            expected = [
                row_id for row_id, value in rows.items() if any(compares(value, FilterOp.EQ, item) for item in wanted)
            ]
            assert store.query(Query(view="Thing", filters=(_where("value", FilterOp.IN, wanted),))) == expected
        decimals = (_where("decimal", FilterOp.IN, [None, "1.000"]),)
        assert store.query(Query(view="Thing", filters=decimals)) == list(rows)

    def test_is_null_tells_none_from_everything_else(self, store: Store) -> None:
        rows = self._filled(store, "value", VALUES)
        for wanted in (True, False):
            expected = [row_id for row_id, value in rows.items() if (value is None) is wanted]
            assert store.query(Query(view="Thing", filters=(_where("value", FilterOp.IS_NULL, wanted),))) == expected

    def test_contains_looks_into_text_and_bytes(self, store: Store) -> None:
        rows = self._filled(store, "value", VALUES)
        for needle in ("", "a", "ä", "\x00", "%", "_", "A", "missing"):
            expected = [row_id for row_id, value in rows.items() if isinstance(value, str) and needle in value]
            found = store.query(Query(view="Thing", filters=(_where("value", FilterOp.CONTAINS, needle),)))
            assert found == expected
        for part in (b"", b"a", b"\xff"):
            expected = [row_id for row_id, value in rows.items() if isinstance(value, bytes) and part in value]
            assert store.query(Query(view="Thing", filters=(_where("value", FilterOp.CONTAINS, part),))) == expected

    def test_contains_looks_into_json(self, store: Store) -> None:
        rows = self._filled(store, "json", JSONS)

        def contains(content: object, needle: object) -> bool:
            if isinstance(content, list):
                return needle in content
            return isinstance(content, str | dict) and isinstance(needle, str) and needle in content

        needles: Sequence[ViewValue] = ("a", "aa", '"', "ä", 1, 1.0, "1", True, None, ["a"], "missing", "text")
        for needle in needles:
            expected = [row_id for row_id, value in rows.items() if contains(value, needle)]
            found = store.query(Query(view="Thing", filters=(_where("json", FilterOp.CONTAINS, needle),)))
            assert found == expected, needle
        for among in ((), ("missing",), ("a", "ä"), ("missing", 1, None)):
            expected = [row_id for row_id, value in rows.items() if any(contains(value, needle) for needle in among)]
            found = store.query(Query(view="Thing", filters=(_where("json", FilterOp.CONTAINS_ANY, among),)))
            assert found == expected, among

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("values", [VALUES, (*VALUES, *WIDE_VALUES)], ids=["plain", "wide"])
    def test_rows_sort_as_in_python_with_none_first(
        self,
        store: Store,
        values: Sequence[ViewValue],
        descending: bool,
    ) -> None:
        rows = self._filled(store, "value", values)
        order = (Order(column="value", descending=descending),)
        found = store.query(Query(view="Thing", order_by=order))
        assert found == sorted_ids(rows, descending=descending)
        assert store.query(Query(view="Thing", order_by=order, limit=5, offset=3)) == found[3:8]
        assert store.query(Query(view="Thing", order_by=order, offset=10)) == found[10:]
        assert store.query(Query(view="Thing", order_by=order, limit=0)) == []

    @pytest.mark.parametrize("descending", [False, True])
    def test_decimals_sort_as_numbers(self, store: Store, descending: bool) -> None:
        rows = self._filled(store, "decimal", DECIMALS)
        numbers = {row_id: as_decimal(value) for row_id, value in rows.items()}
        order = (Order(column="decimal", descending=descending),)
        found = store.query(Query(view="Thing", order_by=order))
        assert found == sorted_ids(numbers, descending=descending)

    def test_several_filters_and_orders_work_together(self, store: Store) -> None:
        generator = random.Random(3)
        rows = {
            f"{number:03}": (generator.randrange(4), generator.randrange(4), [generator.choice("abc")])
            for number in range(200)
        }
        with store.transaction():
            store.define_view(_VIEW)
            store.put_rows("Thing", ((row_id, *cells) for row_id, cells in rows.items()))
        filters = (
            _where("value", FilterOp.GE, 1),
            _where("decimal", FilterOp.LT, 3),
            _where("json", FilterOp.CONTAINS, "a"),
            _where("id", FilterOp.LT, "150"),
        )
        orders = (Order(column="decimal", descending=True), Order(column="value"))
        expected = sorted(
            (
                row_id
                for row_id, cells in rows.items()
                if cells[0] >= 1 and cells[1] < 3 and "a" in cells[2] and row_id < "150"
            ),
            key=lambda row_id: (-rows[row_id][1], rows[row_id][0], row_id),
        )
        query = Query(view="Thing", filters=filters, order_by=orders, limit=1000)
        assert store.query(query) == expected
        assert store.query_count(Query(view="Thing", filters=filters, limit=1, offset=5)) == len(expected)
        by_id = Query(view="Thing", filters=filters, order_by=(Order(column="id", descending=True),))
        assert store.query(by_id) == sorted(expected, reverse=True)

    def _filled(self, store: Store, column: str, values: Sequence[ViewValue]) -> dict[str, ViewValue]:
        """Put a row for each value into one column (the decimal column has 1 else, the rest None); give them by id."""
        rows = {f"{number:03}": value for number, value in enumerate(values)}
        filled = {"value": None, "decimal": 1, "json": None}
        with store.transaction():
            store.define_view(_VIEW)
            store.put_rows("Thing", ((row_id, *(filled | {column: value}).values()) for row_id, value in rows.items()))
        return {row_id: "NaN" if column == "value" and value != value else value for row_id, value in rows.items()}  # noqa: PLR0124  # NaN is not itself


def _where(column: str, op: FilterOp, value: ViewValue | Sequence[ViewValue]) -> Filter:
    return Filter(column=column, op=op, value=value)
