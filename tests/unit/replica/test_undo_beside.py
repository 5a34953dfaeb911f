"""Undo beside what else changes a record's meaning: renamed fields, deletion policies, questions that were settled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from crdt_sync import DELETED, Map, Model, Text, ask, field
from crdt_sync.core.inverting import OTHERS_WROTE, STAYS_SETTLED
from crdt_sync.replica.undo import DELETED_BY_OTHERS
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory, on_disk

Policy = Literal["edit_wins", "delete_wins", "ask"]
POLICIES: tuple[Policy, ...] = ("edit_wins", "delete_wins", "ask")


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
