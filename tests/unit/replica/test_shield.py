"""A field that cannot be read, whatever the mistake, stops neither sync nor opening nor anything else of its record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import List, Map, Model, Replica, Set, ask, three_way
from crdt_sync.core.content import Content
from crdt_sync.core.kinds import ListKind, MapKind, SetKind
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.errors import (
    CorruptStoreError,
    CRDTSyncError,
    LimitError,
    MalformedEntryError,
    StoreError,
    UnrepresentableValueError,
)
from crdt_sync.replica.shield import Shield
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk


class Doc(Model, unique=("name",)):
    name: str = ""
    title: str = ""
    body: str = three_way(default="")
    day: str = ask(default="")
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, str]


MISTAKES: list[BaseException] = [
    MalformedEntryError("bytes that are no value"),
    LimitError("too large"),
    UnrepresentableValueError("odd"),
    ValueError("odd"),
    TypeError("odd"),
    RecursionError(),
    KeyError("x"),
    ZeroDivisionError(),
    OverflowError(),
]


def planted(error: BaseException, before: Callable[..., Any], wanted: str = "bad") -> Callable[..., Any]:
    """A method of a kind that fails where the kind's field holds what it must not."""

    def fail(kind: Any, content: Content, *more: Any) -> Any:
        found = before(kind, content, *more)
        if wanted in repr(found):
            raise type(error)(*error.args)
        return found

    return fail


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
def test_sync_opening_and_all_else_go_on(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in (PlainRegister, CausalRegister, SetKind, ListKind, MapKind):
        monkeypatch.setattr(kind, "read", planted(error, kind.read))
    monkeypatch.setattr(CausalRegister, "clashes", planted(error, CausalRegister.clashes))
    monkeypatch.setattr(CausalRegister, "settlings", planted(error, lambda *_: ["bad"]))
    bad: dict[str, Any] = {"title": "bad", "body": "bad", "tags": {"bad"}, "steps": ["bad"], "prefs": {"k": "bad"}}
    with memory(1, Doc) as left, memory(2, Doc) as right:
        with on_disk(tmp_path, Doc) as third:
            mine = left.create(Doc, name="bad", day="1")
            exchange(left, right)
            yours = right.get(Doc, mine.id)
            left.update(mine, body="x", day="bad")
            right.update(yours, **bad, name="bad")
            right.create(Doc, title="other")
            third.create(Doc, name="bad")
            left.create(Doc, name="twin", title="one")
            third.create(Doc, name="twin", **bad)
            for one, other in ((left, right), (right, third), (left, third)):
                assert exchange(one, other).proven_equal
            check(left, mine.id)
            check(third, mine.id)
            third.get(Doc, mine.id).day = "2"
            assert exchange(left, third).proven_equal
        with on_disk(tmp_path, Doc, seed=3) as third:
            check(third, mine.id)
            third.update(third.get(Doc, mine.id), title="mended", body="mended")
            assert third.get(Doc, mine.id).title == "mended"
            assert exchange(left, third).proven_equal
    assert any("cannot be derived" in record.getMessage() for record in caplog.records)
    told = [record.getMessage() for record in caplog.records if "cannot be derived" in record.getMessage()]
    assert len(told) < 60


def check(replica: Replica, record: str) -> None:
    assert replica.count(Doc) >= 2
    assert replica.find(Doc, title="other")
    replica.conflicts()
    assert {"title", "tags", "steps", "prefs"} <= {item.field for item in replica.invalid(Doc)}
    found = replica.get(Doc, record)
    assert found.title == "bad"
    assert list(replica.history(found))


@pytest.mark.parametrize("error", [CorruptStoreError("x"), StoreError("x"), MemoryError(), KeyboardInterrupt()])
def test_what_is_no_matter_of_a_record_is_raised(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise error

    with pytest.raises(type(error)):
        Shield("Doc").call(fail, otherwise=None, what="it")
    with pytest.raises(type(error)):
        Shield("Doc").failure(fail)
    assert not caplog.records


def test_each_mistake_is_logged_once_and_without_what_the_record_holds(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> str:
        raise CRDTSyncError("secret")

    shield = Shield("Doc")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert shield.call(fail, otherwise="stored", what="field 'body'") == "stored"
        shield.call(fail, otherwise="", what="field 'title'")
    assert [record.getMessage() for record in caplog.records] == [
        f"{what} of a Doc cannot be derived (CRDTSyncError); all else goes on"
        for what in ("field 'body'", "field 'title'")
    ]
    assert shield.failure(fail) == "CRDTSyncError"
    assert shield.failure(lambda: 5) == ""
