"""Random histories of records that are created twice: whatever happens in whatever order, everybody sees the same.

The order of all syncs is random, so chains of duplicates are seen in pieces. A device that gets everything at once, and
one that builds everything anew from its log, must see what those see that went through it all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Annotated, Any

import pytest

from crdt_sync import KEEP_BOTH, Conflict, Counter, List, Map, Model, Replica, Set, Text, ask, max_
from crdt_sync.core.conflict import ConflictKind
from crdt_sync.core.ids import DEFAULT_PARTITION, document_key
from crdt_sync.errors import ConflictNotFoundError, RecordError, RecordExistsError
from crdt_sync.replica.content import rederive
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory

DEVICES = 3
STEPS = 40
CODES = ("x", "y", "z", None)


class Thing(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    title: str = ""
    due: int | None = ask(default=None)
    best: int | None = max_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    days: Map[str, Annotated[int, ask()]]


class Loose(Model, unique=("code",), on_duplicate="keep_both"):
    code: str | None = None
    title: str = ""


class Asked(Thing, unique=("code",), on_duplicate="ask", on_edit_after_delete="ask"):
    pass


MODELS = (Thing, Loose, Asked)


def act(replica: Replica, dice: Random, *, model: type[Thing], held: list[str]) -> None:
    """Do something, as a user would: to what is shown, or to an id that was noted long ago."""
    name = dice.choice(held) if held and dice.random() < 0.3 else None
    try:
        things: list[Any] = [replica.get(model, name)] if name else list(replica.find(model))
        if not things or dice.random() < 0.3:
            made = replica.create(model, code=dice.choice(CODES), title=dice.choice("ab"), due=dice.randint(1, 2))
            held.append(made.id)
            replica.create(Loose, code="x")
            return
        with replica.transaction():
            for _ in range(dice.randint(1, 2)):
                dice.choice(CHANGES)(dice.choice(things), dice)
    except RecordExistsError:
        pass  # what is here already is refused: no part of the history
    except RecordError:
        if name and dice.random() < 0.3:
            with suppress(RecordError):  # it never came here
                replica.restore(model, name)


def _pop(thing: Any, dice: Random) -> None:
    if thing.steps:
        thing.steps.pop(dice.randrange(len(thing.steps)))


CHANGES: tuple[Callable[[Any, Random], object], ...] = (
    lambda thing, dice: setattr(thing, "title", dice.choice("abc")),
    lambda thing, dice: setattr(thing, "due", dice.randint(1, 4)),
    lambda thing, dice: setattr(thing, "best", dice.randint(1, 9)),
    lambda thing, dice: thing.notes.append(dice.choice("abc")),
    lambda thing, dice: thing.votes.increment(dice.randint(1, 3)),
    lambda thing, dice: thing.tags.add(dice.choice("abc")),
    lambda thing, dice: thing.tags.discard(dice.choice("abc")),
    lambda thing, dice: thing.steps.insert(dice.randint(0, 3), dice.choice("abc")),
    _pop,
    lambda thing, dice: thing.days.update({dice.choice("mt"): dice.randint(1, 3)}),
    lambda thing, dice: setattr(thing, "code", dice.choice(CODES)),
)


def rarely(replica: Replica, dice: Random, *, model: type[Thing], seen: list[Conflict]) -> None:
    """Delete, or settle a conflict: one that is open, or one that somebody saw long ago, perhaps elsewhere."""
    things, conflicts = replica.find(model), replica.conflicts(model=model)
    seen += conflicts
    if things and dice.random() < 0.2:
        replica.delete(dice.choice(things))
    elif seen and dice.random() < 0.3:
        with suppress(ConflictNotFoundError, RecordError):  # it was settled meanwhile, or never came here
            settle(replica, dice.choice(seen), dice)
    elif conflicts:
        questions = [item for item in conflicts if item.kind is ConflictKind.DUPLICATE_CREATE]
        conflict = dice.choice(questions or conflicts)
        own = conflict.kind is ConflictKind.EDIT_OF_DELETED
        try:
            settle(replica, conflict, dice)
        except ConflictNotFoundError:
            raise AssertionError("an open conflict could not be settled") from None
        assert own or conflict.id not in {item.id for item in replica.conflicts()}


def settle(replica: Replica, conflict: Conflict, dice: Random) -> None:
    """Settle a conflict in one of the ways that its kind has."""
    candidate = dice.choice(conflict.candidates)
    if conflict.kind is ConflictKind.DUPLICATE_CREATE and dice.random() < 0.4:
        replica.resolve(conflict, value=KEEP_BOTH)
    elif conflict.kind is ConflictKind.DUPLICATE_CREATE and dice.random() < 0.3:
        shared = {path: candidate for path in conflict.paths if not path.startswith("/days/")}
        entries = {path: dice.randint(1, 3) for path in conflict.paths if path not in shared}
        replica.resolve(conflict, paths={**shared, **entries})
    else:
        replica.resolve(conflict, take=candidate)


def view(replica: Replica) -> list[Any]:
    """Everything that users see, and that tools find in the tables."""
    shown = [_view_of(replica, model) for model in (Thing, Asked)]
    decided = [item for item in replica.settled(model=Asked) if item.kind is ConflictKind.DUPLICATE_CREATE]
    return [shown, replica.conflicts(), decided, [thing.id for thing in replica.find(Loose, order_by="id")]]


def _view_of(replica: Replica, model: type[Thing]) -> list[Any]:
    things: list[Any] = list(replica.find(model, order_by="id"))
    assert [thing.id for thing in things] == sorted({replica.get(model, thing.id).id for thing in things})
    for thing in things:
        for other in replica.also_known_as(thing):
            assert replica.get(model, other) == thing
        assert replica.find(model, id=thing.id, title=thing.title, votes=int(thing.votes)) == [thing]
    asked = replica.conflicts(model=model, kind=ConflictKind.DUPLICATE_CREATE)
    for conflict in asked:
        members = [replica.get(model, candidate.value["id"]) for candidate in conflict.candidates]
        assert len({thing.id for thing in members}) == len(conflict.candidates)
        assert len({thing.code for thing in members}) == 1
        assert all(replica.conflicts(record=thing, kind=conflict.kind) == [conflict] for thing in members)
    shown = [(thing.id, thing.model_dump(), replica.also_known_as(thing)) for thing in things]
    return [shown, [replica.candidates(thing, field) for thing in things for field in ("title", "due", "notes")]]


def derived(replica: Replica) -> list[Any]:
    """What is kept beside the log."""
    store = replica._state.store
    return [list(store.scan(table)) for table in (Table.UNIQUE, Table.CONFLICT, Table.VERSION)]


@pytest.mark.parametrize("seed", range(25))
def test_everybody_sees_the_same(seed: int) -> None:
    run_history(seed, (Thing, Asked))


@pytest.mark.parametrize("seed", range(25))
def test_everybody_is_asked_the_same(seed: int) -> None:
    run_history(seed, (Asked,))


def run_history(seed: int, models: tuple[type[Thing], ...]) -> None:
    """Random changes of records of some models; then everybody meets."""
    dice = Random(seed)
    replicas = [memory(10 * seed + number, *MODELS) for number in range(DEVICES)]
    late = memory(10 * seed + 9, *MODELS)
    held: dict[type[Thing], list[str]] = {Thing: [], Asked: []}
    seen: list[Conflict] = []
    for replica in replicas:
        for code in filter(None, CODES):
            model = dice.choice(models)
            held[model].append(replica.create(model, code=code, title=code, due=dice.randint(1, 2)).id)
    for _ in range(2 * STEPS):
        replica, model = dice.choice(replicas), dice.choice(models)
        if dice.random() < 0.3:
            exchange(replica, dice.choice([other for other in replicas if other is not replica]))
        elif dice.random() < 0.3:
            rarely(replica, dice, model=model, seen=seen)
        else:
            act(replica, dice, model=model, held=held[model])
    for left, right in [*pairwise(replicas)] * 2:
        assert exchange(left, right).proven_equal
    assert exchange(replicas[0], late).proven_equal
    first = view(replicas[0])
    assert [view(replica) for replica in (*replicas[1:], late)] == [first] * DEVICES
    assert [derived(replica) for replica in (*replicas[1:], late)] == [derived(replicas[0])] * DEVICES
    things = [thing for model in (Thing, Asked) for thing in replicas[1].find(model)]
    keys = [document_key(DEFAULT_PARTITION, type(thing).__name__, thing.id) for thing in things]
    rederive(replicas[1]._state, keys)
    assert (view(replicas[1]), derived(replicas[1])) == (first, derived(replicas[0]))
    for replica in (*replicas, late):
        replica.close()
