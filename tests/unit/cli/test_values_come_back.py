"""Values of every type through files: what is exported and imported again is equal and of the same type."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from crdt_sync import Replica
from tests.unit.cli.conftest import Cli
from tests.unit.core.values import EDGES, alike

MODELS = """
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Annotated, Any
from uuid import UUID
from crdt_sync import List, Map, Model, Set, ask, first, three_way

class Colour(Enum):
    RED = "red"
    TWO = 2
    RAW = b"raw"
    DAY = date(2025, 1, 1)
    PRICE = Decimal("1.50")
    PAIR = (1, "one")

class Anything(Model):
    plain: Any = None
    asking: Any = ask(default=None)
    merging: Any = three_way(default=None)
    once: Any = first(default=None)
    items: List[Any]
    entries: Map[str, Annotated[Any, ask()]]

class Elements(Model):
    members: Set[Any]

class Mixed(Model):
    raw: bytes | str | None = None
    day: date | str | None = None
    moment: datetime | date | str | None = None
    span: time | timedelta | str | None = None
    price: Decimal | str | None = None
    name: UUID | str | None = None
    many: list[bytes | str] = []
    named: dict[str, date | str] = {}
    colour: Colour | None = None
    items: List[date | str]
    entries: Map[str, UUID | str]
    members: Set[date | str | Colour | tuple[Colour, ...]]
"""


def opened(cli: Cli, place: Path, name: str) -> Path:
    file = place / "models.py"
    file.write_text(MODELS)
    assert cli("init", place / name, "--models", file, "--no-name").code == 0
    return place / name


def can_be_element(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return "nan" not in repr(value).lower()


def fill(path: Path) -> None:
    with Replica.open(path) as replica:
        anything, elements, mixed = (cast("Any", replica.model(name)) for name in ("Anything", "Elements", "Mixed"))
        with replica.transaction():
            for value in EDGES:
                replica.create(
                    anything, plain=value, asking=value, merging=value, once=value, items=[value], entries={"k": value}
                )
            for value in filter(can_be_element, EDGES):
                replica.create(elements, members={value})
            replica.create(elements, members={1, "1", b"1", (1, ("a", b"b")), None})
            day, clock, name = "2025-01-01", "01:02:03", "00000000-0000-0000-0000-000000000001"
            replica.create(mixed, raw="YWJj", day=day, moment=day, span=clock, price="1.50", name=name)
            replica.create(mixed, raw=b"abc", day="soon", moment=f"{day}T00:00:00", span="P1D", price="x", name="")
            replica.create(mixed, many=["YWJj", b"abc"], named={"a": day}, items=[day], entries={"a": name})
            replica.create(mixed, members={day, "YWJj"})
            for colour in ("red", 2, b"raw", date(2025, 1, 1), Decimal("1.50"), (1, "one")):
                record = replica.create(mixed, colour=colour)
                record.members.add(record.colour)
                record.members.add((record.colour, record.colour))


def contents(path: Path) -> dict[str, Any]:
    """Everything in a store, by the records' ids."""
    with Replica.open(path) as replica:
        found: dict[str, Any] = {}
        for model in replica.models:
            for record in replica.find(model):
                values = {name: getattr(record, name) for name in model.model_fields}
                live = {"items": list, "entries": dict, "members": set}
                found[record.id] = {name: live.get(name, lambda it: it)(value) for name, value in values.items()}
        return found


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
def test_files_give_every_value_back(cli: Cli, tmp_path: Path, file_format: str) -> None:
    source, other = opened(cli, tmp_path, "one.db"), opened(cli, tmp_path, "two.db")
    fill(source)
    for model in ("Anything", "Elements", "Mixed"):
        file = tmp_path / f"{model}.{file_format}"
        assert cli("export", source, "--model", model, "-o", file).code == 0
        imported = cli("import", other, file, *(["--model", model] if file_format == "csv" else []))
        assert imported.code == 0, imported.err
    before, after = contents(source), contents(other)
    assert before.keys() == after.keys()
    for name, values in before.items():
        for field, value in values.items():
            assert alike(after[name][field], value), (field, value, after[name][field])
    assert cli("export", other).out == cli("export", source).out
    assert cli("check", other).code == 0
