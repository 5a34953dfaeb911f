"""The state machine for an app's models finds what is wrong with them, says where, and lets good ones pass.

No `from __future__ import annotations`: pydantic resolves the models of this module as they are declared.
"""

import itertools
import re
import time
import unittest
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

from crdt_sync import ASK, Counter, Model, Replica, Set, Text, ask, merge_with, three_way
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.errors import InputError, SchemaError
from crdt_sync.storage.base import Table
from crdt_sync.testing import ConvergenceMachine, LawBrokenError, histories, play
from crdt_sync.testing.convergence import ConvergenceTestCase, Found
from crdt_sync.testing.device import Device
from crdt_sync.testing.editing import Edit
from crdt_sync.testing.steps import Carry, Change, Compact, Create, Meet, Race, Reopen, Scenario, Step, TakeBack

SEED = 7


def cases(models: list[type[Model]], **options: Any) -> type[ConvergenceTestCase]:
    """The tests of a machine, with few examples and without shrinking."""
    found: Any = ConvergenceMachine.for_models(models, **{"seed": SEED, **options}).TestCase
    found.settings = settings(found.settings, max_examples=40, phases=(Phase.generate,))
    return found  # type: ignore[no-any-return]  # Hypothesis types it as a property


def run(case: type[ConvergenceTestCase], test: str) -> None:
    getattr(case(test), test)()


def furthest(base: Any, candidates: list[int]) -> int:
    return max(candidates)


def either(base: Any, candidates: list[int]) -> int:
    return candidates[0]


def by_the_clock(base: Any, candidates: list[int]) -> int:
    return max(candidates) if time.localtime().tm_year > 2000 else min(candidates)


def by_the_day(base: Any, candidates: list[int]) -> int:
    return max(candidates) if date.today() > date(2000, 1, 1) else min(candidates)  # noqa: DTZ011  wrong on purpose


def greatest(base: Any, candidates: list[int | None]) -> int:
    return max(candidates)  # type: ignore[type-var,return-value]  # None is what it does not think of


def longest(base: Any, candidates: list[list[int]]) -> list[int]:
    return max(candidates, key=lambda item: (len(item), item))


def union(base: Any, candidates: list[list[int]]) -> Any:
    return ASK if base is UNKNOWN else sorted({item for side in candidates for item in side})


class Order(Model):
    state: int = 0
    paid: int | None = None
    items: list[int] = three_way(default_factory=list)


class Good(Model):
    title: str = ""
    state: int = merge_with(furthest, default=0)
    items: list[int] = merge_with(union, default_factory=list)
    due: int | None = ask(default=None)
    place: dict[str, int] = three_way(default_factory=dict)
    notes: Text
    votes: Counter
    tags: Set[str]


def test_good_models_pass() -> None:
    case = cases([Good])
    case.crdt_examples = 8
    assert unittest.TestLoader().getTestCaseNames(case) == ["test_histories", "test_merge_functions"]
    run(case, "test_histories")
    run(case, "test_merge_functions")


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("state", either, "depends on the order of the candidates"),
    ("state", by_the_clock, r"calls time.localtime\(\)"),
    ("state", by_the_day, r"calls date.today\(\)"),
    ("paid", greatest, "raised TypeError"),
    ("items", longest, "loses elements"),
]


@pytest.mark.parametrize(("field", "function", "problem"), WRONG, ids=[function.__name__ for _, function, _ in WRONG])
@pytest.mark.parametrize("test", ["test_histories", "test_merge_functions"])
def test_wrong_merge_functions_are_found(field: str, function: Callable[..., Any], problem: str, test: str) -> None:
    case = cases([Order], merge_functions={f"Order.{field}": function})
    with pytest.raises((LawBrokenError, SchemaError), match=problem) as failure:
        run(case, test)
    text = str(failure.value)
    assert "model 'Order'" in text
    assert f"field {field!r}" in text
    if test == "test_histories":
        assert text.startswith(f"merge functions: merge function {function.__name__}")
        assert re.findall(r"^  replica (\d) shows .+$", text, re.MULTILINE) == ["0", "1", "2"]


def test_a_function_that_is_meant_to_lose_elements_may() -> None:
    case = cases([Order], merge_functions={"Order.items": longest}, may_drop=["Order.items"])
    case.crdt_examples = 10
    run(case, "test_histories")
    run(case, "test_merge_functions")


class Priced(Model, version=2):
    price: int = 0

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        if type(values.get("price")) is int:
            values["price"] *= 100
        return values


class Numbered(Model, version=2):
    title: str = ""
    numbers: ClassVar[Iterator[int]] = itertools.count()

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"title": f"{next(cls.numbers)}"}


class Split(Model, version=2):
    name: str = ""

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "first" in values:
            values["name"] = f"{values.pop('first')} {values.pop('last')}"
        return values


def test_an_upgrade_that_is_not_idempotent_is_found() -> None:
    with pytest.raises(SchemaError, match="model 'Priced', example 1: __upgrade__ changes what it has given"):
        run(cases([Priced]), "test_upgrade_functions")


def test_an_upgrade_that_is_not_pure_is_found_in_histories_too() -> None:
    with pytest.raises(SchemaError, match="gives another answer each time"):
        run(cases([Numbered]), "test_upgrade_functions")
    with pytest.raises(LawBrokenError, match="model 'Numbered', field 'title'"):
        run(cases([Numbered]), "test_histories")


def test_values_of_older_versions_are_tried() -> None:
    run(cases([Split], older={Split: [{"first": "Ada", "last": "Lovelace"}]}), "test_upgrade_functions")
    with pytest.raises(SchemaError, match="raised KeyError"):
        run(cases([Split], older={Split: [{"first": "Ada"}]}), "test_upgrade_functions")


@pytest.mark.slow
def test_a_failure_is_a_short_program_that_fails_again_and_a_seed_that_does() -> None:
    """The printed program is pasted as it stands, with what the page says to import."""
    seed = 8  # it does not take long to make what it finds short
    case = cases([Order], merge_functions={"Order.state": either}, seed=seed)
    case.settings = settings(case.settings, phases=(Phase.generate, Phase.shrink), max_examples=20)
    with pytest.raises(LawBrokenError) as failure:
        run(case, "test_histories")
    text, *others = failure.value.__notes__[0], *failure.value.__notes__[1:]
    notes = "\n".join((text, *others))
    assert f"--crdt-seed={seed} --crdt-examples=20" in notes
    program = "\n".join(line for line in notes.splitlines() if line.startswith("state"))
    assert program.startswith(
        "state = ConvergenceMachine.for_models([Order], merge_functions={'Order.state': either})()"
    )
    assert len(program.splitlines()) <= 6
    names = {
        "ConvergenceMachine": ConvergenceMachine, "Order": Order, "either": either, "Edit": Edit,
        **{cls.__name__: cls for cls in Step.__args__},
    }  # fmt: skip
    with pytest.raises(LawBrokenError, match="depends on the order") as again:
        exec(program, names)  # noqa: S102  what a failure prints is pasted
    assert str(again.value).splitlines()[1:] == str(failure.value).splitlines()[1:]


@pytest.mark.parametrize("seed", [SEED, 8, 9])
def test_one_seed_draws_one_failure(seed: int) -> None:
    case = cases([Order], merge_functions={"Order.state": either}, seed=seed)
    texts = []
    for _ in range(2):
        with pytest.raises(LawBrokenError) as failure:
            run(case, "test_histories")
        texts.append((str(failure.value), failure.value.__notes__))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "options",
    [
        {"merge_functions": {"Order.nothing": either}},
        {"merge_functions": {"state": either}},
        {"may_drop": ["Nobody.state"]},
        {"values": {"Order.nothing": st.just(1)}},
    ],
)
def test_names_that_are_no_fields_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is no field of these models"):
        ConvergenceMachine.for_models([Order], **options)


def test_a_live_kind_takes_no_merge_function() -> None:
    with pytest.raises(SchemaError, match="'notes' is no field that can have a merge function"):
        ConvergenceMachine.for_models([Good], merge_functions={"Good.notes": furthest})


# ── the laws themselves, with the library broken under them ──────────────────────────────────────────────────────────

APART = Scenario(
    replicas=2,
    steps=(
        Create(on=0, model="Order", values={}),
        Carry(source=0, target=1),
        Race(
            on=0,
            model="Order",
            record=0,
            edits=(Edit(field="state", do="set", arguments=(1,)), Edit(field="state", do="set", arguments=(2,))),
        ),
        Meet(left=0, right=1),
    ),
)


@pytest.mark.parametrize("where", list(Found))
def test_where_a_law_was_broken_first_says_how_later_histories_are_judged(where: Found) -> None:
    """A failure at the end that was found first must still be one when a step has failed elsewhere."""
    made = ConvergenceMachine.for_models([Order], merge_functions={"Order.state": either}, replicas=2)
    machine: Any = type("Once", (made,), {"found": where})
    state = machine()
    for step in APART.steps[:-1]:
        state.do(step)
    if where is Found.IN_A_STEP:
        state.teardown()
    else:
        with pytest.raises(LawBrokenError, match="depends on the order"):
            state.teardown()
        assert machine.found is Found.AT_THE_END


def broken(history: Scenario = APART) -> LawBrokenError:
    with pytest.raises(LawBrokenError) as failure, play(history, [Order]):
        pass
    return failure.value


def test_a_history_can_be_played_and_looked_at() -> None:
    with play(APART, [Order]) as (one, other):
        assert one.count(one.model("Order"), state__in=[1, 2]) == other.count(other.model("Order")) == 1
        assert other.conflicts() == []


def test_another_value_on_one_replica_breaks_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    show = Device.show

    def shown(device: Device) -> Any:
        seen = show(device)
        if device.index == 1:
            for place, item in list(seen.fields.items()):
                if place.field == "state":
                    seen.fields[place] = type(item)((b"other",), "99")
        return seen

    monkeypatch.setattr(Device, "show", shown)
    error = broken()
    assert (error.law, error.place.model, error.place.field) == ("convergence", "Order", "state")
    assert (error.shown["replica 0"] in {"1", "2"}, error.shown["replica 1"]) == (True, "99")


def test_statuses_that_lie_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "pending_count", lambda _: 0)
    assert broken().law == "statuses"


def test_a_query_that_misses_a_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Replica.find
    monkeypatch.setattr(
        Replica, "find", lambda replica, model, **filters: [] if "state" in filters else find(replica, model, **filters)
    )
    error = broken()
    assert (error.law, error.place.field, error.problem) == (
        "tables",
        "state",
        "a query does not find what records show",
    )


def test_a_lost_operation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = Device.close

    def closed(device: Device) -> None:
        store = device.replica._state.store
        with store.transaction():
            store.delete_range(Table.OPERATION)
        kill(device)

    monkeypatch.setattr(Device, "close", closed)
    assert broken().law in {"durable", "reopening"}


EDITED = (
    Create(on=0, model="Order", values={}),
    Carry(source=0, target=1),
    Change(on=0, model="Order", record=0, edits=(Edit(field="state", do="set", arguments=(1,)),)),
)
MET = (Meet(left=0, right=1), Meet(left=0, right=1))


def states(*steps: Step) -> list[Any]:
    with play(Scenario(replicas=2, steps=(*EDITED, *steps)), [Order]) as replicas:
        return [[dict(record)["state"] for record in replica.find(replica.model("Order"))] for replica in replicas]


def test_a_user_can_take_back_and_do_again() -> None:
    assert states() == [[1], [1]]
    assert states(TakeBack(on=0)) == [[0], [0]]
    assert states(TakeBack(on=0), TakeBack(on=0, redo=True)) == [[1], [1]]
    assert states(*MET, TakeBack(on=1)) == [[1], [1]], "only what is one's own"


def test_a_replica_can_compact_and_its_past_is_no_longer_handed_on() -> None:
    folded = (*MET, Compact(on=0))
    assert states(*folded) == states(*folded, Carry(source=0, target=1)) == [[1], [1]]
    assert states(*folded, TakeBack(on=0), Reopen(kill=True)) == [[1], [1]], "what was folded cannot be taken back"


def test_an_undo_that_refuses_and_writes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    undo = Replica.undo

    def undone(replica: Replica) -> Any:
        undo(replica)
        raise InputError("no")

    monkeypatch.setattr(Replica, "undo", undone)
    assert broken(Scenario(replicas=2, steps=(*EDITED, TakeBack(on=0)))).law == "refusals"


def test_a_compaction_that_changes_what_is_shown_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    compact = Replica.compact

    def compacted(replica: Replica, **options: Any) -> Any:
        (record,) = replica.find(replica.model("Order"))
        replica.update(record, state=2)
        return compact(replica, **options)

    monkeypatch.setattr(Replica, "compact", compacted)
    error = broken(Scenario(replicas=2, steps=(*EDITED, *MET, Compact(on=0))))
    assert (error.law, error.place.field) == ("compaction", "state")


def test_histories_of_all_sorts_hold_the_laws() -> None:
    from hypothesis import given

    @settings(max_examples=10, database=None, derandomize=True, deadline=None)
    @given(histories([Good], replicas=2))
    def hold(history: Scenario) -> None:
        with play(history, [Good]) as replicas:
            assert len(replicas) == 2

    hold()
