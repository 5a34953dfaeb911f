"""Whatever one replica may write, at the limits too, stops no other one from syncing, opening or showing it.

The limits are made small here, so that many values at them can be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st

from crdt_sync import List, Map, Model, Replica, Set, Text, ask, first, max_, merge_with, three_way
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import CRDTSyncError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk

SMALL = {"value_bytes_max": 600, "value_items_max": 12, "value_depth_max": 4, "entry_bytes_max": 16 * 1024}


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    before = {name: getattr(ENTRY_LIMITS, name) for name in SMALL}
    for name, limit in SMALL.items():
        object.__setattr__(ENTRY_LIMITS, name, limit)  # it is frozen
    yield
    for name, limit in before.items():
        object.__setattr__(ENTRY_LIMITS, name, limit)


def together(base: Any, candidates: list[Any]) -> Any:
    """Grows with each candidate, beyond what the field can hold."""
    return [base, *candidates]


class Doc(Model, unique=("code", "wide"), on_edit_after_delete="ask"):
    title: str = ""
    code: str | None = None
    wide: str = "w"
    plain: Any = None
    asked: Any = ask(default=None)
    body: str = three_way(default="")
    merged: Any = three_way(default=None)
    answered: Any = merge_with(together, default=None)
    early: Any = first(default=None)
    most: str | None = max_(default=None)
    pages: Map[str, Annotated[Any, three_way()]]
    names: Map[str, Any]
    steps: List[Any]
    tags: Set[str]
    notes: Text


class Other(Model):
    title: str = ""


lines = st.lists(st.sampled_from(["", "a", "b" * 40, "c" * 250]), max_size=16).map("\n".join)
"""Texts up to and above the limits, also in lines."""
leaves = st.none() | st.integers(-5, 2**70) | lines
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=13),
        st.lists(st.sampled_from([0, 1]), min_size=6, max_size=13),
        st.dictionaries(st.sampled_from("abcdefghijklmnop"), inner, max_size=13),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
large = st.sampled_from("abcdef").flatmap(
    lambda name: st.sampled_from(
        [
            name * 400 + "\none\ntwo",
            "one\ntwo\n" + name * 400,
            [*(name * 7), "one", "two"],
            ["one", "two", *(name * 7)],
            {f"{name}{number}": number for number in range(7)},
            {"one": [name * 300, "two"]},
            {"one": ["two", name * 300]},
            {"x": {"y": {"z": [name]}}},
        ]
    )
)
"""Values of which two or three together are too large."""
wide = st.sampled_from("abcdef").map(lambda name: name * 400)
fields: dict[str, st.SearchStrategy[Any]] = {
    "code": st.none() | st.sampled_from(["x", "y" * 580]),
    "wide": st.sampled_from(["w", "z" * 580]),
    "body": lines | large.filter(lambda value: type(value) is str),
    "most": wide | lines,
    **dict.fromkeys(("plain", "asked", "merged", "answered", "early"), nested | large),
    **dict.fromkeys(("pages", "names"), st.dictionaries(st.sampled_from("pq"), nested | large, max_size=2)),
    "steps": st.lists(nested | large, max_size=4),
    "tags": st.sets(lines | wide, max_size=4),
    "notes": lines,
}
some = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=4, unique=True)
values = some.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))
merging = st.fixed_dictionaries(
    {"body": fields["body"], "merged": large}, optional={"pages": st.fixed_dictionaries({"p": large})}
)
acts = st.one_of(
    *(st.tuples(st.just("update"), given_) for given_ in (merging, merging, values)),
    st.tuples(st.just("create"), values),
    st.tuples(st.sampled_from(["delete", "settle"]), st.none()),
)
histories = st.lists(st.tuples(acts, acts, acts, st.sets(st.integers(0, 2))), max_size=4)
"""Rounds: what each of three replicas does, and which of them meet the one before afterwards."""


def act(replica: Replica, what: str, given_: Any) -> None:
    found = replica.find(Doc, title="shared") or replica.find(Doc, limit=1)
    try:
        match what:
            case "create":
                replica.create(Doc, **given_)
            case "update" if found:
                replica.update(found[0], **given_)
            case "delete" if found:
                replica.delete(found[0])
            case "settle":
                for conflict in replica.conflicts()[:1]:
                    replica.resolve(conflict, take=conflict.candidates[-1])
            case _:
                assert not found
    except CRDTSyncError as error:
        assert error.hint  # noqa: PT017  a change may be refused; then a hint says what to do


def look(replica: Replica) -> list[Any]:
    """All there is to see, read once."""
    seen: list[Any] = [repr(replica.conflicts()), repr(replica.settled())]
    for doc in replica.find(Doc):
        seen.append(repr(doc.model_dump()))
        list(replica.history(doc))
        assert str(replica.explain(doc))
        for field in fields:
            assert str(replica.explain(doc, field))
            replica.candidates(doc, field)
    assert not list(replica.invalid())
    return seen


@Settings(max_examples=25)
@given(st.tuples(merging, merging, merging), histories)
def test_nothing_stops_anybody(clash: tuple[Any, ...], history: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        replicas = [stack.enter_context(memory(seed, Doc, Other)) for seed in (1, 2, 3)]
        replicas[0].create(Doc, title="shared", body="one\ntwo", merged=[1], code="x")
        for other in replicas[1:]:
            exchange(replicas[0], other)
        for *done, meetings in ([*(("update", given_) for given_ in clash), ()], *history):
            for replica, (what, given_) in zip(replicas, done, strict=True):
                act(replica, what, given_)
            for at in sorted(meetings):
                assert exchange(replicas[at], replicas[at - 1]).proven_equal
        replicas[2].create(Other, title="unrelated")
        with on_disk(Path(folder), Doc, Other) as disk:
            for one, two in ((0, 1), (1, 2), (0, 1)):
                assert exchange(replicas[one], replicas[two]).proven_equal
            assert exchange(replicas[0], disk).proven_equal
            assert disk.count(Other, title="unrelated") == 1
            pictures = [look(replica)[2:] for replica in (*replicas, disk)]
            assert all(sorted(picture) == sorted(pictures[0]) for picture in pictures)
        with on_disk(Path(folder), Doc, Other, seed=9) as disk:
            assert sorted(look(disk)[2:]) == sorted(pictures[0])


@Settings(max_examples=3)
@given(st.lists(nested | large, min_size=16, max_size=16), lines)
def test_sixteen_authors_at_once(given_: list[Any], text: str) -> None:
    with ExitStack() as stack:
        replicas = [stack.enter_context(memory(seed, Doc, Other)) for seed in range(16)]
        made = replicas[0].create(Doc, title="shared", body="one\ntwo")
        for other in replicas[1:]:
            exchange(replicas[0], other)
        for number, (replica, value) in enumerate(zip(replicas, given_, strict=True)):
            doc = replica.get(Doc, made.id)
            for field in ("plain", "asked", "merged", "answered", "early"):
                act_on(replica, doc, field, value)
            act_on(replica, doc, "body", f"{text}{number}\none\ntwo" if number % 2 else f"one\ntwo\n{number}{text}")
            act_on(replica, doc, "pages", {"p": value})
        replicas[-1].create(Other, title="unrelated")
        for _ in range(2):
            for other in replicas[1:]:
                assert exchange(replicas[0], other).proven_equal
        pictures = [look(replica) for replica in (replicas[0], replicas[15])]
        assert len({repr(picture[2:]) for picture in pictures}) == 1
        assert all(replica.count(Other) == 1 for replica in replicas)


def act_on(replica: Replica, doc: Doc, field: str, value: Any) -> None:
    try:
        replica.update(doc, **{field: value})
    except CRDTSyncError as error:
        assert error.hint  # noqa: PT017  as above
