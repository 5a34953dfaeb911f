"""What the app's own code says of unique values is no damage, and a check without that code does not say so."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import create_model

from crdt_sync import Model, Replica, field, merge_with
from crdt_sync.core.ids import DEFAULT_PARTITION, document_key
from crdt_sync.replica.derived_rows import UniqueRow, unique_key
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk, state_of

Policy = Literal["merge", "keep_both", "ask"]
POLICIES: tuple[Policy, ...] = ("merge", "keep_both", "ask")
numbers = count()


def joined(base: Any, candidates: Sequence[Any]) -> Any:
    del base
    return ",".join(sorted(set(",".join(candidates).split(","))))


class Colour(Enum):
    RED = "red"


class Upgraded(Model):
    name: str = ""
    first_name: str = ""

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("name"):
            values["name"] = f"{values.get('first_name', '')}!"
        return values


class Joined(Model):
    name: str | None = merge_with(joined, default=None)
    first_name: str = ""


class Numbered(Model):
    name: int = field(default_factory=lambda: next(numbers))
    first_name: str = ""


class Coloured(Model):
    name: Colour = Colour.RED
    first_name: str = ""


def of(base: type[Model], policy: Policy) -> Any:
    keywords: Any = {"version": 2, "unique": ("name",), "on_duplicate": policy}
    return create_model("Person", __base__=base, __cls_kwargs__=keywords)


def lived(model: Any, one: Replica, two: Replica) -> None:
    """Records that are equal by what the app's code gives, and one whose values clashed."""
    first = one.create(model, first_name="ann")
    assert exchange(one, two).proven_equal
    if issubclass(model, Joined):
        one.create(model, name="p,q")
        first.name = "p"
        two.get(model, first.id).name = "q"
    elif issubclass(model, Upgraded):
        one.create(model, first_name="bob")
        two.create(model, name="bob!")
    for _ in range(2):
        assert exchange(one, two).proven_equal


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("base", [Upgraded, Joined, Numbered, Coloured])
def test_values_that_the_apps_code_gives_are_no_damage(base: type[Model], policy: Policy, tmp_path: Path) -> None:
    model = of(base, policy)
    with on_disk(tmp_path, model, seed=1) as one, memory(2, model) as two:
        lived(model, one, two)
        assert not one.check().listed
        assert not two.check().listed
        for record in one.find(model):
            record.first_name = "other"
        assert not one.check().listed


def test_a_deleted_record_that_keeps_its_values_is_found_all_the_same() -> None:
    model = of(Joined, "merge")
    with memory(1, model) as one:
        record = one.create(model, name="p")
        key = unique_key(document_key(DEFAULT_PARTITION, "Person", record.id))
        store = state_of(one).store
        held = store.get(Table.UNIQUE, key)
        assert held is not None
        one.delete(record)
        with store.transaction():
            store.put(Table.UNIQUE, key, held)
        assert [item.what for item in one.check().listed] == ["duplicates"]


def test_values_to_which_no_row_leads_are_found_all_the_same() -> None:
    model = of(Joined, "merge")
    with memory(1, model) as one:
        record = one.create(model, name="p")
        key = unique_key(document_key(DEFAULT_PARTITION, "Person", record.id))
        store = state_of(one).store
        with store.transaction():
            store.put(Table.UNIQUE, key, UniqueRow(values=b"v" * 16, shown=1).pack())
        assert "duplicates" in {item.what for item in one.check().listed}
