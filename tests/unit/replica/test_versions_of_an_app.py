"""Two versions of an app on two devices: both write one record, neither loses what it does not know, and they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import create_model

from crdt_sync import Change, Counter, List, Map, Model, Replica, Set, Text, ask, field, max_, three_way
from crdt_sync.core.model import document_key_of, spec_of
from crdt_sync.errors import SchemaError, UnknownFieldError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.schema import Schema, models_of
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk, state_of

OLD_NAMES: Any = create_model(
    "Note",
    __base__=Model,
    title=(str, ""),
    due=(str | None, ask(default=None)),
    address=(dict[str, str], three_way(default={})),
    best=(int, max_(default=0)),
    body=(Text, ...),
    votes=(Counter, ...),
    tags=(Set[str], ...),
    steps=(List[str], ...),
    prefs=(Map[str, Annotated[int, ask()]], ...),
)
NEW_NAMES: Any = create_model(
    "Note",
    __base__=Model,
    heading=(str, field(default="", renamed_from="title")),
    until=(str | None, ask(default=None, renamed_from="due")),
    place=(dict[str, str], three_way(default={}, renamed_from="address")),
    top=(int, max_(default=0, renamed_from="best")),
    text=(Text, field(renamed_from="body")),
    likes=(Counter, field(renamed_from="votes")),
    labels=(Set[str], field(renamed_from="tags")),
    parts=(List[str], field(renamed_from="steps")),
    settings=(Map[str, Annotated[int, ask()]], field(renamed_from="prefs")),
)
RENAMED = dict(zip(OLD_NAMES.model_fields, NEW_NAMES.model_fields, strict=True))
FIRST = {
    "title": "t",
    "due": "today",
    "address": {"a": "1", "b": "1"},
    "best": 3,
    "body": "text",
    "votes": 2,
    "tags": {"x"},
    "steps": ["one"],
    "prefs": {"k": 1},
}


def in_new_names(values: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED[name]: value for name, value in values.items()}


def values_of(replica: Replica, model: Any, name: str) -> dict[str, Any]:
    return dict(replica.get(model, name))


def agree(old: Replica, new: Replica, name: str) -> None:
    exchange(old, new)
    assert in_new_names(values_of(old, OLD_NAMES, name)) == values_of(new, NEW_NAMES, name)
    assert [(item.id, RENAMED[item.field], item.candidates) for item in old.conflicts()] == [
        (item.id, item.field, item.candidates) for item in new.conflicts()
    ]


def test_renamed_fields_are_the_same_fields_on_both_sides() -> None:
    with memory(0, OLD_NAMES) as old, memory(1, NEW_NAMES) as new:
        first: Any = old.create(OLD_NAMES, **FIRST)
        second: Any = new.create(NEW_NAMES, **in_new_names(FIRST))
        agree(old, new, first.id)
        agree(old, new, second.id)
        one: Any = old.get(OLD_NAMES, first.id)
        other: Any = new.get(NEW_NAMES, first.id)
        old.update(one, title="old", due="a", address={"a": "2", "b": "1"}, best=5, steps=["zero", "one"])
        one.body.insert(0, "a ")
        one.votes.increment(3)
        one.tags.add("y")
        one.prefs["k"] = 2
        new.update(other, heading="new", until="b", place={"a": "1", "b": "2"}, top=4, parts=["one", "two"])
        other.text.append(" z")
        other.likes.increment(4)
        other.labels.discard("x")
        other.settings["k"] = 3
        agree(old, new, first.id)
        assert dict(other) | {"heading": "", "until": "", "settings": {}} == {
            "heading": "",
            "until": "",
            "place": {"a": "2", "b": "2"},
            "top": 5,
            "text": "a text z",
            "likes": 9,
            "labels": {"y"},
            "parts": ["zero", "one", "two"],
            "settings": {},
        }
        assert {item.register for item in new.conflicts()} == {"until", "settings/k"}
        for conflict in new.conflicts():
            new.resolve(conflict, take=conflict.candidates[-1])
        agree(old, new, first.id)
        assert not old.conflicts()
        assert {item.register for item in new.settled()} == {"until", "settings/k"}
        assert [item.id for item in old.settled()] == [item.id for item in new.settled()]


def test_everything_that_names_a_renamed_field_gives_its_new_name() -> None:
    changes: list[Change] = []
    with memory(0, OLD_NAMES) as old, memory(1, NEW_NAMES) as new:
        new.observe(changes.append)
        note: Any = old.create(OLD_NAMES, title="t")
        exchange(old, new)
        note.title = "u"
        note.body.append("b")
        exchange(old, new)
        assert [sorted(change.fields) for change in changes] == [sorted(NEW_NAMES.model_fields), ["heading", "text"]]
        found: Any = new.find(NEW_NAMES, heading="u", text="b")[0]
        assert [item.fields for item in new.history(found)][1:] == [("heading",), ("text",)]
        found.heading = "v"
        assert new.last_operation().data == {"heading": "v"}
        found.text.append("c")
        assert new.last_operation().data == {"text": ["c"]}
        assert found.text.runs() == [("bc", {})]
        assert new.candidates(found, "heading")[0].value == "v"
        with pytest.raises(UnknownFieldError):
            new.find(NEW_NAMES, title="u")


def test_a_store_is_opened_under_new_names_and_described_with_them(tmp_path: Path) -> None:
    with on_disk(tmp_path, OLD_NAMES) as replica, memory(5, OLD_NAMES) as other:
        note: Any = replica.create(OLD_NAMES, **FIRST)
        exchange(replica, other)
        note.due = "a"
        other.get(OLD_NAMES, note.id).due = "b"
        exchange(replica, other)
        assert len(replica.conflicts()) == 1
    with on_disk(tmp_path, NEW_NAMES, seed=1) as replica:
        shown = replica.find(NEW_NAMES, heading="t", text="text", likes=2)[0]
        assert dict(shown) | {"until": None} == in_new_names(FIRST) | {"until": None}
        assert [item.field for item in replica.conflicts()] == ["until"]
    with open_sqlite(tmp_path / "a.db", create=False, read_only=True) as store:
        assert check_store(store).total == 0
    with Replica.open(tmp_path / "a.db", state_dir=tmp_path / "state", read_only=True) as replica:
        (model,) = replica.models
        assert {kind.name: kind.stored for kind in spec_of(model).fields.values()} == {
            now: first for first, now in RENAMED.items()
        }


def test_a_description_keeps_first_names() -> None:
    described = Schema([NEW_NAMES]).describe()
    assert Schema(models_of(described)).describe() == described


@pytest.mark.parametrize("name", ["", "a b", "ä", 3])
def test_a_first_name_is_a_name(name: Any) -> None:
    with pytest.raises(SchemaError, match="first name"):
        create_model("Wrong", __base__=Model, title=(str, field(default="", renamed_from=name)))


def test_a_first_name_is_taken_for_ever() -> None:
    with pytest.raises(SchemaError, match="both kept as 'title'"):
        create_model(
            "Wrong",
            __base__=Model,
            heading=(str, field(default="", renamed_from="title")),
            title=(str, field(default="")),
        )


def test_entries_have_no_first_names() -> None:
    entry: Any = Annotated[int, field(renamed_from="old")]
    with pytest.raises(SchemaError, match="belongs to the field"):
        create_model("Wrong", __base__=Model, prefs=(Map[str, entry], ...))


PLAIN_KIND: Any = create_model("Task", __base__=Model, due=(str, "never"), size=(int, 1), gone=(int, 7))
ASK_KIND: Any = create_model(
    "Task", __base__=Model, due=(str, ask(default="never")), size=(int, 2), added=(list[int], []), tags=(Set[str], ...)
)


@pytest.mark.parametrize("order", [(PLAIN_KIND, ASK_KIND), (ASK_KIND, PLAIN_KIND)])
def test_a_field_that_asks_in_one_version_only(order: tuple[Any, Any]) -> None:
    mine, theirs = order
    with memory(0, mine) as one, memory(1, theirs) as other:
        task: Any = one.create(mine, due="first")
        exchange(one, other)
        same: Any = other.get(theirs, task.id)
        for replica, record, values in ((one, task, ("a", "b")), (other, same, ("c", "d"))):
            for value in values:
                replica.update(record, due=value)
        assert exchange(one, other).proven_equal
        assert task.due == same.due
        asking = one if mine is ASK_KIND else other
        assert not (other if asking is one else one).conflicts()
        (conflict,) = asking.conflicts()
        assert {item.value for item in conflict.candidates} == {"b", "d"}
        assert {item.value for item in other.candidates(same, "due")} == {"b", "d"}
        asking.resolve(conflict, value="settled")
        assert exchange(one, other).proven_equal
        assert (task.due, same.due) == ("settled", "settled")
        for replica, record in ((one, task), (other, same)):
            assert len(replica.candidates(record, "due")) == 1
        task.due = "e"
        assert exchange(one, other).proven_equal
        assert same.due == "e"


def test_a_store_opened_with_another_kind_finds_what_is_in_conflict(tmp_path: Path) -> None:
    with on_disk(tmp_path, PLAIN_KIND) as replica, memory(5, PLAIN_KIND) as other:
        task: Any = replica.create(PLAIN_KIND, due="first")
        exchange(replica, other)
        task.due = "a"
        other.get(PLAIN_KIND, task.id).due = "b"
        exchange(replica, other)
    with on_disk(tmp_path, ASK_KIND, seed=1) as replica:
        (conflict,) = replica.conflicts()
        assert {item.value for item in conflict.candidates} == {"a", "b"}
        replica.resolve(conflict, take=conflict.candidates[1])
    with on_disk(tmp_path, PLAIN_KIND, seed=2) as replica:
        assert replica.find(PLAIN_KIND, due=conflict.candidates[1].value)
    with open_sqlite(tmp_path / "a.db", create=False, read_only=True) as store:
        assert check_store(store).total == 0


def test_added_and_removed_fields_and_other_defaults_converge() -> None:
    with memory(0, PLAIN_KIND) as old, memory(1, ASK_KIND) as new:
        task: Any = old.create(PLAIN_KIND, gone=8)
        exchange(old, new)
        same: Any = new.get(ASK_KIND, task.id)
        assert (same.added, same.size, set(same.tags)) == ([], 1, set())
        assert not list(new.operations()), "showing defaults writes nothing"
        new.update(same, added=[1], tags=["x"])
        task.gone = 9
        made: Any = new.create(ASK_KIND, added=[2])
        assert exchange(old, new).proven_equal
        assert (task.gone, same.added, set(same.tags), task.size, same.size) == (9, [1], {"x"}, 1, 1)
        shown: Any = old.get(PLAIN_KIND, made.id)
        assert (shown.gone, shown.size, shown.due) == (7, 2, "never")
        task.due = "now"
        shown.gone = 1
        assert exchange(old, new).proven_equal
        assert (same.due, same.added, made.added) == ("now", [1], [2])


COUNTED: Any = create_model("Poll", __base__=Model, votes=(Counter, ...), words=(Set[str], ...), text=(Text, ...))
TYPED: Any = create_model("Poll", __base__=Model, votes=(int, 0), words=(List[str], ...), text=(str, ask(default="")))
Unknown: Any = create_model("Unknown", __base__=Model, name=(str, ""))


def test_what_a_field_is_in_another_version_is_kept_beside() -> None:
    with memory(0, COUNTED, Unknown) as one, memory(1, TYPED) as middle, memory(2, COUNTED, Unknown) as last:
        poll: Any = one.create(COUNTED, votes=2, words=["a"], text="t")
        stranger: Any = one.create(Unknown, name="n")
        exchange(one, middle)
        same: Any = middle.get(TYPED, poll.id)
        assert dict(same) == {"votes": 0, "words": [], "text": ""}
        middle.update(same, votes=7, words=["b"], text="u")
        poll.votes.increment()
        stranger.name = "m"
        exchange(one, middle)
        exchange(middle, last)
        assert exchange(one, last).proven_equal
        far: Any = last.get(COUNTED, poll.id)
        assert dict(far) == dict(poll) == {"votes": 3, "words": {"a"}, "text": "t"}
        stranger_there: Any = last.get(Unknown, stranger.id)
        assert stranger_there.name == "m"
        assert dict(same) == {"votes": 7, "words": ["b"], "text": "u"}
        far.votes.increment()
        exchange(middle, last)
        assert same.votes == 7
        exchange(one, middle)
        key = document_key_of(poll)
        assert state_of(one).documents.get(key).version() == state_of(middle).documents.get(key).version()
