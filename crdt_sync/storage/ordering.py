"""One order for every value a view holds, as bytes that compare as the values do.

SQLite compares most values as Python does by itself. What it cannot (integers beyond 64 bits, decimals kept as text) is
compared by these keys, and the memory store compares everything by them, so both agree by construction.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeAlias

Cell: TypeAlias = "int | float | str | bytes | None"
"""What is kept in one field of a row: a value SQLite has a type for."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

NUMBER: Final = b"\x01"
TEXT: Final = b"\x02"
BYTES: Final = b"\x03"
"""First byte of a key: numbers before text before bytes, as in SQLite."""

NAN_TEXT: Final = "NaN"
"""Kept for a float that is not a number, which SQLite would turn into NULL."""

_MINUS_INFINITY = NUMBER + b"\x00"
_NEGATIVE = NUMBER + b"\x01"
_ZERO = NUMBER + b"\x02"
_POSITIVE = NUMBER + b"\x03"
_INFINITY = NUMBER + b"\x04"
_NAN = TEXT + NAN_TEXT.encode()
_EXPONENT_BIAS = 2**63
_COMPLEMENT = bytes(255 - byte for byte in range(256))
_END_OF_NEGATIVE = b"\xff"


def number_key(number: Decimal | float) -> bytes:
    """Encode a number of any size and kind exactly, so that byte order is numeric order and equal numbers are equal.

    A sign class, the exponent of the first digit, then the digits without trailing zeros; complemented for negatives.
    """
    decimal = number if isinstance(number, Decimal) else Decimal(number)
    if decimal.is_nan():
        return _NAN
    if decimal.is_infinite():
        return _MINUS_INFINITY if decimal.is_signed() else _INFINITY
    if decimal.is_zero():
        return _ZERO
    digits = bytes(decimal.as_tuple().digits).rstrip(b"\x00")
    magnitude = (decimal.adjusted() + _EXPONENT_BIAS).to_bytes(8, "big") + digits
    if decimal.is_signed():
        return _NEGATIVE + magnitude.translate(_COMPLEMENT) + _END_OF_NEGATIVE
    return _POSITIVE + magnitude


def value_key(value: Decimal | Cell) -> bytes | None:
    """The key of a value; None, which comes first, for None."""
    if value is None:
        return None
    if isinstance(value, str):
        return TEXT + value.encode()
    if isinstance(value, bytes):
        return BYTES + value
    return number_key(value)


def decimal_cell_key(cell: Cell) -> bytes | None:
    """The key of what a DECIMAL column keeps."""
    return None if cell is None else number_key(Decimal(cell if isinstance(cell, str) else str(cell)))


def wide_cell_key(cell: Cell) -> bytes | None:
    """The key of what a VALUE column keeps in which some integers are too large for SQLite, and kept as text."""
    if isinstance(cell, str) and is_wide_text(cell):
        return number_key(Decimal(cell))
    return value_key(cell)


def is_wide(value: object) -> bool:
    """Whether this is an integer that SQLite cannot hold."""
    return isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX


def wide_text(value: int) -> str:
    """Write an integer of any size in digits (`str` refuses more than 4,300 of them, Decimal does not)."""
    return str(Decimal(value))


def is_wide_text(text: str) -> bool:
    """Whether text is what `wide_text` writes for an integer that SQLite cannot hold."""
    digits = text.removeprefix("-")
    if len(digits) < len(str(INTEGER_MAX)) or not digits.isascii() or not digits.isdigit() or digits[0] == "0":
        return False
    return not INTEGER_MIN <= Decimal(text) <= INTEGER_MAX
