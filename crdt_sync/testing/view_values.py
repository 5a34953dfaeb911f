"""Values that sort wrongly where an order is naive, and how they compare in Python: what queries are held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from crdt_sync.storage.base import FilterOp, ViewValue

VALUES: Sequence[ViewValue] = (
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.5, -1.5, 1e300, -1e300),
    *(
        math.inf,
        -math.inf,
        math.nan,
        "",
        "a",
        "A",
        "ä",
        "aa",
        "NaN",
        "\x00",
        "a\x00b",
        "😀",
        "\uffff",
        "%",
        "_",
        "'",
        '"',
    ),
    *(b"", b"a", b"\x00", b"\xff\xff"),
)
"""What sorts wrongly where an order is naive."""

WIDE_VALUES: Sequence[ViewValue] = (
    *(2**63, -(2**63) - 1, 10**30, -(10**30), 10**30 + 1, 2**64, float(2**64), 10**5000, -(10**5000)),
)
"""Integers that no 64 bits hold, and a float that equals one."""

DECIMALS: Sequence[ViewValue] = (
    *(
        None,
        "1",
        "1.0",
        "1.10",
        "-1.5",
        "10",
        "9",
        "0",
        "-0",
        "1e3",
        "1E-30",
        "-1e3",
        "123456789012345678901234567890.1",
    ),
    *(Decimal("1.05"), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), 7, -(10**30), 10**30, 2.5),
)

JSONS: Sequence[ViewValue] = (
    *(None, [], ["a"], ["a", "b"], ["aa"], ['"'], ["ä"], [1], [1.0], ["1"], [10**25], [True], [None], [["a"]]),
    *({"a": 1}, {"b": "a"}, {"b": 1, "a": 2}, "text with a", 5, {"x": [math.inf]}),
)


def as_decimal(value: ViewValue) -> Decimal | None:
    """The number that a DECIMAL column stands for."""
    return None if value is None else Decimal(str(value))


def _kind(value: object) -> type:
    return Decimal if isinstance(value, int | float | Decimal) else type(value)


def compares(value: object, op: FilterOp, operand: object) -> bool:
    """Compare as Python does; values of different kinds, for which Python raises, are unequal and unordered."""
    if op is FilterOp.EQ:
        return value == operand
    if op is FilterOp.NE:
        return value != operand
    if value is None or _kind(value) is not _kind(operand):
        return False
    compare: dict[FilterOp, Callable[[], bool]] = {
        FilterOp.LT: lambda: value < operand,  # type: ignore[operator]  # of one kind, as was just made sure
        FilterOp.LE: lambda: value <= operand,  # type: ignore[operator]  # as above
        FilterOp.GT: lambda: value > operand,  # type: ignore[operator]  # as above
        FilterOp.GE: lambda: value >= operand,  # type: ignore[operator]  # as above
    }
    return not (value != value or operand != operand) and compare[op]()  # noqa: PLR0124  # NaN is not itself


def rank(value: object) -> tuple[int, object]:
    """None, numbers, text (a number that is none among it, as `NaN`), bytes."""
    match value:
        case None:
            return 0, 0
        case bytes():
            return 3, value
        case str():
            return 2, value.encode()
        case int() | float() | Decimal() if value == value:  # noqa: PLR0124  # not NaN
            return 1, value
        case _:
            return 2, b"NaN"


def sorted_ids(rows: Mapping[str, ViewValue], *, descending: bool) -> list[str]:
    """The ids of rows in the order of their values, equal ones by id."""
    ids = sorted(rows)
    ids.sort(key=lambda row_id: rank(rows[row_id]), reverse=descending)
    return ids
