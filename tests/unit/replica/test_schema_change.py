"""Other models at the next open: columns come and go, and what this app does not know is kept for those who do."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID, uuid4

import pytest
from pydantic import Field, create_model

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.core.kinds import AskRegister
from crdt_sync.errors import SchemaError, UnknownFieldError, UnknownModelError
from crdt_sync.replica.schema import Schema, models_of
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk

OldNote: Any = create_model("Note", __base__=Model, title=(str, ""), dropped=(int, 0), kept=(Text, ...))
NewNote: Any = create_model(
    "Note",
    __base__=Model,
    title=(str, ""),
    kept=(Text, ...),
    added=(list[int], []),
    due=(date | None, ask(default=None)),
)
Other: Any = create_model("Other", __base__=Model, name=(str, ""), tags=(Set[str], ...))


def columns(place: Path) -> list[str]:
    plain = sqlite3.connect(place / "a.db")
    found = [row[1] for row in plain.execute("PRAGMA table_info(Note)")]
    plain.close()
    return found


def test_columns_come_and_go_and_values_stay(tmp_path: Path) -> None:
    with on_disk(tmp_path, OldNote) as replica:
        note: Any = replica.create(OldNote, title="t", dropped=7, kept="k")
        name = note.id
    assert columns(tmp_path) == ["id", "title", "dropped", "kept"]
    with on_disk(tmp_path, NewNote, seed=1) as replica:
        note = replica.get(NewNote, name)
        assert (note.title, str(note.kept), note.added, note.due) == ("t", "k", [], None)
        assert replica.find(NewNote, added=[], title="t") == [note]
        note.added = [1]
        note.due = date(2025, 1, 1)
        assert replica.find(NewNote, added__contains=1) == [note]
        with pytest.raises(UnknownFieldError):
            replica.find(NewNote, dropped=7)
    assert columns(tmp_path) == ["id", "title", "kept", "added", "due"]
    with on_disk(tmp_path, OldNote, seed=2) as replica:
        note = replica.get(OldNote, name)
        assert note.dropped == 7
        assert replica.find(OldNote, dropped=7) == [note]
    with on_disk(tmp_path, NewNote, seed=3) as replica:
        note = replica.get(NewNote, name)
        assert note.added == [1]


def test_the_same_models_rebuild_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_disk(tmp_path, OldNote) as replica:
        replica.create(OldNote, title="t")
    derived: list[object] = []
    monkeypatch.setattr("crdt_sync.replica.derive.Derivation.derive", lambda *args, **options: derived.append(args))
    with on_disk(tmp_path, OldNote, seed=1):
        pass
    assert derived == []


def test_models_that_this_app_does_not_know_are_kept_and_passed_on(tmp_path: Path) -> None:
    with memory(8, OldNote, Other) as origin, memory(9, OldNote, Other) as target:
        other: Any = origin.create(Other, name="n", tags=["x"])
        note: Any = origin.create(OldNote, title="t", dropped=5)
        with on_disk(tmp_path, NewNote) as between:
            exchange(origin, between)
            with pytest.raises(UnknownModelError):
                between.find(Other)
            (seen,) = between.find(NewNote)
            seen.title = "changed by an app that knows less"
            assert exchange(between, target).proven_equal
            assert exchange(between, origin).proven_equal
        back: Any = target.get(Other, other.id)
        assert (back.name, set(back.tags)) == ("n", {"x"})
        kept: Any = target.get(OldNote, note.id)
        assert kept.dropped == 5
        assert note.title == "changed by an app that knows less"
        with on_disk(tmp_path, NewNote, Other, seed=1) as between:
            again: Any = between.get(Other, other.id)
            assert set(again.tags) == {"x"}


def test_a_value_that_the_new_type_refuses_is_given_as_it_was(tmp_path: Path) -> None:
    with on_disk(tmp_path, OldNote) as replica:
        name = replica.create(OldNote, title="text").id
    level: Any = Literal["a", "b"]
    numbered: Any = create_model("Note", __base__=Model, title=(level, "a"), kept=(Text, ...))
    with on_disk(tmp_path, numbered, seed=1) as replica:
        note: Any = replica.get(numbered, name)
        assert note.title == "text"
        note.title = "b"
        assert note.title == "b"


def test_a_model_that_differs_only_in_case_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with on_disk(tmp_path, OldNote) as replica:
        replica.create(OldNote, title="t")
    shouting: Any = create_model("NOTE", __base__=Model, title=(str, ""))
    with pytest.raises(SchemaError):
        on_disk(tmp_path, shouting, seed=1)
    with on_disk(tmp_path, OldNote, seed=2) as replica:
        assert replica.count(OldNote) == 1


# ── descriptions ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Level(Enum):
    LOW = 1
    HIGH = "h"


class Everything(Model, key=("code",), version=3):
    code: str
    number: int = 5
    ratio: float | None = None
    money: Decimal = Decimal("1.50")
    flag: bool = True
    data: bytes = b"\x01"
    day: date | None = ask(default=date(2025, 1, 1))
    moment: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    clock: time | None = None
    span: timedelta = timedelta(seconds=1)
    key: UUID | None = None
    level: Level = Level.LOW
    state: Literal["a", 2] = "a"
    items: list[int] = []  # noqa: RUF012  pydantic copies it
    table: dict[str, list[int]] = {}  # noqa: RUF012  as above
    pair: tuple[int, str] = (1, "a")
    anything: Any = None
    notes: Text
    votes: Counter
    tags: Set[int]


def test_a_description_brings_the_models_back() -> None:
    schema = Schema([Everything, OldNote])
    made = models_of(schema.describe())
    assert [model.__name__ for model in made] == ["Everything", "Note"]
    again = Schema(made)
    spec, original = again.of("Everything").spec, schema.of("Everything").spec
    assert (spec.key, spec.version, spec.required) == (("code",), 3, original.required)
    assert spec.fields.keys() == original.fields.keys()
    assert {name: type(kind) for name, kind in spec.fields.items()} == {
        name: type(kind) for name, kind in original.fields.items()
    }
    assert isinstance(spec.fields["day"], AskRegister)
    assert again.of("Everything").view == schema.of("Everything").view


def test_a_store_opens_without_its_models(tmp_path: Path) -> None:
    with on_disk(tmp_path, Everything) as replica:
        made = replica.create(Everything, code="x", tags=[1], notes="n", level=Level.HIGH, pair=(2, "b"))
        replica.update(made, items=[3], day=None)
        name = made.id
    with Replica.open(tmp_path / "a.db", state_dir=tmp_path / "state") as replica:
        model = replica.model("Everything")
        (record,) = replica.find(model, code="x")
        values = record.model_dump()
        assert record.id == name
        assert (values["items"], values["day"], values["pair"], values["tags"]) == ([3], None, (2, "b"), {1})
        assert values["money"] == Decimal("1.50")
        replica.update(record, number=6)
    with on_disk(tmp_path, Everything, seed=5) as replica:
        again = replica.get(Everything, name)
        assert (again.number, again.level, again.items) == (6, Level.HIGH, [3])


@pytest.mark.parametrize("damage", [{"A": {}}, {"A": {"fields": 5}}, {"A": None}])
def test_a_description_that_cannot_be_read_is_a_schema_error(damage: Any) -> None:
    with pytest.raises(SchemaError):
        models_of(damage)


class Left(Model):
    name: str = ""


class Beside(Model):
    n: int = 0


def test_a_model_left_out_for_one_session_is_current_afterwards(tmp_path: Path) -> None:
    store, state = tmp_path / "a.db", tmp_path / "state"
    with Replica.open(tmp_path / "b.db", [Left], state_dir=state) as peer:
        with Replica.open(store, [Left, Beside], state_dir=state) as replica:
            name = replica.create(Left, name="a").id
            gone = replica.create(Left, name="gone").id
            exchange(replica, peer)
        with Replica.open(store, [Beside], state_dir=state) as replica:
            peer.get(Left, name).name = "b"
            peer.create(Left, name="c")
            peer.delete(peer.get(Left, gone))
            exchange(replica, peer)
    with Replica.open(store, [Left, Beside], state_dir=state) as replica:
        assert sorted(record.name for record in replica.find(Left)) == ["b", "c"]
        assert [record.id for record in replica.find(Left, name="b")] == [name]
        assert replica.count(Left) == 2
    with Replica.open(store, [Beside], state_dir=state):
        pass
    with Replica.open(store, state_dir=state) as replica:
        assert {model.__name__ for model in replica.models} == {"Left", "Beside"}


def test_a_changed_default_is_found(tmp_path: Path) -> None:
    store, state = tmp_path / "a.db", tmp_path / "state"

    def declare(default: str | None) -> type[Model]:
        fields: dict[str, Any] = {"name": (str, ""), **({} if default is None else {"status": (str, default)})}
        return cast("type[Model]", create_model("Job", __base__=Model, **fields))

    job = declare(None)
    with Replica.open(store, [job], state_dir=state) as replica:
        replica.create(job, name="x")
    for default in ("a", "b"):
        job = declare(default)
        with Replica.open(store, [job], state_dir=state) as replica:
            (record,) = replica.find(job, status=default)
            assert record.model_dump()["status"] == default


NAMES = ["x"]

CONSTANT: list[tuple[Any, Any, Any]] = [
    (dict[str, int], lambda: {"k": 1}, {"k": 1}),
    (list[str], lambda: list(NAMES), ["x"]),
    (list[str], list, []),
    (tuple[int, ...], lambda: (1, 2), (1, 2)),
    (int, lambda: 5, 5),
    (str, str, ""),
]
"""Types and factories of fields with what records show that were made before."""

CHANGING: list[tuple[Any, Any]] = [
    (UUID, uuid4),
    (date, date.today),
    (list[str], lambda: [str(uuid4())]),
    (list[date], lambda: [date.today()]),  # noqa: DTZ011  equal today
    (str, lambda: NAMES[0]),
    (int, lambda data: 5),
    (dict[str, int], lambda: 1 // 0),
    (list[Any], lambda: [object()]),
]


def with_factory(annotation: Any, factory: Any) -> tuple[Any, Any]:
    """A model, and the same with one field more."""
    older: Any = create_model("Task", __base__=Model, title=(str, ""))
    return older, create_model("Task", __base__=older, more=(annotation, Field(default_factory=factory)))


@pytest.mark.parametrize(("annotation", "factory", "shown"), CONSTANT)
def test_a_new_field_shows_what_its_factory_always_gives(annotation: Any, factory: Any, shown: Any) -> None:
    older, newer = with_factory(annotation, factory)
    with memory(0, older) as old, memory(1, newer) as new:
        task = old.create(older, title="t")
        exchange(old, new)
        found: Any = new.get(newer, task.id)
        assert found.more == shown
        assert new.find(newer, more=shown) == [found]
        if isinstance(shown, list):
            found.more.append("y")  # a copy
        assert found.more == shown
        created: Any = new.create(newer)
        assert created.more == shown
        assert not list(new.invalid())
        (remade,) = models_of(Schema([newer]).describe())
    with memory(2, remade) as tool:
        again: Any = tool.create(remade)
        assert again.more == shown


@pytest.mark.parametrize(("annotation", "factory"), CHANGING)
def test_a_new_field_whose_factory_may_give_anything_has_no_value_and_is_found(annotation: Any, factory: Any) -> None:
    older, newer = with_factory(annotation, factory)
    with memory(0, older) as old, memory(1, newer) as new:
        task = old.create(older, title="t")
        exchange(old, new)
        found: Any = new.get(newer, task.id)
        assert found.more is None
        assert [(item.field, item.raw) for item in new.invalid()] == [("more", None)]


def test_a_factory_of_single_values_is_not_called_when_the_model_is_made() -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(0)
        return len(calls)

    model: Any = create_model("Task", __base__=Model, number=(int, Field(default_factory=count)))
    assert not calls
    with memory(0, model) as replica:
        task: Any = replica.create(model)
        assert task.number == 1
