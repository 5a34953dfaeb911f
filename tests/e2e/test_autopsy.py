"""What the checker of the kill runs sees in a store that a killed process left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.e2e.autopsy import HUB, Autopsy
from tests.e2e.told import Item, Owner, Place, Write

WRITES: dict[str, Callable[[Replica, Item], object]] = {
    "create": lambda replica, item: replica.create(Item, title="t"),
    "tag": lambda replica, item: item.tags.add("t"),
    "note": lambda replica, item: item.notes.append("t "),
    "vote": lambda replica, item: item.votes.increment(),
    "state": lambda replica, item: setattr(item, "state", "t"),
    "delete": lambda replica, item: replica.delete(item),
}


def end_of(replica: Replica) -> Place:
    """Where the only author's latest entry stands."""
    ((partition, authors),) = replica.port.vector().items()
    ((author, position),) = authors.items()
    return partition, author, position.sequence


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "one.db"


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("is_there", [True, False])
def test_what_a_hub_acknowledged_is_looked_up(store: Path, what: str, is_there: bool) -> None:
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        item = replica.create(Item, title="first")
        record = item.id
        if is_there:
            made = WRITES[what](replica, item)
            record = made.id if isinstance(made, Item) else record
    write = Write(token="t", what=what, record=record, saved=True, completed=True)
    found = Autopsy().look(store, [Owner(name="one", writes={"t": write}, destroyed=True)], name=HUB, devices=["h"])
    assert bool(found) != is_there
    assert all(problem.startswith("hub, which was killed,") for problem in found)


def test_votes_are_counted_with_those_that_were_looked_up_before(store: Path) -> None:
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        item = replica.create(Item, title="first")
        item.votes.increment()
        record = item.id
    votes = {name: Write(token=name, what="vote", record=record, saved=True) for name in ("a", "b")}
    autopsy, owners = Autopsy(), [Owner(name="one", writes=votes)]
    votes["a"].completed = True
    assert autopsy.look(store, owners, name=HUB, devices=["h"]) == []
    votes["b"].completed = True
    (problem,) = autopsy.look(store, owners, name=HUB, devices=["h"])
    assert "counts 1 votes" in problem
    assert autopsy.looked_up == 2


def test_what_a_device_was_told_is_saved_is_looked_up(store: Path) -> None:
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        record = replica.create(Item, title="first").id
    write = Write(token="t", what="tag", record=record, saved=True)
    owner = Owner(name="one", writes={"t": write})
    assert Autopsy().look(store, [owner], name="other", devices=["d"]) == []
    (problem,) = Autopsy().look(store, [owner], name="one", devices=["d"])
    assert problem == "one, which was killed, lacks tag t, which one was told is saved"


@pytest.mark.parametrize(("short_by", "problems"), [(0, []), (1, ["two does not hold create t, which it was said to"])])
def test_what_a_device_was_said_to_hold_is_in_its_log(store: Path, short_by: int, problems: list[str]) -> None:
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        record = replica.create(Item, title="t").id
        partition, author, sequence = end_of(replica)
    places = frozenset({(partition, author, sequence + short_by)})
    write = Write(token="t", what="create", record=record, completed=True, held_by={"d": places, "x": places})
    autopsy, owners = Autopsy(), [Owner(name="one", writes={"t": write})]
    found = autopsy.look(store, owners, name="two", devices=["d"])
    assert [problem.removesuffix(" hold") for problem in found] == problems
    assert autopsy.held == 1


def test_what_a_device_was_said_to_hold_is_in_its_store(store: Path) -> None:
    """A log that says so is not enough."""
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        record = replica.create(Item, title="first").id
        place = end_of(replica)
    write = Write(token="t", what="tag", record=record, completed=True, held_by={"d": frozenset({place})})
    (problem,) = Autopsy().look(store, [Owner(name="one", writes={"t": write})], name="two", devices=["d"])
    assert problem == "two, which was killed, lacks tag t, which one was told is completed"


def test_what_is_said_of_a_device_whose_store_is_gone_is_held_against_its_end(store: Path) -> None:
    with Replica.open(store, [Item], state_dir=store.parent) as replica:
        record = replica.create(Item, title="t").id
        partition, author, sequence = end_of(replica)
    write = Write(token="t", what="create", record=record, completed=True)
    autopsy, owners = Autopsy(), [Owner(name="one", writes={"t": write})]
    assert autopsy.look(store, owners, name="two", devices=["d"]) == []
    store.unlink()
    write.held_by["d"] = frozenset({(partition, author, sequence)})
    assert autopsy.untrue(owners) == []
    write.held_by["d"] = frozenset({(partition, author, sequence + 1)})
    assert autopsy.untrue(owners) == ["d does not hold create t, which it was said to hold"]
