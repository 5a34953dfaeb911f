"""Fields that hold values of several types: what an export writes of them, an import takes as the same value."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, Literal, Union
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import create_model

from crdt_sync import List, Map, Model, Set
from crdt_sync.cli.cells import row_of, values_of_row
from crdt_sync.cli.rows import row_text
from crdt_sync.cli.values import json_of_value, value_of_json
from crdt_sync.core.codec import encode
from crdt_sync.core.equality import is_same
from crdt_sync.core.model import spec_of
from crdt_sync.core.validating import validate_creation
from crdt_sync.errors import CRDTSyncError


class Mood(Enum):
    CALM = "calm"
    TWO = 2
    DAY = date(2025, 1, 1)


_TEXTS: Final = ("", "null", "5", "5.0", "true", "2025-01-01", "2025-01-01T00:00:00", "01:02:03", "P1D", "YWJj", "calm")
_MORE_TEXTS: Final = ("[1]", "{}", '"a"', '{"$value": "c0"}', "a\rb", "a\r", "\n", " ", ",", "nan", "inf", "1E+5")
_UUID: Final = UUID(int=3)
texts = st.one_of(st.sampled_from((*_TEXTS, *_MORE_TEXTS, str(_UUID))), st.text(max_size=5))
numbers = st.one_of(st.sampled_from((0, 1, 2, 5)), st.integers(), st.just(10**30))

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    bytes: st.one_of(texts.map(str.encode), st.binary(max_size=4)),
    int: numbers,
    bool: st.booleans(),
    float: st.one_of(numbers.map(lambda number: float(number % 10)), st.floats()),
    Decimal: st.sampled_from([Decimal(text) for text in ("5", "5.0", "1E+5", "-0", "NaN", "Infinity")]),
    date: st.sampled_from([date(2025, 1, 1), date.min]),
    datetime: st.sampled_from(["2025-01-01", "2025-10-26T02:30+02:00", "2025-01-01T00:00Z"]).map(
        datetime.fromisoformat
    ),
    time: st.sampled_from([time(1, 2, 3), time(2, 30, fold=1)]),
    timedelta: st.sampled_from([timedelta(days=1), timedelta(days=-1, microseconds=5)]),
    UUID: st.just(_UUID),
    None: st.none(),
    Mood: st.sampled_from(Mood),
    Literal["5", 5]: st.sampled_from(["5", 5]),
}
unions = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3, unique=True).map(tuple)


@cache
def model_of(members: tuple[Any, ...]) -> Any:
    """A model with fields of every shape around one union."""
    union: Any = Union[tuple(members)]  # noqa: UP007  known at run time only
    fields: dict[str, Any] = {
        "plain": (union, ...),
        "many": (list[union], ...),
        "named": (dict[str, union], ...),
        "pair": (tuple[union, union], ...),
        "either": (list[union] | union, ...),
        "anything": (Any, ...),
        "steps": (List[union], ...),
        "prefs": (Map[str, union], ...),
        "tags": (Set[union], ...),
    }
    return create_model("Mixed", __base__=Model, **fields)


def accepted(model: type[Model], given: dict[str, Any]) -> dict[str, Any]:
    """The values as a store gives them back, after a creation with them."""
    checked = validate_creation(model, given)
    for value in checked.values():
        for item in value if isinstance(value, set) else (value,):
            encode(item)
    return checked


@given(data=st.data(), members=unions)
def test_what_is_exported_is_imported_as_the_same_value(data: st.DataObject, members: tuple[Any, ...]) -> None:
    model = model_of(members)
    one, two = (data.draw(st.one_of([VALUES[member] for member in members])) for _ in range(2))
    values: dict[str, Any] = {
        "plain": one,
        "many": [one, two],
        "named": {"a": one, "b~/ \r": two},
        "pair": (one, two),
        "either": data.draw(st.sampled_from([[one], two])),
        "anything": data.draw(st.sampled_from([one, (one, two), {"$value": one}])),
        "steps": [one, two],
        "prefs": {"a": one, "\r": two},
        "tags": {one, two},
    }
    try:
        held = accepted(model, values)
    except CRDTSyncError:
        assume(False)
    spec = spec_of(model)
    held = {name: held.get(name) for name in spec.fields}
    lines = json.loads(json.dumps({name: json_of_value(kind, held[name]) for name, kind in spec.fields.items()}))
    read = {name: value_of_json(spec.fields[name], value, model=spec.name) for name, value in lines.items()}
    cells = next(csv.reader([row_text(row_of(spec, "", held))], strict=True))
    rows = values_of_row(spec, ["id", *spec.fields], cells)
    for way, found in (("JSON Lines", accepted(model, read)), ("CSV", accepted(model, rows))):
        for name, value in held.items():
            assert is_same(found.get(name), value), (way, name, value, found.get(name))
