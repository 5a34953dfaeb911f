"""What live fields, references, rules and conflicts are given by mistake is refused by typed errors with hints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Any

import pytest

from crdt_sync import Choice, Counter, Model, Ref, Replica, Text, ask, first, max_
from crdt_sync.cli.actions.conflicts import title_of
from crdt_sync.core.conflict import Conflict
from crdt_sync.errors import InputError, InvalidValueError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory


class Item(Model, key=("code",)):
    code: str
    name: str | None = None
    due: int = ask(default=0)
    price: Decimal | None = first(default=None)
    most: int | None = max_(default=None)
    votes: Counter
    notes: Text
    owner: Ref[Item] | None = None


class Bare(Model):
    size: int = 0
    name: str | None = None
    due: int = ask(default=0)


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory(1, Item, Bare) as opened:
        yield opened


def clash(replica: Replica) -> Conflict:
    other = memory(2, Item, Bare)
    item = replica.create(Item, code="1")
    exchange(replica, other)
    item.due = 1
    other.get(Item, item.id).due = 2
    exchange(replica, other)
    (conflict,) = replica.conflicts()
    return conflict


@pytest.mark.parametrize("attributes", [[1], "bold", 3])
def test_attributes_of_a_text_are_a_dict(replica: Replica, attributes: Any) -> None:
    item = replica.create(Item, code="1")
    with pytest.raises(InvalidValueError, match="attributes are a dict") as caught:
        item.notes.insert(0, "a", attributes)
    assert caught.value.hint
    assert str(item.notes) == ""


def test_a_counter_has_no_order_with_what_is_no_number(replica: Replica) -> None:
    votes: Any = replica.create(Item, code="1", votes=2).votes
    assert [compare(votes, 2) for compare in (lt, le, gt, ge)] == [False, True, False, True]
    others: list[Any] = ["a", None, "1", []]
    for compare, other in zip((lt, le, gt, ge), others, strict=True):
        with pytest.raises(TypeError, match="not supported between"):
            compare(votes, other)


def test_a_reference_is_followed_in_a_replica(replica: Replica) -> None:
    item = replica.create(Item, code="1")
    reference: Any = Ref["Item"](item.id)
    for nowhere in (None, 3, item):
        with pytest.raises(InputError, match="followed in a replica") as caught:
            reference.get(nowhere)
        assert caught.value.hint


def test_a_rule_gives_paths_as_a_dict(replica: Replica) -> None:
    conflict = clash(replica)
    broken: Any = 5
    with pytest.raises(InputError, match="paths of a Choice are a dict") as caught:
        replica.resolve_all(model=Item, take=lambda _: Choice(paths=broken))
    assert caught.value.hint
    assert replica.conflicts() == [conflict]


def test_a_conflict_names_a_record(replica: Replica) -> None:
    conflict = clash(replica)
    broken: Any = "zz"
    with pytest.raises(InputError, match="record id") as caught:
        replica.resolve(replace(conflict, record_id=broken), take=conflict.candidates[0])
    assert caught.value.hint


def test_a_first_value_takes_an_equal_one_and_no_other(replica: Replica) -> None:
    item = replica.create(Item, code="1", price=Decimal("1.0"))
    before = replica.pending_count()
    item.price = Decimal("1.00")
    assert (str(item.price), replica.pending_count()) == ("1.0", before)
    with pytest.raises(InvalidValueError, match="what is first stays"):
        item.price = Decimal(2)


def test_a_record_that_is_created_again_keeps_what_was_first_and_greatest(replica: Replica) -> None:
    item = replica.create(Item, code="1", name="old", price=Decimal(1), most=5)
    replica.delete(item)
    again = replica.create(Item, code="1", name="new", price=Decimal(2), most=3)
    assert (again.id, again.name, again.price, again.most) == (item.id, "new", Decimal(1), 5)


def test_a_title_may_be_left_out_and_counts_where_it_is_not(replica: Replica) -> None:
    bare, named = replica.create(Bare), replica.create(Bare, name="Ann")
    assert [title_of(replica, Bare, record.id) for record in (bare, named)] == ["", "Ann"]
    assert title_of(replica, Item, replica.create(Item, code="7").id) == "7"
