"""The past beside compaction: what a compacted replica tells of it is what one that folded nothing tells, or an error.

Clocks are days apart, so writes are dated before what they rest on, and records are created twice and merged.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.errors import HistoryFoldedError, RecordDeletedError, RecordNotFoundError
from crdt_sync.replica import Sources
from crdt_sync.replica.history import COMPACTED, HistoryItem
from crdt_sync.testing.exchange import exchange

EPOCH_MS = 1_900_000_000_000
DAY_MS = 86_400_000


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    title: str = ""
    due: int | None = ask(default=None)
    notes: Text
    votes: Counter
    tags: Set[int]


@contextmanager
def devices(days: list[int]) -> Iterator[list[Replica]]:
    """One device for each number of days that a clock is ahead; the last one never compacts."""
    with ExitStack() as stack:
        now = [EPOCH_MS]

        def opened(number: int, ahead: int) -> Replica:
            dice, ids = Random(number), Random(-1 - number)

            def time() -> int:
                now[0] += 1_000
                return now[0] + ahead * DAY_MS

            sources = Sources(
                now_ms=time,
                entropy=dice.randbytes,
                new_record_id=lambda: str(uuid.UUID(bytes=ids.randbytes(16), version=4)),
            )
            return stack.enter_context(Replica.open(":memory:", [Part], sources=sources))

        yield [opened(number, ahead) for number, ahead in enumerate(days)]


def meet(replicas: list[Replica]) -> None:
    for _ in range(2):
        for one, other in pairwise([*replicas, replicas[0]]):
            assert exchange(one, other).proven_equal


def write(replica: Replica, step: int, choice: int) -> str | None:
    """Something done to a record, or to none that is live; returns the id of a new one."""
    parts = replica.find(Part)
    if choice == 0 or not parts:
        code = None if any(part.code for part in parts) else "x"
        return replica.create(Part, code=code, title=f"made {step}", notes="n").id
    part = parts[step % len(parts)]
    if choice == 1:
        part.title = f"title {step}"
    elif choice in (2, 3):
        part.due = step
    elif choice == 4:
        part.votes.increment(step + 1)
    elif choice == 5:
        part.tags.add(step)
    elif choice == 6:
        part.notes.insert(0, f"{step} ")
    elif step % 3 == 0:
        replica.delete(part)
    return None


def told(replica: Replica, name: str, time: int) -> object:
    """What it says of a record at a time; None where that was folded."""
    try:
        return replica.at(Part, name, time).model_dump()
    except HistoryFoldedError:
        return None
    except (RecordNotFoundError, RecordDeletedError) as refused:
        return type(refused)


def tail_of(items: list[HistoryItem]) -> list[HistoryItem]:
    return [item for item in items if item.device_id != COMPACTED]


STEPS = st.lists(
    st.tuples(st.sampled_from(["write"] * 5 + ["sync", "compact"]), st.integers(0, 30), st.integers(0, 7)),
    min_size=6,
    max_size=40,
)


@Settings(max_examples=-(-Settings().max_examples // 4))  # one example asks about every moment of its history
@given(days=st.lists(st.integers(0, 2), min_size=2, max_size=4), steps=STEPS)
def test_a_compacted_past_is_the_same_or_refused(days: list[int], steps: list[tuple[str, int, int]]) -> None:
    with devices(days) as all_of_them:
        *compacting, full = all_of_them
        names = set[str]()
        for step, (kind, at, choice) in enumerate(steps):
            replica = all_of_them[at % len(all_of_them)]
            if kind == "write":
                made = write(replica, step, choice)
                names |= {made} if made else set()
            elif kind == "sync":
                exchange(replica, all_of_them[(at + 1) % len(all_of_them)])
            else:
                meet(all_of_them)
                folding = compacting[at % len(compacting)]
                before = {name: list(folding.history(Part, name)) for name in names}
                folding.compact()
                for name, items in before.items():
                    kept = tail_of(list(folding.history(Part, name)))
                    assert [item for item in items if item in kept] == kept
        meet(all_of_them)
        for name in names:
            times = {item.timestamp for item in full.history(Part, name) if item.device_id != COMPACTED}
            for time in (moment - early for moment in times for early in (1, 0)):
                expected = told(full, name, time)
                answers = [told(replica, name, time) for replica in compacting]
                assert all(answer is None or answer == expected for answer in answers), (name, time)
            for field in (None, *Part.model_fields):
                assert len({str(replica.explain(Part, name, field)) for replica in all_of_them}) == 1
