"""Lists: what several writers at once come to, and that Python's sequence protocol means what it means elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync import List, Model, Replica
from crdt_sync.core.content import Content
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import Drop, ListKind, PlainRegister, Put
from crdt_sync.core.kinds.list_cells import Cell, Stamp, read_cell, write_cell
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import ElementNotFoundError, InvalidValueError, LimitError, MalformedEntryError
from tests.unit.core.kinds.sites import Site, meet, trio
from tests.unit.core.values import alike, values

LIST = ListKind("f", PlainRegister("f", FieldInfo(annotation=Any)))
EDITS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)), max_size=12)


def filled(*items: Any) -> tuple[Site, Site, Site]:
    """Three writers with one list."""
    sites = trio()
    sites[0].write(LIST.create(list(items), context=sites[0].at(2)))
    meet(*sites)
    return sites


def shown(*sites: Site) -> list[Any]:
    """What all of them show, which is one thing."""
    meet(*sites)
    first = LIST.read(sites[0].content())
    assert all(LIST.read(site.content()) == first for site in sites)
    return first


def edit(site: Site, mirror: list[Any], what: int, at: int, to: int, *, hlc: int, value: Any) -> None:
    """One change of a writer's list, and of a plain one."""
    content, context = site.content(), site.at(hlc)
    match what:
        case 0:
            site.write(LIST.insert(content, at, [value], context=context))
            mirror.insert(at, value)
        case 1 if mirror:
            site.write(LIST.remove(content, at % len(mirror)))
            del mirror[at % len(mirror)]
        case 2 if mirror:
            site.write(LIST.set_element(content, at % len(mirror), value, context=context))
            mirror[at % len(mirror)] = value
        case 3 if mirror:
            at, to = at % len(mirror), to % len(mirror)
            site.write(LIST.move(content, at, to, context=context))
            mirror.insert(to, mirror.pop(at))


@given(st.lists(values, max_size=4), EDITS, st.data())
def test_one_writer_has_a_plain_list(start: list[Any], edits: list[tuple[int, int, int]], data: st.DataObject) -> None:
    site, mirror = Site(1), list(start)
    site.create(1)
    site.write(LIST.create(start, context=site.at(1)))
    for number, (what, at, to) in enumerate(edits):
        edit(site, mirror, what, at, to, hlc=2 + number // 2, value=data.draw(values))
        assert alike(LIST.read(site.content()), mirror)


@given(EDITS, st.lists(EDITS, min_size=3, max_size=3))
def test_writers_at_once_converge_and_nothing_is_lost_or_doubled(
    shared: list[tuple[int, int, int]], apart: list[list[tuple[int, int, int]]]
) -> None:
    """An element shows once, unless somebody who saw it removed it and nobody else changed it at the same time."""
    sites = filled("a", "b", "c")
    numbers = iter(range(10_000))
    mirror: list[Any] = ["a", "b", "c"]
    for what, at, to in shared:
        edit(sites[0], mirror, what, at, to, hlc=3, value=next(numbers))
    meet(*sites)
    common = LIST.read(sites[0].content())
    made, removed, written = ids(sites[0]), set[str](), set(common)
    changed: list[set[str]] = [set(), set(), set()]
    for site, edits, mine in zip(sites, apart, changed, strict=True):
        mirror = list(common)
        for what, at, to in edits:
            before, cells = ids(site), dict(site.document.cells())
            edit(site, mirror, what, at, to, hlc=9, value=next(numbers))
            assert LIST.read(site.content()) == mirror
            new = [key for key, data in site.document.cells().items() if cells.get(key) != data]
            mine.update(name for name in ids(site) if any(name in key for key in new))
            removed |= before - ids(site)
            mine.difference_update(before - ids(site))
            made |= ids(site)
            written |= set(mirror)
    final = shown(*sites)
    assert set(final) <= written
    assert ids(sites[0]) == (made - removed) | set().union(*changed)


def ids(site: Site) -> set[str]:
    return {element.id for element in LIST.elements(site.content())}


def test_moving_at_once_leaves_one_element() -> None:
    one, two, _ = sites = filled(*"abcd")
    one.write(LIST.move(one.content(), 0, 3, context=one.at(5)))
    two.write(LIST.move(two.content(), 0, 1, context=two.at(6)))
    assert shown(*sites) == ["b", "a", "c", "d"], "the later one"


@pytest.mark.parametrize(("moved", "set_"), [(5, 6), (6, 5)], ids=["set later", "moved later"])
def test_moving_and_setting_at_once_both_take_effect(moved: int, set_: int) -> None:
    one, two, _ = sites = filled(*"abc")
    one.write(LIST.move(one.content(), 0, 2, context=one.at(moved)))
    two.write(LIST.set_element(two.content(), 0, "A", context=two.at(set_)))
    assert shown(*sites) == ["b", "c", "A"]


@pytest.mark.parametrize("change", ["move", "set"])
def test_what_is_changed_and_removed_at_once_stays(change: str) -> None:
    one, two, three = sites = filled(*"abc")
    one.write(LIST.remove(one.content(), 1))
    if change == "move":
        two.write(LIST.move(two.content(), 1, 0, context=two.at(3)))
    else:
        two.write(LIST.set_element(two.content(), 1, "B", context=two.at(3)))
    assert shown(*sites) == (["b", "a", "c"] if change == "move" else ["a", "B", "c"])
    three.write(LIST.remove(three.content(), slice(None)))
    assert shown(*sites) == []
    assert three.content().lists == {}, "no cell is left behind"


def test_a_later_write_wins_whatever_the_clocks_say() -> None:
    one, two, three = sites = filled(*"abc")
    one.write(LIST.move(one.content(), 0, 2, context=one.at(900)))
    one.write(LIST.set_element(one.content(), 0, "late", context=one.at(901)))
    meet(*sites)
    two.write(LIST.move(two.content(), 2, 0, context=two.at(5)))
    two.write(LIST.set_element(two.content(), 1, "later", context=two.at(6)))
    three.write(LIST.set_element(three.content(), 2, "A", context=three.at(7)))
    assert shown(*sites) == ["A", "later", "c"]


def test_runs_appended_at_once_stay_together() -> None:
    one, two, _ = sites = filled("start")
    for number in range(4):
        one.write(LIST.insert(one.content(), None, [f"one{number}"], context=one.at(5 + number)))
        two.write(LIST.insert(two.content(), 1, [f"two{number}"], context=two.at(5 + number)))
    final = shown(*sites)
    assert final in (
        ["start", *(f"one{n}" for n in range(4)), *(f"two{n}" for n in (3, 2, 1, 0))],
        ["start", *(f"two{n}" for n in (3, 2, 1, 0)), *(f"one{n}" for n in range(4))],
    )


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_a_list_becomes_what_it_is_assigned(old: list[int], new: list[int]) -> None:
    site = Site(1)
    site.create(1)
    site.write(LIST.create(old, context=site.at(1)))
    writes = LIST.assign(site.content(), new, context=site.at(2))
    assert (writes == []) is (old == new)
    site.write(writes)
    assert LIST.read(site.content()) == new


@pytest.mark.parametrize(
    ("new", "puts", "drops"),
    [
        (["b", "c", "d", "a"], 1, 0),
        (["a", "x", "c", "d"], 1, 0),
        (["a", "b", "x", "c", "d"], 1, 0),
        (["a", "d"], 0, 2),
        (["d", "c", "b", "a"], 3, 0),
    ],
    ids=["moved", "set", "inserted", "removed", "reversed"],
)
def test_an_assignment_writes_what_differs_only(new: list[str], puts: int, drops: int) -> None:
    one, *_ = filled(*"abcd")
    writes = LIST.assign(one.content(), new, context=one.at(5))
    assert sum(isinstance(item, Put) for item in writes) == puts
    assert sum(isinstance(item, Drop) for item in writes) == drops


def test_reordering_by_assignment_on_two_devices_doubles_nothing() -> None:
    one, two, _ = sites = filled(*"abcd")
    one.write(LIST.assign(one.content(), list("dabc"), context=one.at(5)))
    two.write(LIST.assign(two.content(), list("adbc"), context=two.at(6)))
    assert shown(*sites) == list("adbc")


def test_a_long_list_is_assigned_in_time() -> None:
    site = Site(1)
    site.create(1)
    site.write(LIST.create(list(range(5000)), context=site.at(1)))
    site.write(LIST.assign(site.content(), [*range(4999, 0, -1), "end"], context=site.at(2)))
    assert LIST.read(site.content()) == [*range(4999, 0, -1), "end"]


def test_cells_of_appended_elements_are_small() -> None:
    site = Site(2**35 - 1)
    site.create(1)
    hlc = 1_900_000_000_000 << 16
    for number in range(40):
        site.write(LIST.insert(site.content(), None, [number], context=site.at(hlc + number)))
    ((key, data), *_) = site.content().lists["f"].popitem()[1]
    assert (len(key), len(data)) <= (27, 36)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_strange_cells_stay_out_of_sight(one: bytes, two: bytes) -> None:
    site = Site(1)
    site.create(1)
    site.write(LIST.create(["x"], context=site.at(1)))
    site.write(
        [
            Put(map_key(KeyClass.LIST, site.author, field="f", rest=name), data)
            for name, data in (("one", one), ("two", b"\x00" + two))
        ]
    )
    assert "x" in LIST.read(site.content())
    site.write(LIST.insert(site.content(), 1, ["y"], context=site.at(3)))
    assert len(LIST.read(site.content())) >= 2


@given(
    st.binary(min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**35 - 1)), min_size=2, max_size=2),
)
def test_cells_are_read_as_they_were_written(data: bytes, stamps: list[tuple[int, int]]) -> None:
    one, two = (Stamp(number, Author(author)) for number, author in stamps)
    for cell in (Cell(one, data, two, ((1, -5, 1),)), Cell(one, data, one, ((1, 2, 0), (3, -4, -1)))):
        assert read_cell(write_cell(cell)) == cell


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x00", b"\x01\x05\x01", b"\x00\x05\x00\x01\x01\x02\x01\xc0"])
def test_what_is_no_cell_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        read_cell(data)


def test_an_element_has_a_largest_size() -> None:
    with pytest.raises(LimitError):
        LIST.create([b"x" * (ENTRY_LIMITS.value_bytes_max - 10)], context=Site(1).at(1))
    assert LIST.read(Content()) == []


class Recipe(Model):
    steps: List[str]
    parts: List[dict[str, int]]
    plain: List  # type: ignore[type-arg]  # of anything


class TestThroughAReplica:
    def test_it_is_a_sequence(self) -> None:
        with Replica.open(":memory:", models=[Recipe]) as replica:
            recipe: Any = replica.create(Recipe, steps=["a"])
            steps = recipe.steps
            steps.append("d")
            steps.insert(1, "c")
            steps.insert(-100, "start")
            steps.insert(100, "end")
            steps.extend(["x", "y"])
            assert list(steps) == ["start", "a", "c", "d", "end", "x", "y"]
            assert (steps[0], steps[-1], steps[1:3], len(steps)) == ("start", "y", ["a", "c"], 7)
            assert ("c" in steps, "z" in steps, steps.index("c"), steps.count("a")) == (True, False, 2, 1)
            assert next(reversed(steps)) == "y"
            steps[2] = "C"
            steps.move(0, -1)
            steps.move(-2, 0)
            assert list(steps) == ["y", "a", "C", "d", "end", "x", "start"]
            assert (steps.pop(), steps.pop(0)) == ("start", "y")
            del steps[-1]
            del steps[1:3]
            steps.remove("end")
            assert steps == ["a"]
            steps += ["b"]
            recipe.steps += ["c"]
            assert repr(recipe.steps) == "List(['a', 'b', 'c'])"
            recipe.steps.clear()
            assert not recipe.steps
            recipe.plain = [1, [2]]
            assert recipe.plain == [1, [2]]
            recipe.plain = recipe.steps
            assert recipe.plain == []

    @pytest.mark.parametrize(
        "act",
        [
            lambda steps: steps[3],
            lambda steps: steps[-4],
            lambda steps: steps.pop(3),
            lambda steps: steps.move(0, 3),
            lambda steps: steps.move(3, 0),
            lambda steps: steps.remove("gone"),
            lambda steps: steps.__delitem__(7),
            lambda steps: steps.__setitem__(3, "x"),
        ],
        ids=["get", "get negative", "pop", "move to", "move from", "remove", "del", "set"],
    )
    @pytest.mark.parametrize("kind", [ElementNotFoundError, IndexError, InvalidValueError])
    def test_what_is_gone_is_a_typed_error(self, act: Callable[[List[str]], object], kind: type[Exception]) -> None:
        with Replica.open(":memory:", models=[Recipe]) as replica:
            recipe = replica.create(Recipe, steps=["a", "b", "c"])
            with pytest.raises(kind) as caught:
                act(recipe.steps)
            assert str(caught.value).startswith("field 'steps'")
            assert list(recipe.steps) == ["a", "b", "c"]
            assert len(list(replica.operations())) == 1

    @pytest.mark.parametrize("value", [5, None, "\ud800"])
    def test_wrong_elements_are_refused(self, value: Any) -> None:
        with Replica.open(":memory:", models=[Recipe]) as replica:
            recipe = replica.create(Recipe, steps=["a"])
            for act in (
                recipe.steps.append,
                lambda item: recipe.steps.__setitem__(0, item),
                lambda item: replica.update(recipe, steps=[item]),
                lambda item: recipe.steps.insert(0, item),
            ):
                with pytest.raises(InvalidValueError):
                    act(value)
            with pytest.raises(InvalidValueError):
                recipe.steps["0"]  # type: ignore[call-overload]  # wrong on purpose
            assert recipe.steps == ["a"]

    def test_several_changes_in_one_transaction(self) -> None:
        with Replica.open(":memory:", models=[Recipe]) as replica:
            recipe = replica.create(Recipe)
            mirror: list[str] = []
            with replica.transaction():
                for number in range(12):
                    at = number * 5 % (len(mirror) + 1)
                    recipe.steps.insert(at, str(number))
                    mirror.insert(at, str(number))
                    if number % 3 == 2:
                        recipe.steps.move(0, 1)
                        mirror.insert(1, mirror.pop(0))
                    if number % 4 == 3:
                        assert recipe.steps.pop(1) == mirror.pop(1)
                    assert list(recipe.steps) == mirror

    def test_reads_as_json_and_is_found(self) -> None:
        with Replica.open(":memory:", models=[Recipe]) as replica:
            recipe = replica.create(Recipe, steps=["a", "b"], parts=[{"egg": 2}])
            assert recipe.model_dump(mode="json") == {"steps": ["a", "b"], "parts": [{"egg": 2}], "plain": []}
            assert replica.count(Recipe, steps=["a", "b"]) == replica.count(Recipe, steps__contains="a") == 1
            assert replica.count(Recipe, steps=recipe.steps, parts=[{"egg": 2}]) == 1
            assert replica.count(Recipe, steps=["b", "a"]) == 0
            recipe.steps.append("c")
            recipe.steps[0] = "A"
            data = [dict(item.data) for item in replica.operations()]
            assert data == [{"parts": [{"egg": 2}], "steps": ["a", "b"]}, {"steps": ["c"]}, {"steps": ["A"]}]
