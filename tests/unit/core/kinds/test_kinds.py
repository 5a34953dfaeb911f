"""Each field kind by itself: what is shown, what is written, what several writers at once come to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.content import Content, Dot
from crdt_sync.core.kinds import AskRegister, CounterKind, Cut, Drop, Insert, PlainRegister, Put, SetKind, TextKind
from crdt_sync.core.kinds.base import TextRun, Write, WriteContext
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.reference import Ref
from crdt_sync.errors import InvalidValueError
from tests.unit.core.kinds.sites import Site, meet, trio
from tests.unit.core.values import alike, scalars, texts, values

PLAIN = PlainRegister("f", FieldInfo(annotation=Any, default=None))
ASK = AskRegister("f", FieldInfo(annotation=Any, default="nothing"))
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
AUTUMN = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
"""An hour that comes twice: by its fold, the first or the second time."""
COUNTER, TEXT, TAGS = CounterKind("f"), TextKind("f"), SetKind("f", Any)


class Held:
    """What a live field needs of its record."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def content(self) -> Content:
        return self._site.content()

    def runs(self) -> list[TextRun]:
        return []

    def edit(self, make: Callable[[Content, WriteContext], list[Write]]) -> None:
        self._site.write(make(self._site.content(), self._site.at(9)))

    def same(self, reference: Ref[Any]) -> list[Ref[Any]]:
        return []


def shown(kind: Any, *sites: Site) -> Any:
    """What all of them show, which is one thing."""
    meet(*sites)
    first = kind.read(sites[0].content())
    assert all(alike(kind.read(site.content()), first) for site in sites)
    return first


@pytest.mark.parametrize("kind", [PLAIN, ASK], ids=["plain", "ask"])
@given(first=values, second=values)
def test_registers_show_what_was_written(kind: PlainRegister, first: Any, second: Any) -> None:
    site = Site(1)
    site.create(1, f=kind.validate(first))
    assert alike(kind.read(site.content()), first)
    site.write(kind.assign(site.content(), second, context=site.at(2)))
    assert alike(kind.read(site.content()), second)
    assert kind.assign(site.content(), second, context=site.at(3)) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(2, 50)), min_size=1, max_size=6))
def test_of_plain_values_written_at_once_the_latest_shows(writes: list[tuple[int, int, int]]) -> None:
    sites = trio(texts=("f",), f="start")
    last: dict[int, tuple[int, int, int]] = {}
    for writer, value, hlc in writes:
        site = sites[writer]
        made = PLAIN.assign(site.content(), value, context=site.at(hlc))
        site.write(made)
        if made:
            last[writer] = (hlc, site.author, value)
    assert shown(PLAIN, *sites) == max(last.values())[2]
    candidates = PLAIN.candidates(sites[0].content())
    assert len(candidates) == len(last)
    assert PLAIN.clashes(sites[0].content()) == []


def test_a_plain_write_supersedes_all_that_it_saw() -> None:
    sites = trio(texts=("f",), f=0)
    for site in sites:
        site.write(PLAIN.assign(site.content(), site.author, context=site.at(9)))
    meet(*sites)
    sites[0].write(PLAIN.assign(sites[0].content(), "end", context=sites[0].at(2)))
    assert shown(PLAIN, *sites) == "end", "whatever its clock says"
    assert len(PLAIN.candidates(sites[1].content())) == 1


def test_ask_registers_clash_where_values_differ_and_name_the_base() -> None:
    one, two, three = sites = trio(texts=("f",), f="base")
    one.write(ASK.assign(one.content(), "one", context=one.at(5)))
    two.write(ASK.assign(two.content(), "two", context=two.at(4)))
    assert shown(ASK, *sites) == "one"
    content = three.content()
    (clash,) = ASK.clashes(content)
    assert [codec.decode(item.data) for item in clash.candidates] == ["one", "two"]
    assert (clash.base, clash.value, clash.paths) == ("base", "one", ("",))
    dots = {item.dot for item in clash.candidates}
    one.write(ASK.supersede(one.content(), codec.encode("both"), dots=dots, context=one.at(6)))
    assert shown(ASK, *sites) == "both"
    assert ASK.clashes(three.content()) == []


@pytest.mark.parametrize(
    ("first", "second", "clashes"),
    [
        (Decimal("1.0"), Decimal("1.00"), False),
        ([{"a": (Decimal("1.0"),)}], [{"a": (Decimal("1.00"),)}], False),
        (0.0, -0.0, False),
        (float("nan"), Decimal("nan"), True),
        (float("nan"), 1.0, True),
        (1.0, float("nan"), True),
        (1, 1.0, True),
        (1, True, True),
        (Decimal(1), Decimal("1.01"), True),
        ([Decimal(1)], [Decimal("1.0"), 2], True),
        ({"a": Decimal(1)}, {"b": Decimal("1.0")}, True),
        (NOON.replace(tzinfo=None), NOON.replace(tzinfo=None, fold=1), True),
        (NOON.replace(tzinfo=None), NOON, True),
        (NOON, NOON.astimezone(timezone(timedelta(hours=2))), False),
        (NOON, NOON.astimezone(ZoneInfo("Europe/Berlin")), False),
        (NOON, NOON.astimezone(ZoneInfo("Europe/Berlin")) + timedelta(microseconds=1), True),
        ([(NOON, 1)], [(NOON.astimezone(ZoneInfo("Asia/Tokyo")), 1)], False),
        (AUTUMN, AUTUMN.replace(fold=1), True),
        (AUTUMN.replace(fold=1), AUTUMN.replace(fold=1).astimezone(UTC), False),
        (NOON.timetz(), NOON.astimezone(timezone(timedelta(hours=2))).timetz(), False),
        (NOON.date(), NOON.replace(tzinfo=None), True),
        ("é", "e\u0301", True),
        ("1", 1, True),
        ((1, 2), [1, 2], True),
    ],
)
def test_equal_values_do_not_clash_whatever_their_bytes(first: Any, second: Any, *, clashes: bool) -> None:
    one, two, _ = sites = trio(texts=("f",), f="base")
    one.write(ASK.assign(one.content(), first, context=one.at(5)))
    two.write(ASK.assign(two.content(), second, context=two.at(4)))
    meet(*sites)
    for site in sites:
        assert bool(ASK.clashes(site.content())) is clashes
        assert len(ASK.candidates(site.content())) == 2


def test_which_instants_are_equal_does_not_follow_the_zones_that_a_machine_knows() -> None:
    """A zone's rules change: this text says what the writer's machine held for the offset of that day."""
    held = codec.encode(NOON.astimezone(ZoneInfo("Europe/Berlin")))
    outdated = held.replace(b"14:00:00+02:00", b"13:00:00+01:00")
    assert codec.decode(held) != codec.decode(outdated)
    assert codec.decode(held, named_zones=False) == codec.decode(outdated, named_zones=False) == NOON
    one, two, _ = sites = trio(f="base")
    for site, data in ((one, held), (two, outdated)):
        (write,) = ASK.assign(site.content(), NOON, context=site.at(5))
        assert isinstance(write, Put)
        site.write([Put(write.key, write.data.replace(codec.encode(NOON), data))])
    meet(*sites)
    assert [ASK.clashes(site.content()) for site in sites] == [[], [], []]


@pytest.mark.parametrize(
    ("factory", "default"), [(list, []), (dict, {}), (str, ""), (int, 0), (uuid4, None), (lambda data: data["x"], None)]
)
def test_a_missing_field_shows_the_same_at_each_read(factory: Any, default: Any) -> None:
    field = PlainRegister("f", FieldInfo(annotation=Any, default_factory=factory))
    site = Site(1)
    site.create(1)
    assert field.read(site.content()) == default == field.read(site.content())
    if default is not None:
        assert field.default() is not field.default() or not isinstance(default, list | dict)


def test_superseding_leaves_other_candidates() -> None:
    one, two, _ = sites = trio(texts=("f",), f="base")
    for site in sites:
        site.write(ASK.assign(site.content(), f"by {site.author}", context=site.at(5)))
    meet(*sites)
    (clash,) = ASK.clashes(one.content())
    dots = {item.dot for item in clash.candidates if item.dot.author != 3}
    one.write(ASK.supersede(one.content(), codec.encode("settled"), dots=dots, context=one.at(9)))
    meet(*sites)
    left = {codec.decode(item.data) for item in ASK.clashes(two.content())[0].candidates}
    assert left == {"settled", "by 3"}
    assert Dot(one.author, 1) not in {item.dot for item in ASK.candidates(two.content())}


def test_kept_values_are_bounded() -> None:
    site = Site(1)
    site.create(1, f=0)
    for number in range(3 * ENTRY_LIMITS.hidden_values_max):
        site.write(ASK.assign(site.content(), number + 1, context=site.at(2 + number)))
    assert len(ASK.kept(site.content())) <= ENTRY_LIMITS.hidden_values_max + 2
    assert ASK.read(site.content()) == 3 * ENTRY_LIMITS.hidden_values_max


def test_registers_that_nobody_wrote_show_their_default() -> None:
    site = Site(1)
    site.create(1)
    assert PLAIN.read(site.content()) is None
    assert ASK.read(site.content()) == "nothing"
    assert ASK.candidates(site.content()) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-(2**70), 2**70), st.booleans()), max_size=8))
def test_counters_add_up(steps: list[tuple[int, int, bool]]) -> None:
    sites = trio(texts=("f",))
    for writer, step, meets in steps:
        sites[writer].write(COUNTER.add(sites[writer].content(), step, context=sites[writer].at(2)))
        if meets:
            meet(*sites)
    assert shown(COUNTER, *sites) == sum(step for _, step, _ in steps)


def test_counters_are_not_set() -> None:
    site = Site(1)
    site.write(COUNTER.create(5, context=site.at(1)))
    assert COUNTER.assign(site.content(), 5, context=site.at(2)) == []
    with pytest.raises(InvalidValueError):
        COUNTER.assign(site.content(), 6, context=site.at(2))
    site.write(COUNTER.recreate(site.content(), 2, context=site.at(3)))
    assert COUNTER.read(site.content()) == 2


elements = scalars | st.lists(scalars, max_size=3).map(tuple)


@given(st.lists(elements, max_size=6), st.lists(elements, max_size=6))
def test_sets_hold_what_was_added_and_not_removed(first: list[Any], second: list[Any]) -> None:
    site = Site(1)
    site.create(1)
    site.write(TAGS.create(set(first), context=site.at(1)))
    assert TAGS.read(site.content()) == set(first)
    site.write(TAGS.assign(site.content(), set(second), context=site.at(2)))
    assert TAGS.read(site.content()) == set(second)
    site.write(TAGS.remove(site.content(), second))
    assert TAGS.read(site.content()) == set()


@pytest.mark.parametrize("element", ["x", "long " * 100, (1, ("a", None))], ids=["short", "hashed", "tuple"])
def test_adding_wins_over_removing_at_once(element: Any) -> None:
    one, two, three = sites = trio(texts=("f",))
    one.write(TAGS.add([element], context=one.at(2)))
    meet(*sites)
    one.write(TAGS.remove(one.content(), [element]))
    two.write(TAGS.add([element], context=two.at(2)))
    assert shown(TAGS, *sites) == {element}
    three.write(TAGS.remove(three.content(), [element]))
    assert shown(TAGS, *sites) == set()


@pytest.mark.parametrize("forged", [codec.encode("a" * 200), b"\xc1"], ids=["another", "malformed"])
def test_a_cell_that_is_not_what_its_name_says_shows_nothing_and_hides_nothing(forged: bytes) -> None:
    element = "long " * 100
    one, two, three = sites = trio()
    (own,) = TAGS.add([element], context=one.at(2))
    (theirs,) = TAGS.add([element], context=two.at(2))
    assert isinstance(own, Put)
    assert isinstance(theirs, Put)
    two.write([theirs._replace(data=forged)])
    assert TAGS.read(two.content()) == set()
    one.write([own])
    three.take(two)
    assert shown(TAGS, *sites) == {element}


@pytest.mark.parametrize("strange", [[], {}, {1}, ValueError, "b", None, 2, float("nan")], ids=repr)
def test_what_can_be_no_element_is_not_in_a_set(strange: Any) -> None:
    site = Site(1)
    site.create(1)
    tags = SetKind("f", str)
    site.write(tags.add(["a"], context=site.at(2)))
    live = tags.live(Held(site))
    assert "a" in live
    assert strange not in live


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (Decimal("1.0"), Decimal("1.00")),
        (0.0, -0.0),
        (NOON, NOON.astimezone(timezone(timedelta(hours=2)))),
        (1, Decimal(1)),
    ],
    ids=["decimals", "zeros", "instants", "types"],
)
def test_removing_an_element_removes_all_that_are_equal(one: Any, same: Any) -> None:
    site = Site(1)
    site.create(1)
    site.write(TAGS.add([one], context=site.at(2)))
    site.write(TAGS.add([same], context=site.at(3)))
    reversed_site = Site(2)
    reversed_site.create(1)
    reversed_site.write(TAGS.add([same], context=reversed_site.at(2)))
    reversed_site.write(TAGS.add([one], context=reversed_site.at(3)))
    assert [repr(element) for element in TAGS.read(site.content())] == [
        repr(element) for element in TAGS.read(reversed_site.content())
    ], "of equal elements everybody shows the same one"
    site.write(TAGS.remove(site.content(), [one]))
    assert TAGS.read(site.content()) == set()


@given(texts, texts)
def test_texts_become_what_they_are_assigned(old: str, new: str) -> None:
    site = Site(1, texts=("f",))
    site.create(1)
    site.write(TEXT.create(old, context=site.at(1)))
    site.write(TEXT.assign(site.content(), new, context=site.at(2)))
    assert TEXT.read(site.content()) == new


@given(texts, st.data())
def test_texts_are_edited_by_code_points(start: str, data: st.DataObject) -> None:
    site, wanted = Site(1, texts=("f",)), start
    site.create(1)
    site.write(TEXT.create(start, context=site.at(1)))
    for _ in range(4):
        index = data.draw(st.integers(0, len(wanted)))
        if data.draw(st.booleans()):
            piece = data.draw(texts)
            site.write(TEXT.insertion(site.content(), index, piece))
            wanted = wanted[:index] + piece + wanted[index:]
        else:
            count = data.draw(st.integers(0, len(wanted) - index))
            site.write(TEXT.deletion(site.content(), index, count))
            wanted = wanted[:index] + wanted[index + count :]
        assert TEXT.read(site.content()) == wanted


def test_texts_written_at_once_are_merged() -> None:
    one, two, _ = sites = trio(texts=("f",))
    one.write(TEXT.create("né 😀 end", context=one.at(1)))
    meet(*sites)
    one.write(TEXT.assign(one.content(), "né 😀👍 end", context=one.at(2)))
    two.write(TEXT.assign(two.content(), "un né 😀 fin", context=two.at(2)))
    assert shown(TEXT, *sites) == "un né 😀👍 fin"


def test_an_assignment_writes_what_differs_only() -> None:
    content = Content(texts={"f": "a" * 10_000 + "old" + "b" * 10_000})
    writes = TEXT.assign(content, "a" * 10_000 + "new" + "b" * 10_000, context=Site(1).at(1))
    assert sum(len(item.text) for item in writes if isinstance(item, Insert)) <= 3
    assert sum(item.length for item in writes if isinstance(item, Cut)) <= 3


def test_a_large_rewrite_is_one_piece() -> None:
    content = Content(texts={"f": "ab" * 50_000})
    writes = TEXT.assign(content, "ba" * 40_000, context=Site(1).at(1))
    assert len(writes) <= 2


def test_writes_touch_own_keys_apart_from_those_they_drop() -> None:
    _, _, three = sites = trio(texts=("f",), f=0)
    for kind in (PLAIN, ASK):
        for site in sites:
            site.write(kind.assign(site.content(), f"{kind}{site.author}", context=site.at(3)))
    meet(*sites)
    for kind in (PLAIN, ASK):
        for write in kind.assign(three.content(), "new", context=three.at(9)):
            assert isinstance(write, Put | Drop)
            assert not isinstance(write, Put) or "AAAAAD" in write.key
