"""Undo beside what else changes a record's meaning: renamed fields, deletion policies, questions that were settled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from crdt_sync import DELETED, Counter, Map, Model, Set, Text, ask, field, three_way
from crdt_sync.core.inverting import OTHERS_WROTE, STAYS_SETTLED
from crdt_sync.replica.undo import DELETED_BY_OTHERS
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory, on_disk

Policy = Literal["edit_wins", "delete_wins", "ask"]
POLICIES: tuple[Policy, ...] = ("edit_wins", "delete_wins", "ask")


class Customer(Model, unique=("code",), on_duplicate="ask"):
    code: str
    name: str = ""
    due: int | None = ask(default=None)
    place: dict[str, int] = three_way(default_factory=dict)
    notes: Text
    votes: Counter
    tags: Set[str]
    prefs: Map[str, int]


class Note(Model):
    title: str = ""
    due: int | None = ask(default=None)
    text: Text
    prefs: Map[str, int]


def newer() -> type[Model]:
    class Note(Model):
        name: str = field(default="", renamed_from="title")
        day: int | None = ask(default=None, renamed_from="due")
        body: Text = field(renamed_from="text")
        options: Map[str, int] = field(renamed_from="prefs")

    return Note


def test_what_was_written_under_old_names_is_undone_under_the_new_ones(tmp_path: Path) -> None:
    with on_disk(tmp_path, Note, seed=1) as replica:
        note = replica.create(Note, title="a", text="abc")
        with replica.transaction():
            note.title, note.due = "b", 1
            note.text.insert(1, "né😀")
            note.prefs["k"] = 1
    with on_disk(tmp_path, newer(), seed=2) as replica:
        (renamed,) = replica.find(replica.model("Note"))
        after = renamed.model_dump()
        report = replica.undo()
        assert report is not None
        assert {item.field for item in report.done} == {"name", "day", "body", "options"}
        assert renamed.model_dump() == {"name": "a", "day": None, "body": "abc", "options": {}}
        assert replica.redo() is not None
        assert renamed.model_dump() == after
        pieces = replica.explain(renamed, "body").causes
        assert "".join(cause.value for cause in pieces) == "ané😀bc"


def note_of(policy: Policy) -> type[Model]:
    class Card(Model, on_edit_after_delete=policy):
        title: str = ""

    return Card


@pytest.mark.parametrize("policy", POLICIES)
def test_a_delete_that_met_an_edit_is_not_undone_over_it(policy: Policy) -> None:
    """The edit is shown, or was lost to the policy; taking the delete back would be a choice between the two."""
    model = note_of(policy)
    with memory(1, model) as one, memory(2, model, dice=Dice(2, now_ms=START_MS + 50)) as other:
        card = one.create(model, title="a")
        exchange(one, other)
        one.delete(card)
        other.update(other.get(model, card.id), title="theirs")
        exchange(one, other)
        report = one.undo()
        assert report is not None
        exchange(one, other)
        if policy == "delete_wins":  # it is deleted by ours alone: then the edit shows again
            assert [item.field for item in report.done] == [""]
        else:
            assert [item.reason for item in report.skipped] == [OTHERS_WROTE]
        assert [replica.get(model, card.id).model_dump() for replica in (one, other)] == [{"title": "theirs"}] * 2


@pytest.mark.parametrize("policy", POLICIES)
def test_an_edit_that_met_a_delete_of_others(policy: Policy) -> None:
    """Undo takes the value back. It neither deletes what the edit kept, nor brings back what others deleted."""
    model = note_of(policy)
    with memory(1, model) as one, memory(2, model, dice=Dice(2, now_ms=START_MS + 50)) as other:
        card = one.create(model, title="a")
        exchange(one, other)
        one.update(card, title="mine")
        other.delete(other.get(model, card.id))
        exchange(one, other)
        live = one.count(model)
        report = one.undo()
        assert report is not None
        if policy == "delete_wins":
            assert [item.reason for item in report.skipped] == [DELETED_BY_OTHERS]
        exchange(one, other)
        assert [replica.count(model) for replica in (one, other)] == [live] * 2
        assert live == (policy != "delete_wins")
        assert len(one.conflicts()) == (policy == "ask")


@pytest.mark.parametrize("deletes", [True, False])
def test_a_settled_question_of_deletion_stays_settled(*, deletes: bool) -> None:
    model = note_of("ask")
    with memory(1, model) as one, memory(2, model, dice=Dice(2, now_ms=START_MS + 50)) as other:
        card = one.create(model, title="a")
        exchange(one, other)
        one.update(card, title="kept")
        other.delete(other.get(model, card.id))
        exchange(one, other)
        (conflict,) = one.conflicts()
        (chosen,) = (item for item in conflict.candidates if (item.value is DELETED) == deletes)
        one.resolve(conflict, take=chosen)
        report = one.undo()
        assert report is not None
        assert STAYS_SETTLED in {item.reason for item in report.skipped}
        assert (one.conflicts(), one.count(model)) == ([], 1)
        assert one.settled()[-1].id == conflict.id


FIRST = {"name": "a", "due": 1, "place": {"x": 1}, "notes": "A", "votes": 1, "tags": {"a"}, "prefs": {"k": 1, "a": 1}}
SECOND = {"name": "b", "due": 2, "place": {"x": 2}, "notes": "B", "votes": 9, "tags": {"b"}, "prefs": {"k": 2, "b": 2}}
DECIDED = {"name", "due", "place", "prefs"}


@pytest.mark.parametrize("oldest", [True, False])
@pytest.mark.parametrize("by_field", [True, False])
def test_a_choice_between_records_that_were_created_twice_stays(*, oldest: bool, by_field: bool) -> None:
    later = Dice(2, now_ms=START_MS + 50)
    with memory(1, Customer) as one, memory(2, Customer, dice=later) as other:
        one.create(Customer, code="1", **FIRST)
        other.create(Customer, code="1", **SECOND)
        assert exchange(one, other).proven_equal
        (conflict,) = one.conflicts()
        chosen = conflict.candidates[-1 if oldest else 0]
        if by_field:
            one.resolve(conflict, paths=dict.fromkeys(conflict.paths, chosen))
        else:
            one.resolve(conflict, take=chosen)
        (customer,) = one.find(Customer)
        shown = customer.model_dump()
        report = one.undo()
        assert report is not None
        assert not report.done
        assert {(item.field, item.reason) for item in report.skipped} == {
            (name, STAYS_SETTLED) for name in {"", *DECIDED}
        }
        assert customer.model_dump() == shown
        assert one.conflicts() == []
        assert one.redo() is None
        assert exchange(one, other).proven_equal
        assert [record.model_dump() for record in other.find(Customer)] == [shown]


def test_what_else_a_transaction_did_beside_such_a_choice_is_undone() -> None:
    later = Dice(2, now_ms=START_MS + 50)
    with memory(1, Customer) as one, memory(2, Customer, dice=later) as other:
        one.create(Customer, code="1", **FIRST)
        other.create(Customer, code="1", **{**SECOND, "due": 1})
        assert exchange(one, other).proven_equal
        (conflict,) = one.conflicts()
        with one.transaction():
            one.resolve(conflict, take=conflict.candidates[-1])
            (customer,) = one.find(Customer)
            shown = customer.model_dump()
            customer.due = 7
            customer.votes.increment(5)
            customer.tags.add("more")
            customer.notes.append("!")
            customer.prefs["c"] = 3
        report = one.undo()
        assert report is not None
        assert {item.field for item in report.done} == {"due", "votes", "tags", "notes", "prefs"}
        assert customer.model_dump() == shown
        assert one.redo() is not None
        assert (customer.due, customer.name, int(customer.votes)) == (7, "a", 15)
