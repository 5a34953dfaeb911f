"""A default that a creation filled in gives way to what somebody gave, wherever two creations meet."""

from __future__ import annotations

from typing import Any

import pytest

from crdt_sync import Map, Model, Replica, ask, three_way
from crdt_sync.testing.exchange import exchange


class Keyed(Model, key=("code",)):
    code: str
    phone: str = ""
    state: str = ask(default="new")
    address: dict[str, int] = three_way(default_factory=dict)
    marks: Map[str, int]


class Unique(Model, unique=("code",), on_duplicate="merge"):
    code: str
    phone: str = ""
    state: str = ask(default="new")
    address: dict[str, int] = three_way(default_factory=dict)
    marks: Map[str, int]


MODELS = (Keyed, Unique)
GIVEN = {"phone": "555-1234", "state": "paid", "address": {"number": 1}}


def shown(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in GIVEN}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_was_given_shows_beside_a_default_whoever_was_first(model: type[Model], is_first: bool) -> None:
    with Replica.open(":memory:", MODELS) as left, Replica.open(":memory:", MODELS) as right:
        full, bare = (left, right) if is_first else (right, left)
        for replica in (left, right):
            replica.create(model, code="x", **(GIVEN if replica is full else {}))
        assert exchange(full, bare).proven_equal
        for replica in (full, bare):
            (record,) = replica.find(model)
            assert shown(record) == GIVEN
            assert replica.conflicts() == []
            assert [item.value for item in replica.candidates(record, "state")] == ["paid"]
        assert full.explain(full.find(model)[0], "state") == bare.explain(bare.find(model)[0], "state")


@pytest.mark.parametrize("model", MODELS)
def test_an_edit_before_they_meet_is_given(model: type[Model]) -> None:
    with Replica.open(":memory:", MODELS) as left, Replica.open(":memory:", MODELS) as right:
        left.create(model, code="x", state="paid")
        right.update(right.create(model, code="x", state="open"), state="new")
        assert exchange(left, right).proven_equal
        (conflict,) = left.conflicts()
        assert {item.value for item in conflict.candidates} == {"paid", "new"}


def test_of_defaults_alone_the_latest_shows_and_nobody_is_asked() -> None:
    class Keyed(Model, key=("code",)):
        code: str
        state: str = ask(default="fresh")

    with Replica.open(":memory:", MODELS) as old, Replica.open(":memory:", [Keyed]) as new:
        old.create(MODELS[0], code="x")
        new.create(Keyed, code="x")
        assert exchange(old, new).proven_equal
        assert [replica.conflicts() for replica in (old, new)] == [[], []]
        assert old.find(MODELS[0])[0].state == new.find(Keyed)[0].state


def test_a_default_in_a_creation_says_in_explain_that_it_is_one() -> None:
    with Replica.open(":memory:", MODELS) as replica:
        record = replica.create(Keyed, code="x")
        assert "a default, as it was created" in str(replica.explain(record, "state"))
        assert "a default" not in str(replica.explain(record, "code"))
