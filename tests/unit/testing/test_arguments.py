"""What the kit is given and cannot use is refused at the call, with a hint that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from crdt_sync import Model
from crdt_sync.errors import InputError
from crdt_sync.testing import ConvergenceMachine, FaultProxy, Simulation, Way, histories, play, records, replay


class Plain(Model):
    name: str = ""


machine: Any = ConvergenceMachine.for_models
drawn: Any = histories
simulation: Any = Simulation
way: Any = Way
proxy: Any = FaultProxy
again: Any = replay
played: Any = play


@pytest.mark.parametrize(
    "call",
    [
        *(lambda seed=seed: simulation(seed) for seed in (None, 1.5, b"3", True, [1])),
        *(lambda faults=faults: simulation(faults=faults) for faults in (5, "cut", [None])),
        *(lambda number=number: simulation(replicas=number) for number in ("2", 2.5, True)),
        *(lambda number=number: simulation(hubs=number) for number in ("2", 2.5)),
        *(lambda number=number: simulation(steps=number) for number in (None, "2", 2.5)),
        *(lambda text=text: again(text) for text in (None, b"a schedule", 5)),
        *(lambda of=of: way(**{of: "x"}) for of in ("delay_s", "bytes_per_s", "cut", "cut_after_bytes")),
        lambda: proxy("x"),
        lambda: proxy(70_000),
        lambda: proxy(80, port=99_999),
        lambda: proxy(80, buffer_bytes="x"),
        lambda: proxy(80, buffer_bytes=0),
        lambda: machine(Plain),
        lambda: machine(None),
        lambda: machine([Plain], seed="x"),
        lambda: machine([Plain], replicas="x"),
        lambda: machine([Plain], values={"Plain.name": 5}),
        lambda: machine([Plain], merge_functions={"Plain.name": 5}),
        lambda: machine([Plain], may_drop="Plain.name"),
        lambda: machine([Plain], may_drop=["Plain.name"]),
        lambda: machine([Plain], older={Plain: [{"name": "a"}]}),
        lambda: machine([Plain], older=5),
        lambda: drawn([Plain], steps_max="x"),
        lambda: drawn([Plain], steps_max=-1),
        lambda: drawn(None),
        lambda: records(Plain, values={"name": 5}),  # type: ignore[dict-item]  # that is the point
        lambda: played(None, [Plain]).__enter__(),
    ],
)
def test_it_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.hint != InputError.default_hint


def test_what_does_something_is_taken() -> None:
    def longest(base: Any, candidates: list[str]) -> str:
        return max(candidates, key=lambda item: (len(item), item))

    merged = {"Plain.name": longest}
    assert machine([Plain], merge_functions=merged, may_drop=["Plain.name"], values={"Plain.name": st.just("a")})
