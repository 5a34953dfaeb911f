"""The base of a clash is that of a causal reference model, over runs of edits, settlings and one-way or cut syncs.

The reference knows nothing of contexts: each write has the set of those that it took the place of, and everything else
is set arithmetic. It merges by the package's own merge, which has tests of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.content import Content, Dot, parse_content, write_creation
from crdt_sync.core.document import Document
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import Put, Write, WriteContext
from crdt_sync.core.kinds.ask import AskRegister
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.kinds.merge_with import MergeWithRegister
from crdt_sync.core.kinds.three_way import ThreeWayRegister
from crdt_sync.core.layout import KeyClass, map_key, parse_map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.merging import merge_values

DEFAULT = {"x": 0}
INFO = FieldInfo(annotation=Any, default=DEFAULT)


def everything(base: Any, candidates: list[Any]) -> Any:
    """Whatever anybody has, and the greatest of it: indifferent to order."""
    keys = sorted({key for value in (base, *candidates) for key in value})
    return {key: max(value[key] for value in (base, *candidates) if key in value) for key in keys}


KINDS: dict[str, CausalRegister] = {
    "ask": AskRegister("f", INFO),
    "three_way": ThreeWayRegister("f", INFO),
    "merge_with": MergeWithRegister("f", INFO, everything),
}


@dataclass(frozen=True)
class Made:
    """One write: its value bytes, when, by whom, and the dots that it took the place of."""

    dot: Dot
    hlc: int
    data: bytes
    past: frozenset[Dot]


@dataclass
class Device:
    author: Author
    document: Document
    known: list[int] = field(default_factory=list)
    """Entries, in the order in which they came."""
    seen: tuple[Dot, ...] = ()
    """The candidates that a user of this device had on the screen."""

    def content(self) -> Content:
        return parse_content(self.document.cells(), {}, {})


class World:
    """Devices, everything that they wrote, and what it means."""

    def __init__(self, kind: CausalRegister, count: int, *, created: bool) -> None:
        self.kind = kind
        self.devices = [Device(Author(10 + number), Document(Author(10 + number))) for number in range(count)]
        self.entries: list[tuple[bytes, Made]] = []
        self.clock = 0
        if created:
            data = codec.encode(DEFAULT | {"made": 1})
            value = write_creation(1, {"f": codec.decode(data)})
            first = self.devices[0]
            made = Made(Dot(first.author, 0), 1, data, frozenset())
            self._commit(first, [Put(map_key(KeyClass.CREATION, first.author), value)], made)
            for device in self.devices[1:]:
                self.sync(first, device, 1)

    def heads(self, device: Device) -> list[Made]:
        known = [self.entries[number][1] for number in device.known]
        past = {dot for made in known for dot in made.past}
        return sorted((made for made in known if made.dot not in past), key=lambda made: (-made.hlc, -made.dot.author))

    def write(self, device: Device, key: str, number: int, *, replace: bool) -> None:
        shown = self.kind.read(device.content())
        value = {key: number} if replace else {**shown, key: number}
        context = self._context(device)
        writes = self.kind.assign(device.content(), value, context=context)
        if writes:
            past = frozenset(self.entries[entry][1].dot for entry in device.known)
            self._commit(device, writes, self._made(writes, context, value, past))

    def look(self, device: Device) -> None:
        device.seen = tuple(item.dot for item in self.kind.candidates(device.content()))

    def settle(self, device: Device, number: int) -> None:
        """Supersede what was on the screen, perhaps long ago."""
        targets = set(device.seen)
        if not targets:
            return
        value, context = {"settled": number}, self._context(device)
        writes = self.kind.supersede(device.content(), codec.encode(value), dots=targets, context=context)
        known = [self.entries[entry][1] for entry in device.known]
        chosen = [made for made in known if made.dot in targets]
        kept = {item.dot for item in self.kind.kept(device.content())}
        if targets <= kept:  # what is no longer kept cannot be named
            past = frozenset(targets.union(*(made.past for made in chosen)))
            self._commit(device, writes, self._made(writes, context, value, past))

    def sync(self, giver: Device, taker: Device, limit: int) -> None:
        """One way; cut after so many entries."""
        for number in [number for number in giver.known if number not in taker.known][:limit]:
            taker.document.apply(self.entries[number][0])
            taker.known.append(number)

    def base(self, among: list[Made], known: list[Made]) -> bytes:
        """The greatest write in the past of all, or the merge of the greatest ones."""
        common = frozenset.intersection(*(made.past for made in among))
        shared = [made for made in known if made.dot in common]
        below = {dot for made in shared for dot in made.past}
        greatest = sorted((made for made in shared if made.dot not in below), key=lambda made: made.dot)
        if not greatest:
            return codec.encode(DEFAULT)
        latest_first = [made.data for made in sorted(greatest, key=lambda made: (-made.hlc, -made.dot.author))]
        if len(set(latest_first)) == 1:
            return latest_first[0]
        match self.kind:
            case AskRegister():
                return latest_first[0]
            case ThreeWayRegister():
                return merge_values(self.base(greatest, known), latest_first).data
            case _:
                below_all = codec.decode(self.base(greatest, known))
                return codec.encode(everything(below_all, [codec.decode(made.data) for made in greatest]))

    def check(self, device: Device) -> None:
        content, heads = device.content(), self.heads(device)
        candidates = self.kind.candidates(content)
        assert {item.dot for item in candidates} == {made.dot for made in heads}
        if len(heads) > 1:
            known = [self.entries[number][1] for number in device.known]
            found, expected = self.kind.base_data(content, candidates), self.base(heads, known)
            assert found == expected or (found is UNKNOWN and len(known) > ENTRY_LIMITS.hidden_values_max)

    def _context(self, device: Device) -> WriteContext:
        self.clock += 1
        return WriteContext(author=device.author, hlc=10 + self.clock)

    def _made(self, writes: list[Write], context: WriteContext, value: Any, past: frozenset[Dot]) -> Made:
        put = writes[-1]
        assert isinstance(put, Put)
        counter = int(parse_map_key(put.key).rest)
        return Made(Dot(context.author, counter), context.hlc, codec.encode(value), past)

    def _commit(self, device: Device, writes: list[Write], made: Made) -> None:
        self.entries.append((device.document.edit(writes), made))
        device.known.append(len(self.entries) - 1)


DEEDS = ("write", "write", "replace", "sync", "sync", "cut", "look", "settle")
numbers = st.integers(0, 4)
steps = st.lists(st.tuples(st.sampled_from(DEEDS), numbers, numbers, numbers), max_size=40)


def play(world: World, history: list[tuple[str, int, int, int]]) -> None:
    """Do what the history says, and hold every device against the reference after each step."""
    for number, (what, who, other, detail) in enumerate(history):
        device = world.devices[who % len(world.devices)]
        partner = world.devices[other % len(world.devices)]
        match what:
            case "write" | "replace":
                world.write(device, "abcde"[detail], number, replace=what == "replace")
            case "sync" | "cut":
                world.sync(partner, device, 1 + detail if what == "cut" else len(world.entries))
            case "look":
                world.look(device)
            case _:
                world.settle(device, number)
        world.check(device)
    for device in world.devices:
        for giver in world.devices:
            world.sync(giver, device, len(world.entries))
        world.check(device)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestBase:
    @given(history=steps, count=st.integers(2, 5), created=st.booleans())
    def test_base_is_that_of_the_reference_or_unknown_where_much_was_written(
        self, kind: CausalRegister, history: list[tuple[str, int, int, int]], count: int, *, created: bool
    ) -> None:
        play(World(kind, count, created=created), history)

    @given(history=steps, rounds=st.integers(15, 22), count=st.integers(2, 4))
    def test_base_is_never_wrong_where_values_were_dropped(
        self, kind: CausalRegister, history: list[tuple[str, int, int, int]], rounds: int, count: int
    ) -> None:
        world = World(kind, count, created=True)
        play(world, history[:10])
        long: list[tuple[str, int, int, int]] = [("write", 0, 0, number % 5) for number in range(rounds)]
        play(world, long)
        play(world, history[10:])

    def test_several_greatest_ancestors_are_merged(self, kind: CausalRegister) -> None:
        """Two devices merge the same two values apart: both of these lie below what they write then."""
        world = World(kind, 3, created=True)
        one, two, three = world.devices
        world.write(one, "a", 1, replace=False)
        world.write(two, "b", 2, replace=False)
        for giver, taker in ((one, two), (two, one)):
            world.sync(giver, taker, 9)
        world.write(one, "c", 3, replace=False)
        world.write(two, "d", 4, replace=False)
        for giver in (one, two):
            world.sync(giver, three, 9)
        content = three.content()
        base = world.kind.base_data(content, world.kind.candidates(content))
        assert base is not UNKNOWN
        merged = {"a": 1, "b": 2, "made": 1, "x": 0}
        assert codec.decode(base) == ({"b": 2, "made": 1, "x": 0} if isinstance(kind, AskRegister) else merged)
        world.check(three)
