"""Deletions and edits made at once: every order of events, under each policy, on two and three devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from crdt_sync import DELETED, UNKNOWN, Change, Choice, Conflict, Counter, Model, Replica, Set, Text, ask
from crdt_sync.core.conflict import ConflictKind
from crdt_sync.errors import (
    ConflictNotFoundError,
    InputError,
    NotACandidateError,
    RecordDeletedError,
    RecordExistsError,
    StoreReadOnlyError,
)
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk


class Kept(Model, on_edit_after_delete="edit_wins"):
    title: str = ""
    due: int | None = ask(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]


class Gone(Kept, on_edit_after_delete="delete_wins"):
    pass


class Asked(Kept, on_edit_after_delete="ask"):
    pass


class Named(Model, key=("slug",), on_edit_after_delete="ask"):
    slug: str
    title: str = ""


MODELS: tuple[type[Model], ...] = (Kept, Gone, Asked, Named)
Shown = Literal["live", "dead", "asks"]


@dataclass
class Devices:
    """Some replicas that all have one record."""

    replicas: list[Replica]
    model: type[Any]
    id: str

    def record(self, at: int) -> Any:
        return self.replicas[at].get(self.model, self.id)

    def delete(self, at: int) -> None:
        self.replicas[at].delete(self.record(at))

    def restore(self, at: int) -> None:
        self.replicas[at].restore(self.model, self.id)

    def edit(self, at: int) -> None:
        self.record(at).title += str(at)

    def meet(self, left: int, right: int) -> None:
        exchange(self.replicas[left], self.replicas[right])

    def shown(self, at: int) -> Shown:
        replica = self.replicas[at]
        found = replica.conflicts(kind="edit_of_deleted")
        live = len(replica.find(self.model)) == 1
        assert live or not found
        return "asks" if found else ("live" if live else "dead")

    def conflict(self, at: int) -> Conflict:
        (found,) = self.replicas[at].conflicts(kind=ConflictKind.EDIT_OF_DELETED)
        return found

    def converge(self, *, order: int = 0) -> None:
        last = len(self.replicas) - 1
        pairs = [(last, at) for at in range(last)] if order else [(0, at) for at in range(1, last + 1)]
        for left, right in (*pairs, *pairs):
            self.meet(left, right)


@pytest.fixture
def opened() -> Iterator[Callable[..., Devices]]:
    with ExitStack() as stack:

        def devices(model: type[Any], count: int = 2) -> Devices:
            replicas = [stack.enter_context(memory(seed + 1, *MODELS)) for seed in range(count)]
            made = replicas[0].create(model, **({"slug": "s"} if model is Named else {"notes": "abc", "tags": {"x"}}))
            for other in replicas[1:]:
                exchange(replicas[0], other)
            return Devices(replicas, model, made.id)

        yield devices


Step = tuple[str, int] | tuple[Literal["meet"], int, int]
D, E, R = "delete", "edit", "restore"

ORDERS: dict[str, tuple[tuple[Step, ...], dict[str, Shown]]] = {
    "delete": (((D, 0),), {"Kept": "dead", "Gone": "dead", "Asked": "dead"}),
    "delete ∥ edit": (((D, 0), (E, 1)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "edit, seen, delete": (((E, 1), ("meet", 0, 1), (D, 0)), {"Kept": "dead", "Gone": "dead", "Asked": "dead"}),
    "delete ∥ delete": (((D, 0), (D, 1)), {"Kept": "dead", "Gone": "dead", "Asked": "dead"}),
    "delete, restore": (((D, 0), (R, 0)), {"Kept": "live", "Gone": "live", "Asked": "live"}),
    "delete, seen, restore": (((D, 0), ("meet", 0, 1), (R, 1)), {"Kept": "live", "Gone": "live", "Asked": "live"}),
    "delete + restore ∥ edit": (((D, 0), (R, 0), (E, 1)), {"Kept": "live", "Gone": "live", "Asked": "live"}),
    "delete + restore ∥ delete": (((D, 0), (R, 0), (D, 1)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "delete, seen, restore ∥ restore": (
        ((D, 0), ("meet", 0, 1), (R, 0), (R, 1)),
        {"Kept": "live", "Gone": "live", "Asked": "live"},
    ),
    "delete, seen, restore ∥ restore + delete": (
        ((D, 0), ("meet", 0, 1), (R, 1), (R, 0), (D, 0)),
        {"Kept": "live", "Gone": "dead", "Asked": "asks"},
    ),
    "edit + delete ∥ edit": (((E, 0), (D, 0), (E, 1)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "edit + delete ∥ edit + delete": (
        ((E, 0), (D, 0), (E, 1), (D, 1)),
        {"Kept": "dead", "Gone": "dead", "Asked": "dead"},
    ),
    "delete ∥ edit, met, delete": (
        ((D, 0), (E, 1), ("meet", 0, 1), ("delete if live", 1)),
        {"Kept": "dead", "Gone": "dead", "Asked": "dead"},
    ),
    "delete ∥ edit, met, restore": (
        ((D, 0), (E, 1), ("meet", 0, 1), (R, 1)),
        {"Kept": "live", "Gone": "live", "Asked": "live"},
    ),
    "delete ∥ edit + edit": (((D, 0), (E, 1), (E, 1)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "edit between two deletes": (
        ((D, 0), (R, 0), (E, 1), ("meet", 0, 1), (D, 1)),
        {"Kept": "dead", "Gone": "dead", "Asked": "dead"},
    ),
}
"""What happens, and what everybody sees in the end."""

OF_THREE: dict[str, tuple[tuple[Step, ...], dict[str, Shown]]] = {
    "two deletes ∥ edit": (((D, 0), (D, 1), (E, 2)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "delete ∥ two edits": (((D, 0), (E, 1), (E, 2)), {"Kept": "live", "Gone": "dead", "Asked": "asks"}),
    "an edit that one of two deletes saw": (
        ((D, 0), (E, 2), ("meet", 1, 2), (D, 1)),
        {"Kept": "dead", "Gone": "dead", "Asked": "dead"},
    ),
    "an edit that one of two deletes saw ∥ edit": (
        ((D, 0), (E, 2), ("meet", 1, 2), (D, 1), (E, 2)),
        {"Kept": "live", "Gone": "dead", "Asked": "asks"},
    ),
    "restore of one of two deletes": (
        ((D, 0), (D, 1), ("meet", 0, 2), (R, 2)),
        {"Kept": "live", "Gone": "dead", "Asked": "asks"},
    ),
    "restore of both deletes": (
        ((D, 0), (D, 1), ("meet", 0, 2), ("meet", 1, 2), (R, 2)),
        {"Kept": "live", "Gone": "live", "Asked": "live"},
    ),
    "restore ∥ delete ∥ edit": (
        ((D, 0), ("meet", 0, 1), (R, 0), (E, 2), ("meet", 0, 1), (D, 1)),
        {"Kept": "live", "Gone": "dead", "Asked": "asks"},
    ),
}


def play(devices: Devices, steps: tuple[Step, ...]) -> None:
    for name, *at in steps:
        if name == "delete if live":
            if devices.shown(at[0]) != "dead":
                devices.delete(at[0])
        else:
            getattr(devices, name)(*at)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("model", [Kept, Gone, Asked])
@pytest.mark.parametrize("name", [*ORDERS, *OF_THREE])
def test_every_order_comes_out_as_the_model_says(
    opened: Callable[..., Devices], name: str, model: type[Model], order: int
) -> None:
    steps, outcome = {**ORDERS, **OF_THREE}[name]
    for count in (2, 3) if name in ORDERS else (3,):
        devices = opened(model, count)
        play(devices, steps)
        devices.converge(order=order)
        assert [devices.shown(at) for at in range(count)] == [outcome[model.__name__]] * count
        found = [replica.conflicts() for replica in devices.replicas]
        assert all(item == found[0] for item in found)


@pytest.mark.parametrize("model", [Kept, Gone, Asked])
def test_what_is_dead_is_edited_only_once_restored(opened: Callable[..., Devices], model: type[Model]) -> None:
    devices = opened(model)
    held = devices.record(0)
    devices.delete(0)
    for act in (
        lambda: devices.replicas[0].update(held, title="t"),
        lambda: devices.replicas[0].delete(held),
        lambda: held.notes.insert(0, "x"),
        lambda: held.votes.increment(1),
    ):
        with pytest.raises(RecordDeletedError):
            act()
    devices.restore(0)
    held.title = "t"
    assert (held.title, str(held.notes), set(held.tags)) == ("t", "abc", {"x"})


EDITS: dict[str, Callable[[Any], None]] = {
    "typing": lambda record: record.notes.insert(1, "z"),
    "a deletion of text": lambda record: record.notes.delete(0, 2),
    "an increment": lambda record: record.votes.increment(1),
    "an element": lambda record: record.tags.add("y"),
    "an element taken out": lambda record: record.tags.discard("x"),
    "a value of an asking field": lambda record: setattr(record, "due", 3),
}


@pytest.mark.parametrize("model", [Kept, Gone, Asked])
@pytest.mark.parametrize("edit", EDITS)
def test_any_change_is_an_edit(opened: Callable[..., Devices], model: type[Model], edit: str) -> None:
    devices = opened(model)
    devices.delete(0)
    EDITS[edit](devices.record(1))
    before = devices.record(1).model_dump()
    devices.converge()
    shown = {"Kept": "live", "Gone": "dead", "Asked": "asks"}[model.__name__]
    assert [devices.shown(0), devices.shown(1)] == [shown, shown]
    devices.restore(0)
    assert devices.record(0).model_dump() == before


@pytest.fixture
def asked(opened: Callable[..., Devices]) -> Devices:
    """Three devices: the first deleted what the second edited; all know it."""
    devices = opened(Asked, 3)
    devices.delete(0)
    devices.edit(1)
    devices.converge()
    return devices


class TestTheConflict:
    def test_it_names_both_sides(self, asked: Devices) -> None:
        conflict = asked.conflict(2)
        assert (conflict.model, conflict.record_id, conflict.field, conflict.paths) == ("Asked", asked.id, "", ())
        assert conflict.base is UNKNOWN
        values = {"title": "1", "due": None, "notes": "abc", "votes": 0, "tags": {"x"}}
        assert conflict.value == values
        sides = {str(item.device_id): item for item in conflict.candidates}
        deleted, edited = (sides[str(asked.replicas[at].device_id)] for at in (0, 1))
        assert (deleted.value, edited.value) == (DELETED, values)
        log = {at: asked.replicas[at].history(Asked, asked.id) for at in (0, 1)}
        assert {item.timestamp for item in log[0] if item.type.name == "DELETE"} == {deleted.timestamp}
        assert {item.timestamp for item in log[1] if "title" in item.fields and item.live} >= {edited.timestamp}
        assert conflict.candidates[0].timestamp >= conflict.candidates[1].timestamp

    def test_an_edit_without_a_time_goes_before_the_deletion(self, opened: Callable[..., Devices]) -> None:
        devices = opened(Asked)
        devices.delete(0)
        devices.record(1).votes.increment(1)
        devices.converge()
        edited, deleted = devices.conflict(0).candidates
        assert (edited.timestamp, edited.value == DELETED, deleted.value) == (deleted.timestamp, False, DELETED)

    def test_whatever_was_written_before_the_deletion_gives_an_edit_no_time(
        self, opened: Callable[..., Devices]
    ) -> None:
        devices = opened(Asked)
        devices.edit(1)
        devices.converge()
        devices.delete(0)
        devices.record(1).votes.increment(1)
        devices.converge()
        edited, deleted = devices.conflict(1).candidates
        assert (edited.timestamp, deleted.value) == (deleted.timestamp, DELETED)

    def test_observers_are_told(self, opened: Callable[..., Devices]) -> None:
        devices = opened(Asked)
        told: list[Change] = []
        devices.replicas[1].observe(told.append)
        devices.delete(0)
        devices.edit(1)
        devices.converge()
        assert [(item.type, set(item.fields)) for item in told] == [("update", {"title"}), ("conflict", set())]
        told.clear()
        devices.replicas[1].resolve(devices.conflict(1), value=DELETED)
        assert [item.type for item in told] == ["delete", "settled"]

    def test_two_creations_of_one_name(self, opened: Callable[..., Devices]) -> None:
        devices = opened(Named, 1)
        with memory(9, *MODELS) as other:
            other.delete(other.create(Named, slug="s", title="theirs"))
            exchange(devices.replicas[0], other)
            assert devices.shown(0) == "asks"
            with pytest.raises(RecordExistsError):
                other.create(Named, slug="s")
            other.resolve(devices.conflict(0), value=DELETED)
            other.create(Named, slug="s", title="new")
            exchange(devices.replicas[0], other)
            assert devices.shown(0) == "live"
            assert devices.record(0).title == "new"


class TestSettling:
    @pytest.mark.parametrize("at", [0, 1, 2])
    @pytest.mark.parametrize("deletes", [False, True])
    def test_on_one_device_settles_it_on_all(self, asked: Devices, at: int, *, deletes: bool) -> None:
        conflict = asked.conflict(at)
        (chosen,) = (item for item in conflict.candidates if (item.value is DELETED) == deletes)
        asked.replicas[at].resolve(conflict, take=chosen)
        assert asked.shown(at) == ("dead" if deletes else "live")
        asked.converge()
        assert [asked.shown(other) for other in range(3)] == ["dead" if deletes else "live"] * 3
        for replica in asked.replicas:
            with pytest.raises(ConflictNotFoundError):
                replica.resolve(conflict, take=chosen)

    def test_by_the_sentinel(self, asked: Devices) -> None:
        asked.replicas[0].resolve(asked.conflict(0), value=DELETED)
        assert asked.shown(0) == "dead"

    def test_by_an_ordinary_delete_or_restore(self, asked: Devices) -> None:
        asked.delete(2)
        assert asked.shown(2) == "dead"
        asked.restore(1)
        asked.converge()
        assert [asked.shown(at) for at in range(3)] == ["asks"] * 3
        asked.restore(0)
        assert asked.shown(0) == "live"

    def test_it_leaves_what_the_conflict_did_not_show(self, asked: Devices) -> None:
        conflict = asked.conflict(2)
        asked.record(1).votes.increment(5)
        asked.meet(1, 2)
        asked.replicas[2].resolve(conflict, value=DELETED)
        assert asked.shown(2) == "asks"
        again = asked.conflict(2)
        assert again.id != conflict.id
        assert again.value["votes"] == 5
        asked.converge()
        assert [asked.conflict(at) for at in range(3)] == [again] * 3

    def test_keeping_leaves_a_deletion_that_the_conflict_did_not_show(self, asked: Devices) -> None:
        conflict = asked.conflict(1)
        asked.delete(2)
        asked.edit(1)
        asked.meet(1, 2)
        (kept,) = (item for item in conflict.candidates if item.value is not DELETED)
        with pytest.raises(ConflictNotFoundError):
            asked.replicas[1].resolve(conflict, take=kept)
        assert asked.shown(1) == "asks"

    def test_nobody_deletes_his_own_later_edit_unseen(self, asked: Devices) -> None:
        conflict = asked.conflict(1)
        asked.edit(1)
        with pytest.raises(ConflictNotFoundError, match="since"):
            asked.replicas[1].resolve(conflict, value=DELETED)
        assert asked.record(1).title == "11"
        asked.replicas[1].resolve(asked.conflict(1), value=DELETED)
        assert asked.shown(1) == "dead"

    def test_two_choices_at_once(self, asked: Devices) -> None:
        conflict = asked.conflict(0)
        kept = next(item for item in conflict.candidates if item.value is not DELETED)
        asked.replicas[0].resolve(conflict, value=DELETED)
        asked.replicas[1].resolve(conflict, take=kept)
        asked.converge()
        assert [asked.shown(at) for at in range(3)] == ["asks"] * 3
        assert asked.conflict(0).id != conflict.id

    def test_equal_choices_at_once(self, asked: Devices) -> None:
        for at in (0, 1):
            asked.replicas[at].resolve(asked.conflict(at), value=DELETED)
        asked.converge()
        assert [asked.shown(at) for at in range(3)] == ["dead"] * 3

    def test_a_conflict_read_on_a_device_that_knows_more(self, asked: Devices) -> None:
        asked.edit(1)
        asked.record(1).votes.increment(1)
        asked.replicas[2].resolve(asked.conflict(1), value=DELETED)
        assert asked.shown(2) == "dead"
        asked.converge()
        assert [asked.shown(at) for at in range(3)] == ["asks"] * 3

    @pytest.mark.parametrize("choice", [{"value": None}, {"value": {"title": "t"}}, {"paths": {}}])
    def test_by_nothing_else(self, asked: Devices, choice: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            asked.replicas[0].resolve(asked.conflict(0), **choice)
        assert asked.shown(0) == "asks"

    def test_not_by_another_conflicts_candidate(self, asked: Devices) -> None:
        old = asked.conflict(1)
        asked.edit(1)
        (edited,) = (item for item in old.candidates if item.value is not DELETED)
        with pytest.raises(NotACandidateError):
            asked.replicas[1].resolve(asked.conflict(1), take=edited)

    @pytest.mark.parametrize(("rule", "shown"), [("latest", "live"), ("earliest", "dead")])
    def test_many_by_time(
        self, opened: Callable[..., Devices], rule: Literal["latest", "earliest"], shown: Shown
    ) -> None:
        devices = opened(Asked)
        devices.delete(0)
        for _ in range(3):
            devices.record(1).title += "x"
        devices.converge()
        assert devices.replicas[0].resolve_all(model=Asked, field="title", take=rule) == 0
        assert devices.replicas[0].resolve_all(model=Asked, take=rule) == 1
        assert devices.shown(0) == shown

    def test_many_by_a_function(self, asked: Devices) -> None:
        replica = asked.replicas[0]
        assert replica.resolve_all(model=Asked, take=lambda conflict: None) == 0
        assert replica.resolve_all(model=Asked, take=lambda conflict: Choice(value=DELETED)) == 1
        asked.restore(0)
        assert asked.shown(0) == "live"

    def test_together_with_a_field_of_the_record(self, opened: Callable[..., Devices]) -> None:
        devices = opened(Asked, 3)
        devices.delete(0)
        devices.record(1).due = 1
        devices.record(2).due = 2
        devices.converge()
        assert [item.kind.value for item in devices.replicas[0].conflicts()] == ["edit_of_deleted", "concurrent_edit"]
        keep = lambda conflict: next(item for item in conflict.candidates if item.value is not DELETED)  # noqa: E731  # one line says it
        assert devices.replicas[0].resolve_all(model=Asked, take=keep) == 2
        assert devices.replicas[0].conflicts() == []

    def test_not_on_a_replica_that_only_reads(self, tmp_path: Path) -> None:
        with memory(1, *MODELS) as other:
            with on_disk(tmp_path, *MODELS) as replica:
                made = other.create(Asked)
                exchange(other, replica)
                other.delete(made)
                replica.get(Asked, made.id).title = "t"
                exchange(other, replica)
            with Replica.open(tmp_path / "a.db", list(MODELS), state_dir=tmp_path / "state", read_only=True) as reading:
                (conflict,) = reading.conflicts()
                for candidate in conflict.candidates:
                    with pytest.raises(StoreReadOnlyError):
                        reading.resolve(conflict, take=candidate)


def test_another_policy_shows_other_records(tmp_path: Path) -> None:
    """A declaration that changes is derived anew at the next open."""

    def declared(policy: Any) -> type[Any]:
        class Note(Model, on_edit_after_delete=policy):
            title: str = ""

        return Note

    first = declared("delete_wins")
    with memory(1, first) as other, on_disk(tmp_path, first) as replica:
        made = other.create(first)
        exchange(other, replica)
        other.delete(made)
        replica.get(first, made.id).title = "t"
        exchange(other, replica)
        assert replica.find(first) == []
    for seed, (policy, live, conflicts) in enumerate([("ask", 1, 1), ("edit_wins", 1, 0), ("delete_wins", 0, 0)], 1):
        model = declared(policy)
        with on_disk(tmp_path, model, seed=seed) as replica:
            assert (len(replica.find(model)), len(replica.conflicts())) == (live, conflicts)
