"""Hidden values that go at a horizon are missed by nobody who was waited for; others find the base unknown."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.content import PLAIN_PAST, Content, Dot, RegisterValue
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import Drop, Write
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.kinds.hidden import missing, needed_no_more
from crdt_sync.core.limits import ENTRY_LIMITS
from tests.unit.core.kinds.test_bases import KINDS, Device, Made, World


@dataclass
class Horizon:
    """A vector that all held, and what each device had written when it heard of it."""

    held: frozenset[int]
    past: set[int] = field(default_factory=set)
    told: set[Author] = field(default_factory=set)


class Trimmed(World):
    """A world with horizons. Of its devices the last ``late`` ones are not waited for."""

    def __init__(self, kind: CausalRegister, count: int, *, late: int, created: bool) -> None:
        super().__init__(kind, count, created=created)
        self.waited_for = self.devices[: count - late]
        self.is_exact = not late
        self.horizon: Horizon | None = None
        self.dropped = 0

    def mark(self) -> None:
        """The first horizon, J."""
        self.horizon = Horizon(frozenset.intersection(*(frozenset(device.known) for device in self.waited_for)))

    def tell(self, device: Device) -> None:
        """A device hears of it: whatever it wrote until now lies in the past of the second one, K."""
        horizon = self.horizon
        if horizon is not None and device.author not in horizon.told and horizon.held <= set(device.known):
            horizon.told.add(device.author)
            horizon.past |= {at for at in device.known if self.entries[at][1].dot.author == device.author}

    def trim(self, device: Device) -> None:
        """Whoever holds K removes what J has made needless."""
        horizon = self.horizon
        if horizon is None or not horizon.told.issuperset(item.author for item in self.waited_for):
            return
        if not (horizon.past | horizon.held) <= set(device.known):
            return
        old = {self.entries[at][1].dot for at in horizon.held}
        keys = needed_no_more(device.content(), is_old=lambda item: item.dot in old)
        if keys:
            drops: list[Write] = [Drop(key) for key in keys]
            self.dropped += len(keys)
            nothing = Made(Dot(Author(10**6 + len(self.entries)), 1), 0, b"", frozenset())
            self.entries.append((device.document.edit(drops), nothing))
            device.known.append(len(self.entries) - 1)

    def settle(self, device: Device, number: int) -> None:
        """What was settled altogether cannot be settled again (`Replica.resolve`)."""
        if {item.dot for item in self.kind.candidates(device.content())}.intersection(device.seen):
            super().settle(device, number)

    def heads(self, device: Device) -> list[Made]:
        return [made for made in super().heads(device) if made.data]

    def check(self, device: Device) -> None:
        content, heads = device.content(), self.heads(device)
        candidates = self.kind.candidates(content)
        assert {item.dot for item in candidates} == {made.dot for made in heads}
        if len(heads) > 1:
            known = [made for number in device.known if (made := self.entries[number][1]).data]
            found, expected = self.kind.base_data(content, candidates), self.base(heads, known)
            may_miss = not self.is_exact or len(known) > ENTRY_LIMITS.hidden_values_max
            assert found == expected or (found is UNKNOWN and may_miss)


DEEDS = ("write", "write", "replace", "sync", "sync", "sync", "cut", "look", "settle", "meet", "mark", "tell", "trim")
numbers = st.integers(0, 4)
short = st.lists(st.tuples(st.sampled_from(DEEDS[:9]), numbers, numbers, numbers), max_size=12)
histories = st.lists(st.tuples(st.sampled_from(DEEDS), numbers, numbers, numbers), max_size=50)


def play(world: Trimmed, history: list[tuple[str, int, int, int]]) -> None:
    for number, (what, who, other, detail) in enumerate(history):
        device = world.devices[who % len(world.devices)]
        partner = world.devices[other % len(world.devices)]
        match what:
            case "write" | "replace":
                world.write(device, "abcde"[detail], number, replace=what == "replace")
            case "sync" | "cut":
                world.sync(partner, device, 1 + detail if what == "cut" else len(world.entries))
            case "meet":
                everybody_syncs(world)
            case "look":
                world.look(device)
            case "mark":
                world.mark()
            case "tell":
                for item in world.waited_for[: 1 + detail]:
                    world.tell(item)
            case "trim":
                world.trim(device)
            case _:
                world.settle(device, number)
        world.check(device)
    everybody_syncs(world)
    for device in world.devices:
        world.check(device)


def everybody_syncs(world: World) -> None:
    for device in world.devices:
        for giver in world.devices:
            world.sync(giver, device, len(world.entries))


def play_with_horizons(world: Trimmed, parts: list[list[tuple[str, int, int, int]]]) -> None:
    """Histories around both horizons, and around what is removed at the second one."""
    before, between, after, end = parts
    play(world, before)
    world.mark()
    play(world, between)
    for device in world.waited_for:
        world.tell(device)
    play(world, after)
    world.trim(world.devices[0])
    play(world, end)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestTrimming:
    @given(parts=st.lists(short, min_size=4, max_size=4), count=st.integers(2, 5), late=st.integers(0, 1))
    def test_base_after_both_horizons_is_that_of_the_reference(
        self, kind: CausalRegister, parts: list[list[tuple[str, int, int, int]]], count: int, late: int
    ) -> None:
        play_with_horizons(Trimmed(kind, count, late=late, created=True), parts)

    @given(history=histories, count=st.integers(2, 4), created=st.booleans())
    def test_base_stays_that_of_the_reference(
        self, kind: CausalRegister, history: list[tuple[str, int, int, int]], count: int, *, created: bool
    ) -> None:
        play(Trimmed(kind, count, late=0, created=created), history)

    @given(history=histories, count=st.integers(2, 4), created=st.booleans())
    def test_base_is_never_wrong_for_who_was_not_waited_for(
        self, kind: CausalRegister, history: list[tuple[str, int, int, int]], count: int, *, created: bool
    ) -> None:
        play(Trimmed(kind, count, late=1, created=created), history)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestOneRegister:
    def world(self, kind: CausalRegister, *, late: int = 0, writes: int = 6) -> Trimmed:
        """Two devices that took turns, met, and went through both horizons."""
        world = Trimmed(kind, 2, late=late, created=True)
        for number in range(writes):
            world.write(world.devices[0], "a", number, replace=False)
        return world

    def horizons(self, world: Trimmed) -> None:
        everybody_syncs(world)
        world.mark()
        for device in world.waited_for:
            world.tell(device)
        everybody_syncs(world)

    def test_of_a_sequence_the_last_value_is_left(self, kind: CausalRegister) -> None:
        world = self.world(kind)
        self.horizons(world)
        world.trim(world.devices[0])
        (left,) = world.devices[0].content().causal["f"]
        assert left.dot.counter == 6
        play(world, [("write", 0, 0, 1), ("write", 1, 0, 2), ("meet", 0, 0, 0)])

    def test_many_values_go_as_well(self, kind: CausalRegister) -> None:
        world = self.world(kind, writes=ENTRY_LIMITS.hidden_values_max + 9)
        self.horizons(world)
        world.trim(world.devices[1])
        assert len(world.devices[1].content().causal["f"]) == 1

    def test_nothing_goes_while_values_clash(self, kind: CausalRegister) -> None:
        world = self.world(kind, writes=2)
        everybody_syncs(world)
        for device in world.devices:
            world.write(device, "b", 7, replace=True)
            world.write(device, "c", device.author, replace=False)
        self.horizons(world)
        world.trim(world.devices[0])
        ancestor = {item.dot for item in world.devices[0].content().causal["f"]}
        assert Dot(Author(10), 2) in ancestor
        world.check(world.devices[0])

    def test_who_was_not_waited_for_finds_the_base_unknown(self, kind: CausalRegister) -> None:
        world = self.world(kind, late=1, writes=2)
        everybody_syncs(world)
        world.write(world.devices[1], "late", 1, replace=False)
        world.write(world.devices[0], "b", 1, replace=False)
        world.mark()
        world.tell(world.devices[0])
        world.trim(world.devices[0])
        assert world.dropped == 2
        everybody_syncs(world)
        for device in world.devices:
            content = device.content()
            assert world.kind.base_data(content, world.kind.candidates(content)) is UNKNOWN
            assert needed_no_more(content, is_old=lambda _: True) == []


def value(author: int, counter: int, **saw: int) -> RegisterValue:
    context = {Author(int(name[1:])): number for name, number in saw.items()}
    return RegisterValue(Dot(Author(author), counter), 10 * author + counter, b"\xc0", context, f"{author}.{counter}")


def test_what_was_seen_and_is_not_there_is_missing() -> None:
    assert missing([value(1, 3, a1=2, a2=0)]) == [Dot(Author(1), 2)]
    assert missing([value(1, 2, a1=1), value(1, 1)]) == []


def chain(length: int) -> list[RegisterValue]:
    """Values of author 2, each of which saw the one before."""
    return [value(2, number, **({"a2": number - 1} if number > 1 else {})) for number in range(1, length + 1)]


def beside(values: list[RegisterValue]) -> list[RegisterValue]:
    """Author 1 saw them and wrote its second value without having seen its first; then author 3 saw all."""
    top = values[-1].dot.counter
    return [*values, value(1, 2, a2=top), value(3, 1, a1=2, a2=top)]


def test_value_that_went_by_the_bound_and_that_nobody_names_may_be_an_ancestor_too() -> None:
    many = Content(causal={"f": beside(chain(ENTRY_LIMITS.hidden_values_max))})
    assert needed_no_more(many, is_old=lambda item: item.dot.author == 2) == []
    assert len(needed_no_more(many, is_old=lambda item: item.dot.author == 3)) == ENTRY_LIMITS.hidden_values_max + 1
    few = Content(causal={"f": beside(chain(3))})  # a number that was never given: nothing had to go yet
    assert needed_no_more(few, is_old=lambda item: item.dot.author == 2) == ["2.1", "2.2"]


def test_what_is_missing_beside_a_value_keeps_what_it_saw() -> None:
    content = Content(causal={"f": [*chain(2), value(3, 1, a2=2, a5=4)]})
    assert needed_no_more(content, is_old=lambda item: item.dot.author == 2) == []
    assert needed_no_more(content, is_old=lambda item: item.dot.author == 3) == ["2.1", "2.2"]


def test_what_was_a_plain_register_in_between_keeps_everything() -> None:
    values = [*chain(2), value(2, 3, a2=2)]
    assert needed_no_more(Content(causal={"f": values}), is_old=lambda _: True) == ["2.1", "2.2"]
    assert needed_no_more(Content(causal={"f": values}, plain={"f": [value(7, 1)]}), is_old=lambda _: True) == []
    marked = values[-1]._replace(context={**values[-1].context, PLAIN_PAST: 0})
    assert needed_no_more(Content(causal={"f": [*values[:2], marked]}), is_old=lambda _: True) == []


def test_entries_of_maps_have_gaps_in_their_numbers() -> None:
    values = [value(2, 5), value(2, 9, a2=5), value(3, 4, a2=9)]
    assert needed_no_more(Content(causal={"f/a": values}), is_old=lambda item: item.dot.author == 2) == ["2.5"]
