"""Devices that write equal values at once: what is told of them depends on no replica's own order."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Any

import pytest
from pydantic import create_model

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask, first, max_, merge_with, min_, three_way
from crdt_sync.core.clock import physical_ms
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory

LONG = "an element that is too long to be its own name " * 5


def _longest(base: object, values: list[str]) -> str:
    return max(values, key=lambda text: (len(text), text))


class Fields(Model):
    code: str = "1"
    title: str = ""
    due: int | None = ask(default=None)
    body: str = three_way(default="")
    state: str = merge_with(_longest, default="")
    who: str | None = first(default=None)
    best: int | float = max_(default=0)
    least: int | float | None = min_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]


ONE: Any = create_model("One", __base__=Fields)
SAME_KEY: Any = create_model("SameKey", __base__=Fields, __cls_kwargs__={"key": ("code",)})
MERGED: Any = create_model("Merged", __base__=Fields, __cls_kwargs__={"unique": ("code",)})


def write(record: Any) -> None:
    """Equal values in every field, each twice: with the record, and when it is there."""
    record.title = record.body = record.state = record.who = "a"
    record.due = record.least = 7
    record.best = 46
    record.notes.append("a")
    record.votes.increment()
    record.tags |= {"a", LONG}
    record.steps.append("a")
    record.prefs["k"] = record.days["k"] = 1


def told(replica: Replica, model: Any, name: str) -> list[str]:
    """All that a replica tells of a record, as text."""
    record = replica.get(model, name)
    now = datetime.fromtimestamp(physical_ms(START_MS << 16) / 1000 + 3600, UTC)
    return [
        *(str(replica.explain(record, field)) for field in [None, *model.model_fields]),
        *(repr(replica.candidates(record, field)) for field in model.model_fields),
        repr(replica.conflicts(record=record)),
        repr(sorted(replica.also_known_as(record))),
        repr(record.model_dump()),
        repr(replica.at(record, now).model_dump()),
    ]


@pytest.mark.parametrize("ticks", [0, 1])
@pytest.mark.parametrize("model", [ONE, SAME_KEY, MERGED], ids=lambda model: model.__name__)
def test_equal_values_are_told_of_alike(model: Any, ticks: int) -> None:
    with ExitStack() as stack:
        dice = [Dice(seed, now_ms=START_MS + ticks * seed) for seed in range(4)]
        devices = [stack.enter_context(memory(seed, model, dice=dice[seed])) for seed in range(4)]
        if model is ONE:
            made = [devices[0].create(model)]
            for other in devices[1:]:
                exchange(devices[0], other)
                dice[0].now_ms = START_MS
            records = [device.get(model, made[0].id) for device in devices]
        else:
            records = [device.create(model, title="a", best=46, who="a", tags={LONG}) for device in devices]
        for clock, record in zip(dice, records, strict=True):
            clock.now_ms = START_MS + 1_000
            write(record)
        for one, other in reversed(list(combinations(devices, 2))):
            exchange(one, other)
        for one, other in combinations(devices, 2):
            assert exchange(one, other).proven_equal
        found = [told(device, model, records[0].id) for device in devices]
        assert all(texts == found[0] for texts in found)
