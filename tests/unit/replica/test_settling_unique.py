"""Settling a conflict of a unique field is a write like others: it makes no two records of here one without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import create_model

from crdt_sync import Choice, Model, Replica, ask, three_way
from crdt_sync.core.conflict import Conflict
from crdt_sync.errors import RecordExistsError, TransactionError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, state_of


class Base(Model):
    code: str | None = ask(default=None)
    name: str | None = three_way(default=None)
    n: int = 0


def of(policy: Literal["merge", "keep_both", "ask"]) -> Any:
    keywords: Any = {"unique": ("code", "name"), "on_duplicate": policy}
    return create_model("Part", __base__=Base, __cls_kwargs__=keywords)


@pytest.fixture(params=["merge", "ask"])
def model(request: pytest.FixtureRequest) -> Any:
    return of(request.param)


@pytest.fixture
def devices(model: Any) -> Iterator[tuple[Replica, Replica]]:
    with memory(1, model) as one, memory(2, model) as two:
        yield one, two


def clash(devices: tuple[Replica, Replica], model: Any, *, codes: tuple[str, str] = ("p", "q")) -> Conflict:
    """A conflict of a record's code, beside a record with the code "taken"."""
    one, two = devices
    record = one.create(model, name="a", n=1)
    one.create(model, name="a", n=2, code="taken")
    assert exchange(one, two).proven_equal
    record.code, two.get(model, record.id).code = codes
    assert exchange(one, two).proven_equal
    (conflict,) = one.conflicts()
    return conflict


def everything(replica: Replica, model: Any) -> Any:
    return [dict(record) for record in replica.find(model)], replica.conflicts(), state_of(replica).ledger.end


def test_a_value_that_another_record_has_is_refused(devices: tuple[Replica, Replica], model: Any) -> None:
    one = devices[0]
    conflict = clash(devices, model)
    before = everything(one, model)
    with pytest.raises(RecordExistsError) as caught:
        one.resolve(conflict, value="taken")
    assert caught.value.hint
    assert everything(one, model) == before
    one.resolve(conflict, value="free")
    assert sorted(record.code for record in one.find(model)) == ["free", "taken"]


def test_a_candidate_that_another_record_has_since_is_refused(devices: tuple[Replica, Replica], model: Any) -> None:
    one = devices[0]
    conflict = clash(devices, model)
    shown, hidden = conflict.candidates
    one.create(model, name="a", code=hidden.value, n=3)
    before = everything(one, model)
    with pytest.raises(RecordExistsError):
        one.resolve(conflict, take=hidden)
    with pytest.raises(RecordExistsError):
        one.resolve(conflict, paths={"": hidden})
    assert everything(one, model) == before
    one.resolve(conflict, take=shown)
    assert not one.conflicts()


def test_within_a_transaction_it_is_refused_as_other_writes_are(devices: tuple[Replica, Replica], model: Any) -> None:
    one = devices[0]
    conflict = clash(devices, model)
    before = everything(one, model)

    def both() -> None:
        with one.transaction():
            one.create(model, name="a", code="new")
            one.resolve(conflict, value="new")

    with pytest.raises((RecordExistsError, TransactionError)):
        both()
    assert everything(one, model) == before


def test_a_rule_that_makes_records_equal_is_rolled_back(devices: tuple[Replica, Replica], model: Any) -> None:
    one = devices[0]
    conflict = clash(devices, model)
    one.create(model, name="a", code=conflict.candidates[-1].value, n=3)
    before = everything(one, model)
    with pytest.raises(RecordExistsError):
        one.resolve_all(model=model, field="code", take="earliest")
    with pytest.raises(RecordExistsError):
        one.resolve_all(model=model, field="code", take=lambda _: Choice(value="taken"))
    assert everything(one, model) == before
    assert one.resolve_all(model=model, field="code", take="latest") == 1


def test_records_that_are_equal_already_are_settled_as_they_are(devices: tuple[Replica, Replica], model: Any) -> None:
    one, two = devices
    record = one.create(model, name="a", n=1)
    assert exchange(one, two).proven_equal
    record.code, two.get(model, record.id).code = "p", "q"
    late = two.create(model, name="a", code="p", n=2)
    one_shown = [item.code for item in one.find(model)]
    assert one_shown == ["p"]
    for _ in range(2):
        assert exchange(one, two).proven_equal
    (conflict,) = (item for item in one.conflicts() if item.field == "code")
    shown = conflict.candidates[0]
    one.resolve(conflict, take=shown)
    assert exchange(one, two).proven_equal
    assert two.get(model, late.id)
    assert not [item for item in two.conflicts() if item.field == "code"]
