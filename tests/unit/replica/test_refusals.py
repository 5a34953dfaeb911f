"""Every bad input raises its typed error and changes nothing: not the log, not a table, not a row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from crdt_sync import Counter, Model, Replica, Text
from crdt_sync.core.conflict import Candidate
from crdt_sync.errors import (
    ConflictNotFoundError,
    CRDTSyncError,
    InputError,
    InvalidValueError,
    LimitError,
    ModelError,
    NotACandidateError,
    NotAStoreError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
    SchemaError,
    StoreClosedError,
    StoreNotFoundError,
    TransactionError,
    UnknownFieldError,
    UnknownModelError,
    UnrepresentableValueError,
    WrongThreadError,
)
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, memory, picture


class Stranger(Model):
    name: str = ""


class OtherTask(Model):
    title: str = ""


OtherTask.__name__ = "Task"

NEVER = "0190a6b0-0000-7000-8000-000000000000"


class Scene:
    """A replica with a live record, a deleted one, one of another replica, and a conflict.

    What is called has no type here, since mistakes of type are among what is tested.
    """

    def __init__(self) -> None:
        self.other = memory(2)
        self.replica: Any = memory(1)
        self.live: Any = self.replica.create(Task, title="live", notes="né", tags=["a"], due=date(2025, 1, 1))
        self.gone: Any = self.replica.create(Task, title="gone")
        self.person = self.replica.create(Person, email="a@b")
        exchange(self.replica, self.other)
        self.foreign = self.other.get(Task, self.live.id)
        self.other.update(self.foreign, due=date(2025, 1, 2))
        self.live.due = date(2025, 1, 3)
        self.replica.delete(self.gone)
        exchange(self.replica, self.other)
        (self.conflict,) = self.replica.conflicts()
        self.detached = Task.model_construct(**self.live.model_dump())

    def settle(self) -> None:
        self.replica.resolve(self.conflict, value=None)


Call = Callable[[Scene], Any]

REFUSALS: list[tuple[str, type[CRDTSyncError], Call]] = [
    # values
    ("create: wrong type", InvalidValueError, lambda s: s.replica.create(Task, title=1)),
    ("create: unknown field", UnknownFieldError, lambda s: s.replica.create(Task, titel="x")),
    ("create: the id", UnknownFieldError, lambda s: s.replica.create(Task, id=NEVER)),
    ("create: missing required", InvalidValueError, lambda s: s.replica.create(Person, name="x")),
    ("create: text no str", InvalidValueError, lambda s: s.replica.create(Task, notes=3)),
    ("create: lone surrogate", CRDTSyncError, lambda s: s.replica.create(Task, title="\ud800")),
    ("create: surrogate in text", CRDTSyncError, lambda s: s.replica.create(Task, notes="\ud800")),
    ("create: counter no int", InvalidValueError, lambda s: s.replica.create(Task, votes=1.5)),
    ("create: counter bool", InvalidValueError, lambda s: s.replica.create(Task, votes=True)),
    ("create: set of wrong", InvalidValueError, lambda s: s.replica.create(Task, tags=[1])),
    ("create: no set", InvalidValueError, lambda s: s.replica.create(Task, tags=5)),
    ("create: unrepresentable", UnrepresentableValueError, lambda s: s.replica.create(Task, extra={"k": object()})),
    ("create: set in a dict", UnrepresentableValueError, lambda s: s.replica.create(Task, extra={"k": {1, 2}})),
    ("create: int keys", CRDTSyncError, lambda s: s.replica.create(Task, extra={1: 2})),
    ("create: too large", LimitError, lambda s: s.replica.create(Task, extra={"k": "x" * 2**20})),
    ("create: text too long", LimitError, lambda s: s.replica.create(Task, notes="x" * 1_000_001)),
    ("create: too deep", UnrepresentableValueError, lambda s: s.replica.create(Task, extra=_nested(100))),
    ("update: wrong type", InvalidValueError, lambda s: s.replica.update(s.live, size="many")),
    ("update: one of two", InvalidValueError, lambda s: s.replica.update(s.live, title="ok", due="never")),
    ("update: unknown field", UnknownFieldError, lambda s: s.replica.update(s.live, title="ok", titel="x")),
    ("update: the id", UnknownFieldError, lambda s: s.replica.update(s.live, id=NEVER)),
    ("update: a counter", InvalidValueError, lambda s: s.replica.update(s.live, title="ok", votes=5)),
    ("update: key field", InvalidValueError, lambda s: s.replica.update(s.person, email="c@d")),
    ("assign: wrong type", InvalidValueError, lambda s: setattr(s.live, "done", "perhaps")),
    ("assign: unknown field", UnknownFieldError, lambda s: setattr(s.live, "nope", 1)),
    ("assign: the id", CRDTSyncError, lambda s: setattr(s.live, "id", NEVER)),
    # field objects
    ("text: insert behind the end", InvalidValueError, lambda s: s.live.notes.insert(3, "x")),
    ("text: insert before the start", InvalidValueError, lambda s: s.live.notes.insert(-1, "x")),
    ("text: insert at a bool", InvalidValueError, lambda s: s.live.notes.insert(True, "x")),
    ("text: insert no str", InvalidValueError, lambda s: s.live.notes.insert(0, b"x")),
    ("text: delete too much", InvalidValueError, lambda s: s.live.notes.delete(0, 3)),
    ("text: delete negative", InvalidValueError, lambda s: s.live.notes.delete(0, -1)),
    ("text: delete a float", InvalidValueError, lambda s: s.live.notes.delete(0, 1.0)),
    ("text: replace no str", InvalidValueError, lambda s: s.live.notes.replace(None)),
    ("text: append no str", InvalidValueError, lambda s: s.live.notes.append(1)),
    ("counter: step no int", InvalidValueError, lambda s: s.live.votes.increment(0.5)),
    ("counter: step a bool", InvalidValueError, lambda s: s.live.votes.decrement(True)),
    ("set: add wrong", InvalidValueError, lambda s: s.live.tags.add(5)),
    ("set: add unhashable", InvalidValueError, lambda s: s.live.tags.add([])),
    ("set: discard wrong", InvalidValueError, lambda s: s.live.tags.discard(5)),
    # models and records
    ("create: unknown model", UnknownModelError, lambda s: s.replica.create(Stranger)),
    ("create: another class of the name", UnknownModelError, lambda s: s.replica.create(OtherTask)),
    ("create: no model", ModelError, lambda s: s.replica.create(dict)),
    ("create: existing key", RecordExistsError, lambda s: s.replica.create(Person, email="a@b")),
    ("get: unknown model", UnknownModelError, lambda s: s.replica.get(Stranger, NEVER)),
    ("get: missing", RecordNotFoundError, lambda s: s.replica.get(Task, NEVER)),
    ("get: deleted", RecordNotFoundError, lambda s: s.replica.get(Task, s.gone.id)),
    ("get: another model's", RecordNotFoundError, lambda s: s.replica.get(Person, s.live.id)),
    ("get: no id", InputError, lambda s: s.replica.get(Task, "first")),
    ("get: id of no type", InputError, lambda s: s.replica.get(Task, 5)),
    ("restore: missing", RecordNotFoundError, lambda s: s.replica.restore(Task, NEVER)),
    ("restore: no id", InputError, lambda s: s.replica.restore(Task, "")),
    ("model: unknown name", UnknownModelError, lambda s: s.replica.model("Nothing")),
    ("deleted: read", RecordDeletedError, lambda s: s.gone.title),
    ("deleted: assign", RecordDeletedError, lambda s: setattr(s.gone, "title", "x")),
    ("deleted: update", RecordDeletedError, lambda s: s.replica.update(s.gone, title="x")),
    ("deleted: update nothing", RecordDeletedError, lambda s: s.replica.update(s.gone)),
    ("deleted: delete", RecordDeletedError, lambda s: s.replica.delete(s.gone)),
    ("deleted: text", RecordDeletedError, lambda s: s.gone.notes.append("x")),
    ("deleted: counter", RecordDeletedError, lambda s: s.gone.votes.increment()),
    ("deleted: set", RecordDeletedError, lambda s: s.gone.tags.add("x")),
    ("deleted: candidates", RecordDeletedError, lambda s: s.replica.candidates(s.gone, "title")),
    ("foreign: update", ModelError, lambda s: s.replica.update(s.foreign, title="x")),
    ("foreign: delete", ModelError, lambda s: s.replica.delete(s.foreign)),
    ("foreign: history", ModelError, lambda s: s.replica.history(s.foreign)),
    ("foreign: conflicts", ModelError, lambda s: s.replica.conflicts(record=s.foreign)),
    ("detached: update", ModelError, lambda s: s.replica.update(s.detached, title="x")),
    ("detached: delete", ModelError, lambda s: s.replica.delete(s.detached)),
    ("detached: id", ModelError, lambda s: s.detached.id),
    ("no record: update", ModelError, lambda s: s.replica.update({"id": s.live.id}, title="x")),
    ("no record: delete", ModelError, lambda s: s.replica.delete(s.live.id)),
    ("foreign: at", ModelError, lambda s: s.replica.at(s.foreign, 2**60)),
    ("foreign: explain", ModelError, lambda s: s.replica.explain(s.foreign)),
    ("no record: at", ModelError, lambda s: s.replica.at("x", 2**60)),
    ("no record: history", ModelError, lambda s: s.replica.history("x")),
    ("no record: history of a model", ModelError, lambda s: s.replica.history(Task)),
    ("history: a record and an id", ModelError, lambda s: s.replica.history(s.live, s.live.id)),
    ("history: unknown model", UnknownModelError, lambda s: s.replica.history(Stranger, s.live.id)),
    ("history: never there", RecordNotFoundError, lambda s: s.replica.history(Task, NEVER)),
    ("no record: candidates", ModelError, lambda s: s.replica.candidates(Task, "title")),
    ("no record: conflicts", ModelError, lambda s: s.replica.conflicts(record=s.live.id)),
    # questions
    ("find: unknown model", UnknownModelError, lambda s: s.replica.find(Stranger)),
    ("find: unknown field", UnknownFieldError, lambda s: s.replica.find(Task, nope=1)),
    ("find: unknown comparison", UnknownFieldError, lambda s: s.replica.find(Task, title__like="x")),
    ("find: order by unknown", UnknownFieldError, lambda s: s.replica.find(Task, order_by="nope")),
    ("find: order by a number", InvalidValueError, lambda s: s.replica.find(Task, order_by=5)),
    ("find: order by numbers", InvalidValueError, lambda s: s.replica.find(Task, order_by=["title", 5])),
    ("find: negative limit", InvalidValueError, lambda s: s.replica.find(Task, limit=-1)),
    ("find: limit no int", InvalidValueError, lambda s: s.replica.find(Task, limit="2")),
    ("find: negative offset", InvalidValueError, lambda s: s.replica.find(Task, offset=-1)),
    ("find: in a str", InvalidValueError, lambda s: s.replica.find(Task, title__in="abc")),
    ("find: in a number", InvalidValueError, lambda s: s.replica.find(Task, size__in=5)),
    ("find: wrong type", InvalidValueError, lambda s: s.replica.find(Task, size="many")),
    ("find: less than a wrong type", InvalidValueError, lambda s: s.replica.find(Task, due__lt="soon")),
    ("count: unknown field", UnknownFieldError, lambda s: s.replica.count(Task, nope=1)),
    ("candidates: unknown field", UnknownFieldError, lambda s: s.replica.candidates(s.live, "nope")),
    ("conflicts: unknown kind", InputError, lambda s: s.replica.conflicts(kind="quarrel")),
    ("conflicts: unknown model", UnknownModelError, lambda s: s.replica.conflicts(model=Stranger)),
    ("operations: unknown status", InputError, lambda s: s.replica.operations(status="lost")),
    ("operation: unknown", InputError, lambda s: s.replica.operation("999")),
    ("operation: no number", InputError, lambda s: s.replica.operation("x")),
    ("observe: unknown model", UnknownModelError, lambda s: s.replica.observe(print, model=Stranger)),
    # conflicts
    ("resolve: no conflict", InputError, lambda s: s.replica.resolve("x", value=1)),
    ("resolve: the conflict's id", InputError, lambda s: s.replica.resolve(s.conflict.id, take=None)),
    ("resolve: nothing chosen", InputError, lambda s: s.replica.resolve(s.conflict)),
    ("resolve: both", InputError, lambda s: s.replica.resolve(s.conflict, take=s.conflict.candidates[0], value=None)),
    ("resolve: something else", InputError, lambda s: s.replica.resolve(s.conflict, choose=1)),
    ("resolve: no candidate", NotACandidateError, lambda s: s.replica.resolve(s.conflict, take=_candidate(s))),
    ("resolve: a plain value", NotACandidateError, lambda s: s.replica.resolve(s.conflict, take=date(2025, 1, 3))),
    ("resolve: wrong type", InvalidValueError, lambda s: s.replica.resolve(s.conflict, value="soon")),
    # the rest
    ("local: empty key", InputError, lambda s: s.replica.local.save("", 1)),
    ("local: key no str", InputError, lambda s: s.replica.local.save(5, 1)),
    ("local: long key", InputError, lambda s: s.replica.local.load("k" * 257)),
    ("local: key that is no text", InputError, lambda s: s.replica.local.save("\ud800", 1)),
    ("local: unrepresentable", UnrepresentableValueError, lambda s: s.replica.local.save("k", object())),
]


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"k": value}
    return value


def _candidate(scene: Scene) -> Candidate:
    first = scene.conflict.candidates[0]
    return Candidate(value="x", device_id=first.device_id, timestamp=first.timestamp, dot=first.dot)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(("kind", "call"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_bad_input_changes_nothing(scene: Scene, kind: type[CRDTSyncError], call: Call) -> None:
    before = picture(scene.replica)
    with pytest.raises(kind) as refusal:
        call(scene)
    assert refusal.value.hint or refusal.value.message
    assert picture(scene.replica) == before
    with scene.replica.transaction(), pytest.raises(kind):
        call(scene)
    assert picture(scene.replica) == before, "nor does it break a transaction around it"


def test_settling_a_conflict_twice_is_refused() -> None:
    scene = Scene()
    scene.settle()
    before = picture(scene.replica)
    with pytest.raises(ConflictNotFoundError):
        scene.settle()
    assert picture(scene.replica) == before


def test_error_messages_hold_no_values(scene: Scene) -> None:
    secret = "correct horse"
    calls: list[Callable[[], object]] = [
        lambda: scene.replica.create(Task, size=secret),
        lambda: scene.replica.update(scene.live, due=secret),
        lambda: scene.replica.find(Task, size=secret),
        lambda: scene.live.tags.add([secret]),
    ]
    for call in calls:
        with pytest.raises(CRDTSyncError) as refusal:
            call()
        assert secret not in f"{refusal.value}{refusal.value.hint}"
        assert refusal.value.__cause__ is None


def _begin(replica: Replica) -> Iterator[None]:
    with replica.transaction():
        yield


CALLS: list[tuple[str, Callable[[Replica, Task], Any]]] = [
    ("create", lambda r, t: r.create(Task)),
    ("update", lambda r, t: r.update(t, title="x")),
    ("delete", lambda r, t: r.delete(t)),
    ("restore", lambda r, t: r.restore(Task, NEVER)),
    ("get", lambda r, t: r.get(Task, NEVER)),
    ("find", lambda r, t: r.find(Task)),
    ("count", lambda r, t: r.count(Task)),
    ("history", lambda r, t: r.history(t)),
    ("at", lambda r, t: r.at(t, 2**60)),
    ("explain", lambda r, t: r.explain(t)),
    ("undo", lambda r, t: r.undo()),
    ("redo", lambda r, t: r.redo()),
    ("operations", lambda r, t: r.operations()),
    ("operation", lambda r, t: r.operation("1")),
    ("last_operation", lambda r, t: r.last_operation()),
    ("pending_count", lambda r, t: r.pending_count()),
    ("observe", lambda r, t: r.observe(print)),
    ("conflicts", lambda r, t: r.conflicts()),
    ("candidates", lambda r, t: r.candidates(t, "title")),
    ("transaction", lambda r, t: list(_begin(r))),
    ("read", lambda r, t: t.title),
    ("dump", lambda r, t: t.model_dump()),
    ("write", lambda r, t: setattr(t, "title", "x")),
    ("text", lambda r, t: t.notes.append("x")),
    ("read text", lambda r, t: str(t.notes)),
    ("counter", lambda r, t: t.votes.increment()),
    ("set", lambda r, t: t.tags.add("x")),
    ("local.save", lambda r, t: r.local.save("k", 1)),
    ("local.load", lambda r, t: r.local.load("k")),
    ("local.delete", lambda r, t: r.local.delete("k")),
    ("local.keys", lambda r, t: r.local.keys()),
    ("port.vector", lambda r, t: r.port.vector()),
    ("port.fingerprint", lambda r, t: r.port.fingerprint("")),
    ("port.accept_runs", lambda r, t: r.port.accept_runs([])),
    ("port.accept_records", lambda r, t: r.port.accept_records([])),
]


@pytest.mark.parametrize("call", [case[1] for case in CALLS], ids=[case[0] for case in CALLS])
def test_a_closed_replica_and_another_thread_are_refused(call: Callable[[Replica, Task], Any]) -> None:
    replica = memory()
    task = replica.create(Task)
    before = picture(replica)
    seen: list[BaseException] = []

    def elsewhere() -> None:
        try:
            call(replica, task)
        except CRDTSyncError as error:
            seen.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [type(error) for error in seen] == [WrongThreadError]
    assert picture(replica) == before
    replica.close()
    with pytest.raises(StoreClosedError):
        call(replica, task)


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.close(),
        lambda r: r.port.accept_runs([]),
        lambda r: r.port.vector(),
        lambda r: r.port.accept_records([]),
    ],
    ids=["close", "accept_runs", "vector", "accept_records"],
)
def test_nothing_comes_in_between_a_transaction(replica: Replica, call: Callable[[Replica], Any]) -> None:
    with replica.transaction():
        replica.create(Task)
        assert replica.port.busy()
        with pytest.raises(TransactionError):
            call(replica)
    assert not replica.port.busy()
    assert replica.count(Task) == 1


@pytest.mark.parametrize("durability", ["none", "", None])
def test_an_unknown_durability_is_refused(durability: Any) -> None:
    with pytest.raises(InputError):
        Replica.open(":memory:", [Task], durability=durability)


def test_models_that_cannot_work_together_are_refused() -> None:
    class TASK(Model):
        notes: Text

    with pytest.raises(SchemaError):
        Replica.open(":memory:", [Task, TASK])
    with pytest.raises(SchemaError):
        Replica.open(":memory:", [Task, Task])
    with pytest.raises(ModelError):
        Replica.open(":memory:", [Task, Counter])  # type: ignore[list-item]  # wrong on purpose


def test_ids_are_taken_in_any_spelling(replica: Replica) -> None:
    task = replica.create(Task)
    assert replica.get(Task, task.id.upper()) == task
    assert replica.get(Task, UUID(task.id)) == task  # type: ignore[arg-type]  # a UUID where text is declared


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        Replica.open(tmp_path / "missing" / "store.db", state_dir=tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [None, b"a.db", 5, "", "a\0.db", Path("a\0.db"), "\ud800.db", "x" * 300])
def test_what_is_no_path_is_refused(path: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        Replica.open(path, [Task], state_dir=tmp_path)
    assert refusal.value.hint
    with pytest.raises(InputError):
        Replica.open(path, [Task], state_dir=tmp_path, read_only=True)
    if path is not None:
        with pytest.raises(InputError):
            Replica.open(tmp_path / "a.db", [Task], state_dir=path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_must_leave_room_for_the_files_beside_the_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="longer than the system takes"):
        Replica.open(tmp_path / ("x" * 248), [Task], state_dir=tmp_path)
    Replica.open(tmp_path / ("x" * 247), [Task], state_dir=tmp_path / "state").close()


@pytest.mark.parametrize("models", [Task, "Task", 5, {Task}])
def test_models_that_are_no_list_are_refused(models: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        Replica.open(tmp_path / "a.db", models, state_dir=tmp_path)
    assert "models=[Task]" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def test_operations_are_read_in_the_owner_thread_alone() -> None:
    found: list[object] = []
    with memory() as replica:
        replica.create(Task)
        operations = replica.operations()

        def advance() -> None:
            try:
                found.append(next(operations))
            except WrongThreadError as error:
                found.append(type(error))

        thread = threading.Thread(target=advance)
        thread.start()
        thread.join()
        left = replica.operations()
    assert found == [WrongThreadError]
    with pytest.raises(StoreClosedError):
        next(left)


def test_a_file_that_is_no_store_gets_nothing_beside_it(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("not a store " * 100)
    with pytest.raises(NotAStoreError):
        Replica.open(other, state_dir=tmp_path / "state")
    assert [item.name for item in tmp_path.iterdir()] == ["other.txt"]
