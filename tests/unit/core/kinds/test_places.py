"""Places in a list: between any two there is room, no two are equal, runs stay together and do not grow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.kinds.places import Place, between, read_place, write_place
from crdt_sync.errors import MalformedEntryError

HLC = 1_900_000_000_000 << 16
steps = st.tuples(st.integers(1, AUTHOR_MAX), st.integers(-(2**64) + 1, 2**64 - 1), st.integers(-(2**40), 2**40))
INSERTS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(1, 3), st.booleans()), max_size=30)
"""Author, where, how many, and whether the writer's clock goes on before."""


def write(places: list[Place], inserts: list[tuple[int, int, int, bool]], clocks: dict[int, int]) -> list[list[Place]]:
    """Insert into one shared list; gives what each insertion made."""
    made = []
    for author, where, count, ticks in inserts:
        clocks[author] = clocks.get(author, HLC) + ticks
        at = where % (len(places) + 1)
        left, right = places[at - 1] if at else None, places[at] if at < len(places) else None
        new = between(left, right, author=Author(author), time=clocks[author], count=count)
        assert len(new) == count
        assert left is None or left < new[0], "not behind its left neighbour"
        assert right is None or new[-1] < right, "not in front of its right neighbour"
        places[at:at] = new
        made.append(new)
    return made


@given(INSERTS)
def test_new_places_are_between_their_neighbours_and_unique(inserts: list[tuple[int, int, int, bool]]) -> None:
    places: list[Place] = []
    write(places, inserts, {})
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert all(place[-1][2] % 2 for place in places), "an even number is no place"


@given(INSERTS, st.lists(INSERTS, min_size=2, max_size=3))
def test_places_made_apart_are_unique(
    shared: list[tuple[int, int, int, bool]], apart: list[list[tuple[int, int, int, bool]]]
) -> None:
    """One total order: what three devices insert apart into one list never falls together."""
    common: list[Place] = []
    clocks: dict[int, int] = {}
    write(common, shared, clocks)
    everything = set(common)
    count = len(common)
    for author, inserts in enumerate(apart, start=1):
        mine = list(common)
        write(mine, [(author, *rest[1:]) for rest in inserts], {author: max(clocks.values(), default=HLC) + 1})
        everything |= set(mine)
        count += len(mine) - len(common)
    assert len(everything) == count


@pytest.mark.parametrize("forwards", [True, False], ids=["appended", "prepended"])
@given(
    shared=INSERTS,
    where=st.integers(0, 60),
    lengths=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    ticks=st.lists(st.integers(0, 1), min_size=5, max_size=5),
)
def test_runs_written_at_once_at_one_place_do_not_interleave(
    shared: list[tuple[int, int, int, bool]], where: int, lengths: list[int], ticks: list[int], *, forwards: bool
) -> None:
    common: list[Place] = []
    clocks: dict[int, int] = {}
    write(common, shared, clocks)
    at = where % (len(common) + 1)
    left, right = common[at - 1] if at else None, common[at] if at < len(common) else None
    runs: list[tuple[Place, int]] = []
    for author, length in enumerate(lengths, start=1):
        low, high, time = left, right, max(clocks.values(), default=HLC) + 1
        for number in range(length):
            time += ticks[number]
            (place,) = between(low, high, author=Author(author), time=time)
            low, high = (place, right) if forwards else (left, place)
            runs.append((place, author))
    order = [author for _, author in sorted(runs)]
    changes = sum(one != two for one, two in pairwise(order))
    assert changes == len(lengths) - 1, f"interleaved: {order}"


@pytest.mark.parametrize("forwards", [True, False], ids=["appended", "prepended"])
@pytest.mark.parametrize("ticks", [1, 0], ids=["a transaction each", "one transaction"])
@pytest.mark.parametrize("around", [False, True], ids=["at an end", "in the middle"])
def test_runs_do_not_make_places_grow(ticks: int, *, forwards: bool, around: bool) -> None:
    left = between(None, None, author=Author(7), time=HLC)[0] if around else None
    right = between(left, None, author=Author(8), time=HLC)[0] if around else None
    low, high, time, sizes = left, right, HLC + 9, []
    for _ in range(1000):
        time += ticks
        (place,) = between(low, high, author=Author(5), time=time)
        out = bytearray()
        write_place(out, place)
        sizes.append(len(out))
        low, high = (place, right) if forwards else (left, place)
    assert max(sizes) - min(sizes) <= 2, "a number may have a byte more"
    assert max(sizes) < 60


@given(st.lists(steps, min_size=1, max_size=5), st.binary(max_size=3))
def test_places_are_read_as_they_were_written(place: list[tuple[int, int, int]], rest: bytes) -> None:
    out = bytearray()
    write_place(out, tuple(place))
    assert read_place(bytes(out) + rest, 0) == (tuple(place), len(out))


@given(st.binary(max_size=40))
def test_strange_bytes_are_refused_or_a_place(data: bytes) -> None:
    try:
        place, end = read_place(data, 0)
    except MalformedEntryError:
        return
    assert place
    assert end <= len(data)


@given(st.lists(steps, min_size=1, max_size=3), st.lists(steps, min_size=1, max_size=3), st.integers(1, 3))
def test_strange_neighbours_stop_nobody(
    one: list[tuple[int, int, int]], two: list[tuple[int, int, int]], count: int
) -> None:
    """Another implementation may write any place: what is inserted beside it has one, too, whether or not it fits."""
    left, right = sorted((tuple(one), tuple(two)))
    assert len(between(left, right, author=Author(3), time=HLC, count=count)) == count
