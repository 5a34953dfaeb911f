"""Keys compare as the values do, whatever their size."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.storage.ordering import decimal_cell_key, is_wide, is_wide_text, number_key, value_key, wide_text

INTEGERS = st.integers(min_value=-(10**40), max_value=10**40)
NUMBERS = st.one_of(
    INTEGERS,
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.sampled_from([0, -0.0, 2**63, 2**63 - 1, -(2**63), Decimal("1e-400"), Decimal("-1e999999"), 1e308]),
)


@given(NUMBERS, NUMBERS)
def test_keys_of_numbers_order_as_numbers(one: Decimal | float, other: Decimal | float) -> None:
    assert (number_key(one) < number_key(other)) is (one < other)
    assert (number_key(one) == number_key(other)) is (one == other)


@given(st.text(), st.text())
def test_keys_of_text_order_as_text(one: str, other: str) -> None:
    assert (value_key(one) or b"") < (value_key(other) or b"") or one >= other


@given(NUMBERS, st.text(), st.binary())
def test_kinds_are_ordered_as_sqlite_orders_them(number: Decimal | float, text: str, data: bytes) -> None:
    keys = [value_key(value) or b"" for value in (None, number, text, data)]
    assert keys == sorted(keys)
    assert len(set(keys)) == 4


@given(INTEGERS)
def test_integers_that_sqlite_cannot_hold_are_known_by_their_text(value: int) -> None:
    assert is_wide_text(wide_text(value)) is is_wide(value)
    assert decimal_cell_key(wide_text(value)) == number_key(value)


@given(st.text(alphabet="0123456789-+.e _٣", max_size=30))
def test_other_text_is_not_taken_for_an_integer(text: str) -> None:
    if is_wide_text(text):
        assert text == str(int(text))
        assert is_wide(int(text))


def test_an_integer_of_more_digits_than_python_prints_has_a_text() -> None:
    assert wide_text(10**5000) == "1" + "0" * 5000
