"""The kit for merge functions finds a bad one of each sort, and tells it by a small example."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Annotated, Any, Literal

import pytest
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync import ASK, UNKNOWN, Map, Model, merge_with
from crdt_sync.core.kinds import MergeWithRegister
from crdt_sync.errors import SchemaError
from crdt_sync.testing.elsewhere import NotAskedElsewhereError, NotAskedElsewhereWarning, answers_elsewhere
from crdt_sync.testing.merges import check_merge, check_model
from crdt_sync.testing.watching import merge_registers, replaced, watch

State = Literal["open", "doing", "done"]
HASH_SEED = os.environ.get("PYTHONHASHSEED")
"""Another one in the second process."""
calls = count()


def greatest(base: Any, candidates: list[Any]) -> Any:
    return max(candidates)


def asking(base: Any, candidates: list[Any]) -> Any:
    return ASK


def raises(base: Any, candidates: list[int]) -> int:
    return 100 // (max(candidates) - 3)


def raises_without_base(base: Any, candidates: list[int]) -> int:
    return int(base) + max(candidates)


def raises_where_nothing_was(base: Any, candidates: list[int]) -> int:
    return max(candidates) if base is UNKNOWN else sum(candidates) - base


def by_order(base: Any, candidates: list[int]) -> int:
    return candidates[0]


def asks_by_order(base: Any, candidates: list[int]) -> Any:
    return ASK if candidates[0] > candidates[-1] else 0


def each_time(base: Any, candidates: list[int]) -> int:
    return next(calls)


def by_dice(base: Any, candidates: list[int]) -> int:
    return random.choice(sorted(candidates))


class Remembering:
    """Gives the greatest that it ever saw."""

    def __init__(self) -> None:
        self.greatest = 0

    def __call__(self, base: Any, candidates: list[int]) -> int:
        self.greatest = max(self.greatest, *candidates)
        return self.greatest


def spoils(base: Any, candidates: list[Any]) -> Any:
    candidates.sort()
    return candidates[-1]


def spoils_inside(base: Any, candidates: list[dict[str, int]]) -> Any:
    merged = min(candidates, key=sorted)
    for other in candidates:
        merged.update(other)
    return {}


def spoils_base(base: Any, candidates: list[list[int]]) -> Any:
    if isinstance(base, list):
        base.append(1)
    return []


def of_another_type(base: Any, candidates: list[int]) -> Any:
    return str(max(candidates))


def no_value(base: Any, candidates: list[int]) -> Any:
    return set(candidates)


def slow(base: Any, candidates: list[int]) -> int:
    total = 0
    for _ in range(100 * max(0, *candidates)):
        total += 1
    return total


def endless(base: Any, candidates: list[int]) -> int:
    while True:
        with suppress(Exception):  # which must not swallow the end
            next(calls)


def endless_on_a_line(base: Any, candidates: list[int]) -> int:
    if len(candidates) == 3:
        while True: pass  # fmt: skip  # noqa: E701  the interpreter may tell of no line there
    return max(candidates)


def endless_within_a_line(base: Any, candidates: list[int]) -> int:
    return max(item for item in count() if item < 0)


def by_hash(base: Any, candidates: list[str]) -> str:
    return max(candidates, key=hash)


def fails_elsewhere(base: Any, candidates: list[str]) -> str:
    if HASH_SEED in ("1", "2"):
        raise LookupError("not here")
    return max(candidates)


class Stateful:
    """What is known as another thing where it is unpickled."""

    def __call__(self, base: Any, candidates: list[int]) -> int:
        return max(candidates)


SMALL = st.integers(0, 300)


@pytest.mark.parametrize(
    ("function", "values", "annotation", "words"),
    [
        (raises, st.integers(0, 5), int, r"raised ZeroDivisionError: .*: base .*, candidates \[[03], [03]\]"),
        (raises_without_base, SMALL, int, r"raised TypeError: .*: base UNKNOWN, candidates \[0, 0\]"),
        (
            by_order,
            SMALL,
            int,
            r"depends on the order .*: base UNKNOWN, candidates \[0, 1\] gives 0, but 1 for \[1, 0\]",
        ),
        (asks_by_order, SMALL, int, r"depends on the order .* gives 0, but ASK for \[1, 0\]"),
        (each_time, SMALL, int, r"gives another answer each time: base UNKNOWN, candidates \[0, 0\]"),
        (by_dice, SMALL, int, r"gives another answer each time|depends on the order|calls random.getrandbits\(\)"),
        (Remembering(), SMALL, int, r"gives another answer later on: base UNKNOWN, candidates \[0, 0\]"),
        (spoils, SMALL, int, r"changes what it is given: base UNKNOWN, candidates \[1, 0\]"),
        (spoils_inside, st.dictionaries(st.sampled_from("ab"), SMALL), dict[str, int], r"changes what it is given"),
        (spoils_base, st.lists(SMALL), list[int], r"changes what it is given: base \[\], candidates \[\[\], \[\]\]"),
        (of_another_type, SMALL, int, r"gives '0', which the field cannot hold: base UNKNOWN, candidates \[0, 0\]"),
        (no_value, SMALL, Any, r"gives \{0\}, which the field cannot hold"),
        (slow, SMALL, int, r"is slow: it ran more than 20000 lines: base UNKNOWN, candidates \[\d+, \d+\]"),
        (endless, SMALL, int, r"is slow: it ran more than 20000 lines: base UNKNOWN, candidates \[0, 0\]"),
        (endless_on_a_line, SMALL, int, r"is slow: it ran more than 20000 lines: base UNKNOWN, candidates \[0, 0, 0\]"),
        (endless_within_a_line, SMALL, int, r"is slow: it ran more than 20000 lines|is slow: a call took"),
    ],
)
def test_a_bad_function_is_told_by_a_small_example(
    function: Any, values: st.SearchStrategy[Any], annotation: Any, words: str
) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        check_merge(function, values, annotation=annotation)
    name = getattr(function, "__name__", "Remembering object")
    assert name in caught.value.message


@pytest.mark.parametrize("function", [greatest, asking])
@pytest.mark.parametrize("values", [SMALL, st.text(), st.floats(allow_nan=False), st.dates()])
def test_a_good_function_passes(function: Any, values: st.SearchStrategy[Any]) -> None:
    check_merge(function, values)


@pytest.mark.parametrize(
    ("function", "values"),
    [(by_hash, st.text(min_size=1)), (fails_elsewhere, st.text())],
)
def test_what_differs_between_processes_is_found(function: Any, values: st.SearchStrategy[Any]) -> None:
    with pytest.raises(SchemaError, match="gives another answer in another process: base") as caught:
        check_merge(function, values, annotation=str)
    assert ("raised LookupError" in caught.value.message) == (function is fails_elsewhere)


def test_an_object_of_a_module_is_asked_elsewhere() -> None:
    check_merge(Stateful(), SMALL, annotation=int)


def test_a_function_that_no_other_process_finds_is_said_not_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def inside(base: Any, candidates: list[Any]) -> Any:
        return max(candidates)

    def run_itself(base: Any, candidates: list[Any]) -> Any:
        return max(candidates)

    run_itself.__module__ = "__main__"
    for function, words in ((inside, "inside was not asked .* pickle cannot name it"), (run_itself, "the program")):
        with pytest.warns(NotAskedElsewhereWarning, match=words):
            check_merge(function, SMALL)
    register = MergeWithRegister("value", FieldInfo.from_annotation(int), greatest)
    with pytest.raises(NotAskedElsewhereError, match="no answer"):
        answers_elsewhere(register, [], timeout_s=0.001)
    monkeypatch.setattr(greatest, "__module__", "tests.unit.testing.nowhere")
    monkeypatch.setitem(sys.modules, "tests.unit.testing.nowhere", sys.modules[__name__])
    with pytest.raises(NotAskedElsewhereError, match="cannot be imported there: ModuleNotFoundError"):
        answers_elsewhere(register, [], timeout_s=60)


def furthest(base: Any, candidates: list[State]) -> State:
    return max(candidates, key=["open", "doing", "done"].index)


class Good(Model):
    title: str = ""
    state: State = merge_with(furthest, default="open")
    ranks: Map[str, Annotated[int, merge_with(greatest)]]


class InEntries(Model):
    state: State = merge_with(furthest, default="open")
    ranks: Map[str, Annotated[int, merge_with(by_order)]]


class Counted(Model):
    counted: Map[str, Annotated[int, merge_with(raises_where_nothing_was)]]
    total: int = merge_with(raises_where_nothing_was, default=0)


class Loose(Model):
    step: str = merge_with(furthest, default="open")
    odd: Any = merge_with(asking, default=None)


class Plain(Model):
    title: str = ""


def test_all_functions_of_a_model_are_checked() -> None:
    check_model(Good)
    with pytest.raises(SchemaError, match=r"model 'InEntries', field 'ranks': merge function by_order depends"):
        check_model(InEntries)


def test_values_are_given_where_a_type_holds_more_than_there_is() -> None:
    with pytest.raises(SchemaError, match=r"field 'step': merge function furthest raised ValueError"):
        check_model(Loose)
    check_model(Loose, values={"step": st.sampled_from(["open", "done"]), "odd": st.integers()})


def test_what_cannot_be_checked_is_said() -> None:
    with pytest.raises(SchemaError, match="'title' is no field with a merge function"):
        check_model(Good, values={"title": st.text()})
    with pytest.raises(SchemaError, match="it has no merge function"):
        check_model(Plain)


class Clock:
    """Time that only functions under test make pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def __call__(self) -> float:
        return self.now

    def function(self, *waits: float) -> Any:
        """A good function that takes so long, the last of these times from then on."""

        def waiting(base: Any, candidates: list[int]) -> int:
            self.now += waits[min(self.calls, len(waits) - 1)]
            self.calls += 1
            return max(candidates)

        return waiting


def test_a_function_that_takes_its_time_is_slow_whatever_it_does() -> None:
    clock = Clock()
    with pytest.raises(SchemaError, match=r"waiting is slow: a call took 300 ms, the least of 4: base UNKNOWN, cand"):
        check_merge(clock.function(0.3), SMALL, clock=clock)
    assert clock.calls == 4


@pytest.mark.filterwarnings("ignore::crdt_sync.testing.elsewhere.NotAskedElsewhereWarning")
def test_a_machine_that_was_busy_once_makes_no_function_slow() -> None:
    clock = Clock()
    check_merge(clock.function(0.3, 0.01, 0.01, 0.3, 0.3, 0.01, 0.0), SMALL, clock=clock)


def test_a_function_that_waits_at_each_line_is_ended() -> None:
    clock = Clock()
    passed = count()

    def waiting(base: Any, candidates: list[int]) -> int:
        while True:
            clock.now += 0.5
            next(passed)

    with pytest.raises(SchemaError, match=r"waiting is slow: a call took \d+ ms, the least of 4"):
        check_merge(waiting, SMALL, clock=clock)
    assert next(passed) < 20


def test_all_calls_together_have_a_bound() -> None:
    clock = Clock()
    with pytest.raises(SchemaError, match=r"waiting is slow: \d+ calls took 2 s"):
        check_merge(clock.function(0.04), SMALL, clock=clock, run_max_s=2)
    with pytest.raises(SchemaError, match=r"waiting is slow: a call took 40 ms"):
        check_merge(clock.function(0.04), SMALL, clock=clock, call_max_s=0.02)


def test_work_that_runs_no_lines_counts() -> None:
    def counting(base: Any, candidates: list[int]) -> int:
        return max(candidates, key=lambda item: (len(list(range(4_000_000))), item))

    with pytest.raises(SchemaError, match=r"counting is slow: a call took \d+ ms"):
        check_merge(counting, SMALL)


def test_off_the_main_thread_a_loop_is_ended_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(check_merge, endless_on_a_line, SMALL).exception(timeout=60)
    assert "it ran more than 20000 lines" in str(found)


class Looping(Model):
    number: int = merge_with(endless_on_a_line, default=0)


def test_a_history_does_not_call_again_what_came_to_no_end() -> None:
    told: list[str] = []
    model = replaced(Looping, {})
    watch(model, lambda *fault: told.append(fault[2]))
    assert merge_registers(model)["number"].function(0, [1, 2, 3]) is ASK
    assert "it ran more than 20000 lines" in told[0]


def test_entries_of_a_map_grow_from_nothing_too() -> None:
    with pytest.raises(SchemaError, match=r"field 'counted'.* raised TypeError.*base None"):
        check_model(Counted)
