"""Maps: a register for each key, whose presence is that of an element in a set."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic.fields import FieldInfo

from crdt_sync import Map, Model, Replica, ask
from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.kinds import AskRegister, FieldKind, MapKind, PlainRegister, kind_of
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import ElementNotFoundError, InvalidValueError, SchemaError, UnrepresentableValueError
from tests.unit.core.kinds.sites import Site, meet, trio
from tests.unit.core.values import alike, texts, values

PLAIN = MapKind("f", PlainRegister("f", FieldInfo(annotation=Any)))
ASK = MapKind("f", AskRegister("f", FieldInfo(annotation=Any)))
KINDS = pytest.mark.parametrize("kind", [PLAIN, ASK], ids=["plain", "ask"])
names = texts.filter(lambda name: len(name) <= ENTRY_LIMITS.element_chars_max)
NAMES = ("a", "b/c", "")
EDITS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(NAMES), st.one_of(st.none(), st.integers(0, 3)), st.booleans()),
    max_size=12,
)
"""Who, key, value (None removes), and whether everybody meets afterwards."""


def shown(kind: MapKind, *sites: Site) -> dict[str, Any]:
    """What all of them show, which is one thing."""
    meet(*sites)
    first = kind.read(sites[0].content())
    assert all(kind.read(site.content()) == first for site in sites)
    return first


@KINDS
@given(start=st.dictionaries(names, values, max_size=4), then=st.dictionaries(names, values, max_size=4))
def test_a_map_becomes_what_it_is_assigned(kind: MapKind, start: dict[str, Any], then: dict[str, Any]) -> None:
    site = Site(1)
    site.create(1)
    site.write(kind.create(kind.validate(start), context=site.at(1)))
    assert alike(kind.read(site.content()), start)
    site.write(kind.assign(site.content(), kind.validate(then), context=site.at(2)))
    assert alike(kind.read(site.content()), then)
    assert kind.assign(site.content(), then, context=site.at(3)) == []
    assert list(kind.read(site.content())) == sorted(then)
    site.write(kind.assign(site.content(), {}, context=site.at(4)))
    assert (site.content().plain, site.content().causal) == ({}, {}), "no value is left behind"


@KINDS
@given(edits=EDITS)
def test_a_key_is_there_unless_who_removed_it_saw_all_that_was_set(kind: MapKind, edits: list[Any]) -> None:
    """A reference of sets of writes: a removal takes away the writes that its author saw, a write those it replaces."""
    sites = trio()
    standing: dict[int, dict[str, set[int]]] = {site.author: {name: set() for name in NAMES} for site in sites}
    gone: dict[int, set[int]] = {site.author: set() for site in sites}
    written: dict[int, Any] = {}
    for number, (at, name, value, meets) in enumerate(edits):
        site = sites[at]
        here = standing[site.author][name]
        if value is None:
            if here:
                site.write(kind.removal(site.content(), name))
            gone[site.author] |= here
            here.clear()
        elif {written[item] for item in here} != {value} or len(here) > 1:
            site.write(kind.put(site.content(), {name: value}, context=site.at(2 + number)))
            gone[site.author] |= here
            here.clear()
            here.add(number)
            written[number] = value
        if meets or number == len(edits) - 1:
            meet(*sites)
            lost = set().union(*gone.values())
            for key in NAMES:
                left = set().union(*(held[key] for held in standing.values())) - lost
                for held in standing.values():
                    held[key] = set(left)
            for author in gone:
                gone[author] = set(lost)
        content = site.content()
        for key in NAMES:
            candidates = kind.register(key).candidates(content)
            wanted = standing[site.author][key]
            assert sorted(codec.decode(item.data) for item in candidates) == sorted(written[item] for item in wanted)
            assert (key in kind.read(content)) is bool(wanted)


@KINDS
def test_setting_wins_over_removing_at_once(kind: MapKind) -> None:
    one, two, three = sites = trio()
    one.write(kind.put(one.content(), {"a": 1, "b": 2}, context=one.at(2)))
    meet(*sites)
    one.write(kind.removal(one.content(), "a"))
    two.write(kind.put(two.content(), {"a": 3}, context=two.at(2)))
    assert shown(kind, *sites) == {"a": 3, "b": 2}
    three.write(kind.drops(three.content(), ["a", "b"]))
    assert shown(kind, *sites) == {}


@KINDS
def test_a_key_that_is_set_again_after_its_removal_is_another_write(kind: MapKind) -> None:
    """Somebody who saw only the first write must not hide the second one."""
    one, two, _ = sites = trio()
    one.write(kind.put(one.content(), {"a": "first"}, context=one.at(2)))
    meet(*sites)
    two.write(kind.put(two.content(), {"a": "other"}, context=two.at(3)))
    one.write(kind.removal(one.content(), "a"))
    one.write(kind.put(one.content(), {"a": "second"}, context=one.at(4)))
    assert shown(kind, *sites) == {"a": "second"}
    assert len(kind.register("a").candidates(two.content())) == 2


def test_entries_that_ask_clash_each_for_itself() -> None:
    one, two, three = sites = trio()
    one.write(ASK.create({"a": 0, "b": 0}, context=one.at(2)))
    meet(*sites)
    one.write(ASK.put(one.content(), {"a": 1, "b": 1}, context=one.at(3)))
    two.write(ASK.put(two.content(), {"a": 2, "c": 3}, context=two.at(4)))
    assert shown(ASK, *sites) == {"a": 2, "b": 1, "c": 3}
    (clash,) = ASK.clashes(three.content())
    assert (clash.register, clash.base) == ("f/a", 0)
    assert [codec.decode(item.data) for item in clash.candidates] == [2, 1]
    assert PLAIN.clashes(three.content()) == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (5, InvalidValueError),
        (None, InvalidValueError),
        ("x" * (ENTRY_LIMITS.element_chars_max + 1), InvalidValueError),
        ("\ud800", UnrepresentableValueError),
    ],
)
def test_what_is_no_key_is_refused(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        PLAIN.check_name(name)
    assert PLAIN.value_of(Content(), name) is not None


@pytest.mark.parametrize(
    "annotation", [Map[int, str], Map[str, Annotated[int, Field(gt=0), ask(), ask()]]], ids=["keys", "two functions"]
)
def test_declarations_that_cannot_work(annotation: Any) -> None:
    with pytest.raises(SchemaError):
        kind_of("f", FieldInfo(annotation=annotation))


class Person(Model):
    prefs: Map[str, int]
    dates: Map[str, Annotated[date, ask()]]
    anything: Map  # type: ignore[type-arg]  # of anything


class TestThroughAReplica:
    def test_it_is_a_mapping(self) -> None:
        with Replica.open(":memory:", models=[Person]) as replica:
            person = replica.create(Person, prefs={"b": 1})
            prefs = person.prefs
            prefs["a"] = 2
            prefs.update({"c": "3"}, d=4)
            prefs.update([("e", 5)])
            assert dict(prefs) == {"a": 2, "b": 1, "c": 3, "d": 4, "e": 5} == prefs
            assert (len(prefs), list(prefs), prefs["a"], prefs.get("z"), "a" in prefs) == (
                5,
                list("abcde"),
                2,
                None,
                True,
            )
            assert (prefs.setdefault("a", 9), prefs.setdefault("f", 6)) == (2, 6)
            assert (prefs.pop("f"), prefs.pop("f", None)) == (6, None)
            del prefs["e"]
            assert list(prefs.items()) == [("a", 2), ("b", 1), ("c", 3), ("d", 4)]
            assert repr(prefs) == "Map({'a': 2, 'b': 1, 'c': 3, 'd': 4})"
            replica.update(person, prefs={"x": 1})
            assert prefs == {"x": 1}
            person.anything = prefs
            prefs.clear()
            assert (dict(prefs), dict(person.anything)) == ({}, {"x": 1})
            assert {**person.anything} == {"x": 1}

    @pytest.mark.parametrize("kind", [ElementNotFoundError, KeyError, InvalidValueError])
    def test_what_is_gone_is_a_typed_error(self, kind: type[Exception]) -> None:
        with Replica.open(":memory:", models=[Person]) as replica:
            person = replica.create(Person, prefs={"a": 1})
            for act in (
                lambda: person.prefs["b"],
                lambda: person.prefs.pop("b"),
                lambda: person.prefs.__delitem__("b"),
            ):
                with pytest.raises(kind) as caught:
                    act()
                assert str(caught.value) == "field 'prefs' has no such key"
            assert 5 not in person.prefs  # type: ignore[comparison-overlap]  # wrong on purpose
            assert len(list(replica.operations())) == 1

    @pytest.mark.parametrize("wrong", [{"a": "x"}, {5: 1}, {"\ud800": 1}, {"x" * 173: 1}, 5, {"ok": 1, "no": None}])
    def test_wrong_entries_are_refused(self, wrong: Any) -> None:
        with Replica.open(":memory:", models=[Person]) as replica:
            person = replica.create(Person, prefs={"a": 1})
            with pytest.raises(InvalidValueError):
                replica.update(person, prefs=wrong)
            with pytest.raises((InvalidValueError, TypeError)):
                person.prefs.update(wrong)
            with pytest.raises(InvalidValueError):
                replica.create(Person, prefs=wrong)
            assert person.prefs == {"a": 1}

    def test_reads_as_json_and_is_found(self) -> None:
        with Replica.open(":memory:", models=[Person]) as replica:
            person = replica.create(Person, prefs={"a": 1}, dates={"born": date(2000, 1, 2)})
            assert person.model_dump(mode="json") == {
                "prefs": {"a": 1},
                "dates": {"born": "2000-01-02"},
                "anything": {},
            }
            assert replica.count(Person, prefs={"a": 1}) == replica.count(Person, dates=person.dates) == 1
            assert replica.count(Person, prefs={"a": 2}) == 0
            with pytest.raises(InvalidValueError):
                replica.count(Person, prefs=5)
            person.prefs["b"] = 2
            person.dates["wed"] = date(2020, 2, 2)
            data = [dict(item.data) for item in replica.operations()]
            assert data[0] == {"prefs": {"a": 1}, "dates": {"born": date(2000, 1, 2)}}
            assert data[1:] == [{"prefs": {"b": 2}}, {"dates": {"wed": date(2020, 2, 2)}}]

    def test_the_kind_says_what_an_entry_is(self) -> None:
        fields: dict[str, FieldKind] = dict(Person.__crdt_spec__.fields)
        assert isinstance(fields["dates"].register_kind("dates/x"), AskRegister)
        assert type(fields["prefs"].register_kind("prefs/x")) is PlainRegister
