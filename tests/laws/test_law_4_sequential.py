"""Law 4: a sequential history gives no conflicts and exactly the last written values, whatever the clocks say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.laws import tally
from tests.laws.histories import GIFTS, INDEX, WRITES
from tests.laws.models import DEFAULTS, ELEMENTS, ENTRIES, LATTICES, MAPS, REGISTERS, Page, Task, entry_value
from tests.laws.world import EPOCH_MS, Device, World

YEAR_MS = 365 * 24 * 3600 * 1000

CLOCKS = st.sampled_from((-10 * YEAR_MS, -YEAR_MS, -301_000, -1, 0, 1, 299_000, 301_000, YEAR_MS, 100 * YEAR_MS))
"""How wrong a clock is; beyond five minutes nobody follows it."""

TURNS = st.lists(
    st.tuples(
        INDEX,
        CLOCKS,
        st.one_of(
            WRITES,
            st.tuples(st.just("count"), st.integers(-3, 3)),
            st.tuples(st.just("add"), st.sampled_from(ELEMENTS)),
            st.tuples(st.just("discard"), st.sampled_from(ELEMENTS)),
            st.tuples(st.just("insert"), INDEX),
            st.tuples(st.just("cut"), INDEX),
            st.tuples(st.just("step"), INDEX),
            st.tuples(st.just("move"), st.tuples(INDEX, INDEX)),
            st.tuples(st.just("reset"), INDEX),
            st.tuples(st.just("drop"), INDEX),
            st.tuples(st.just("put"), st.tuples(st.sampled_from(ENTRIES), st.sampled_from((1, 2, None)))),
            st.tuples(st.just("give"), GIFTS),
            st.tuples(st.just("delete"), st.none()),
            st.tuples(st.just("restore"), st.none()),
        ),
    ),
    min_size=1,
    max_size=14,
)


@dataclass(slots=True)
class Plain:
    """What one person with one copy would have."""

    values: dict[str, Any] = field(default_factory=lambda: {name: DEFAULTS[name] for name in REGISTERS})
    votes: int = 0
    tags: set[str] = field(default_factory=set)
    notes: str = ""
    steps: list[str] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(LATTICES))
    live: bool = True

    def do(self, world: World, device: Device, record: str, change: tuple[str, Any]) -> None:
        """The same change here and on a replica."""
        name, value = change
        live: Any = world.handle(device, record)
        model, key = world.split(record)
        if name == "restore" or not self.live:
            device.replica.restore(model, key)
            self.live = True
            return
        match name:
            case "count":
                live.votes.increment(value)
                self.votes += value
            case "add":
                live.tags.add(value)
                self.tags.add(value)
            case "discard":
                live.tags.discard(value)
                self.tags.discard(value)
            case "insert":
                at, text = value % (len(self.notes) + 1), world.new_text(2)
                live.notes.insert(at, text)
                self.notes = self.notes[:at] + text + self.notes[at:]
            case "cut":
                at = value % (len(self.notes) + 1)
                count = min(2, len(self.notes) - at)
                live.notes.delete(at, count)
                self.notes = self.notes[:at] + self.notes[at + count :]
            case "delete":
                device.replica.delete(live)
                self.live = False
            case "step" | "move" | "reset" | "drop":
                self._do_list(world, live.steps, name, value)
            case "put":
                self._do_map(live, *value)
            case "give":
                self._do_lattice(live, *value)
            case _:
                setattr(live, name, value)
                self.values[name] = value

    def _do_list(self, world: World, steps: Any, name: str, value: Any) -> None:
        if name == "step":
            at, text = value % (len(self.steps) + 1), world.new_text(1)
            steps.insert(at, text)
            self.steps.insert(at, text)
        elif self.steps and name == "move":
            at, to = value[0] % len(self.steps), value[1] % len(self.steps)
            steps.move(at, to)
            self.steps.insert(to, self.steps.pop(at))
        elif self.steps and name == "reset":
            steps[value % len(self.steps)] = self.steps[value % len(self.steps)] = world.new_text(1)
        elif self.steps:
            assert steps.pop(value % len(self.steps)) == self.steps.pop(value % len(self.steps))

    def _do_map(self, live: Any, register: str, value: int | None) -> None:
        name, _, key = register.partition("/")
        if value is None:
            getattr(live, name).pop(key, None)
            self.entries.pop(register, None)
        else:
            getattr(live, name)[key] = self.entries[register] = entry_value(name, value)

    def _do_lattice(self, live: Any, name: str, value: Any) -> None:
        held = self.given[name]
        if name == "leader" and held is not None:
            return  # another one would be refused
        setattr(live, name, value)
        choose = {"best": max, "least": min}.get(name)
        self.given[name] = value if held is None or choose is None else choose(held, value)

    def compare(self, world: World, device: Device, record: str) -> None:
        """A replica shows this, and nothing beside it."""
        model, key = world.split(record)
        found: list[Any] = [item for item in device.replica.find(model) if item.id == key]
        assert bool(found) == self.live, "not the last word on whether it is there"
        assert device.replica.conflicts() == [], "a conflict without concurrency"
        for live in found:
            shown = {name: getattr(live, name) for name in REGISTERS}
            assert shown == self.values, "not the last written value"
            assert all(len(device.replica.candidates(live, name)) <= 1 for name in REGISTERS), "a second candidate"
            assert (int(live.votes), set(live.tags), str(live.notes)) == (self.votes, self.tags, self.notes), "not all"
            assert list(live.steps) == self.steps
            entries = {f"{name}/{key}": value for name in MAPS for key, value in getattr(live, name).items()}
            assert entries == self.entries
            assert {name: getattr(live, name) for name in LATTICES} == self.given


def play(turns: list[tuple[int, int, tuple[str, Any]]], *, count: int, natural: bool) -> None:
    """A record goes from hand to hand; whoever has it changes it and compares."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder), (False,) * count)
        try:
            _play(world, turns, natural=natural)
        finally:
            world.abandon()


def _play(world: World, turns: list[tuple[int, int, tuple[str, Any]]], *, natural: bool) -> None:
    holder, one = world.devices[0], Plain()
    made: Any = holder.replica.create(Page, slug="home") if natural else holder.replica.create(Task)
    record = f"{type(made).__name__} {made.id}"
    for at, skew, change in turns:
        device = world.devices[at % len(world.devices)]
        if device is not holder:
            assert world.talk(holder, device).proven_equal
        holder = device
        device.now_ms = EPOCH_MS + skew
        one.do(world, device, record, change)
        one.compare(world, device, record)
    for device in world.devices:
        if device is not holder:
            world.talk(holder, device)
        one.compare(world, device, record)


class TestSequential:
    @given(count=st.integers(2, 4), natural=st.booleans(), turns=TURNS)
    def test_the_last_written_value_shows_whatever_the_clocks_say(
        self, count: int, natural: bool, turns: list[tuple[int, int, tuple[str, Any]]]
    ) -> None:
        """States: where each writer has seen what was written before, a plain dict of values predicts everything.

        Clocks jump by years in both directions at each turn. It fails where a value is chosen by time although one
        write saw the other, or where anything but concurrency makes a conflict or a second candidate.
        """
        tally.note("Sequential")
        play(turns, count=count, natural=natural)
