"""A field that is a plain register for some writers and one with a context for others: nothing is lost or hidden.

The reference knows which writes each write has seen, and nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.kinds import AskRegister, PlainRegister, ThreeWayRegister
from crdt_sync.core.kinds.causal import CausalRegister
from tests.unit.core.kinds.sites import Site, meet, trio

INFO = FieldInfo(annotation=Any, default=None)
PLAIN, ASK, MERGED = PlainRegister("f", INFO), AskRegister("f", INFO), ThreeWayRegister("f", INFO)
KINDS: tuple[PlainRegister, ...] = (PLAIN, ASK, MERGED)
CAUSAL: tuple[CausalRegister, ...] = (ASK, MERGED)


def put(site: Site, kind: PlainRegister, value: object, hlc: int) -> None:
    site.write(kind.assign(site.content(), value, context=site.at(hlc)))


def values(site: Site, kind: PlainRegister) -> list[Any]:
    return [codec.decode(item.data) for item in kind.candidates(site.content())]


def test_a_plain_value_is_a_candidate_after_the_change_to_ask() -> None:
    one, two, _ = trio(f="first")
    put(one, PLAIN, "one", 5)
    put(two, PLAIN, "two", 6)
    meet(one, two)
    assert values(one, ASK) == values(two, ASK) == ["two", "one"]
    (clash,) = ASK.clashes(one.content())
    assert clash.base is UNKNOWN
    dots = {item.dot for item in clash.candidates}
    one.write(ASK.supersede(one.content(), codec.encode("one"), dots=dots, context=one.at(7)))
    meet(one, two)
    assert [values(two, kind) for kind in KINDS] == [["one"]] * 3
    assert not two.content().plain


def test_a_plain_write_takes_the_place_of_what_it_saw() -> None:
    one, two, three = trio(f="first")
    put(one, ASK, "a", 5)
    put(one, ASK, "b", 6)
    meet(one, two)
    put(two, PLAIN, "plain", 7)
    put(three, ASK, "apart", 4)
    meet(one, two, three)
    assert [values(site, kind) for site in (one, two, three) for kind in KINDS] == [["plain", "apart"]] * 9
    (clash,) = ASK.clashes(one.content())
    assert clash.base == "first"


def test_numbers_do_not_come_again_after_a_plain_write() -> None:
    one, two, three = trio(f="first")
    put(one, ASK, "a", 5)
    meet(one, two, three)
    put(two, ASK, "saw a", 6)
    put(three, PLAIN, "plain", 7)
    one.take(three)
    put(one, ASK, "again", 8)
    meet(one, two, three)
    assert values(one, ASK) == ["again", "saw a"]


def test_no_older_value_passes_for_the_ancestor() -> None:
    one, two, _ = trio(f={"a": 1, "b": 1})
    put(one, PLAIN, {"a": 2, "b": 1}, 5)
    meet(one, two)
    put(one, MERGED, {"a": 2, "b": 5}, 6)
    put(two, MERGED, {"a": 1, "b": 1}, 7)
    meet(one, two)
    (clash,) = MERGED.clashes(one.content())
    assert clash.base is UNKNOWN
    put(one, MERGED, {"a": 3, "b": 3}, 8)
    meet(one, two)
    put(one, MERGED, {"a": 4, "b": 3}, 9)
    put(two, MERGED, {"a": 3, "b": 4}, 10)
    meet(one, two)
    assert MERGED.read(one.content()) == {"a": 4, "b": 4}


def test_a_plain_write_beside_the_first_with_a_context_has_a_base() -> None:
    one, two, _ = trio(f={"a": 1, "b": 1})
    put(one, PLAIN, {"a": 2, "b": 1}, 5)
    put(two, MERGED, {"a": 1, "b": 2}, 6)
    meet(one, two)
    assert MERGED.read(one.content()) == {"a": 2, "b": 2}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("take"), st.integers(0, 2), st.integers(0, 2)),
    ),
    max_size=25,
)


def ancestors(pasts: dict[int, frozenset[int]], among: list[int]) -> set[int]:
    """The maximal writes that all of some writes saw."""
    shared = frozenset.intersection(*(pasts[item] for item in among))
    return {item for item in shared if not any(item in pasts[other] for other in shared)}


@given(STEPS)
def test_candidates_are_what_no_write_saw_and_bases_are_never_wrong(steps: list[tuple[str, int, int]]) -> None:
    sites = trio(f=0)
    known: list[set[int]] = [{0}, {0}, {0}]
    pasts: dict[int, frozenset[int]] = {0: frozenset()}
    for number, (what, at, which) in enumerate(steps, start=1):
        if what == "write":
            put(sites[at], KINDS[which], number, 10 + number)
            pasts[number] = frozenset(known[at])
            known[at].add(number)
        else:
            sites[at].take(sites[which])
            known[at] |= known[which]
        for site, held in zip(sites, known, strict=True):
            shown = sorted((item for item in held if not any(item in pasts[other] for other in held)), reverse=True)
            assert [values(site, kind) for kind in KINDS] == [shown] * 3
            for kind in CAUSAL:
                for clash in kind.clashes(site.content()):
                    found = ancestors(pasts, shown)
                    assert clash.base is UNKNOWN or len(found) != 1 or {clash.base} == found


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_settled_plain_values_is_not_taken_for_more_than_is_known(kind: CausalRegister) -> None:
    one, two, _ = trio(f=0)
    put(one, PLAIN, 1, 5)
    put(two, kind, 2, 6)
    meet(one, two)
    put(one, kind, 3, 7)
    assert not list(kind.settlings(one.content()))
