"""Documents that entries wait for are asked for once, of one partition at a time, and what waited is sent again."""

from __future__ import annotations

import pytest

from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.protocol.codes import PeerError
from crdt_sync.protocol.comparing import Documents
from crdt_sync.protocol.fetching import Fetching
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Lacking
from tests.unit.protocol.replicas import FakeReplica, Pair, key_of

LIMITS = WireLimits(want_page_keys=2)
AUTHOR = Author(7)


def lacking(name: str, *, sequence: int = 1, partition: str = "") -> Lacking:
    return Lacking(key_of(name, partition), AUTHOR, sequence)


def answer(*names: str, partition: str = "", final: bool = True) -> Documents:
    return Documents(
        partition=partition, final=final, documents=tuple((key_of(name, partition), b"x") for name in names)
    )


def wanted(fetching: Fetching) -> list[DocumentKey] | None:
    want = fetching.next_want()
    return None if want is None else [key for key, _ in want.documents]


def test_requests_go_one_at_a_time_by_partition_and_page() -> None:
    fetching = Fetching(FakeReplica(1), LIMITS)
    assert wanted(fetching) is None
    fetching.need([lacking(name) for name in "abc"])
    fetching.need([lacking("d", partition="p")])
    assert wanted(fetching) == [key_of("a"), key_of("b")]
    assert wanted(fetching) is None
    fetching.receive_documents(answer("a", final=False), 1)
    assert not fetching.persisted(1)
    fetching.receive_documents(answer("b"), 2)
    assert wanted(fetching) is None
    assert not fetching.persisted(2)
    assert wanted(fetching) == [key_of("c")]
    fetching.receive_documents(answer(), 3)
    assert not fetching.persisted(3)
    assert wanted(fetching) == [key_of("d", "p")]
    fetching.receive_documents(answer(partition="p"), 4)
    assert fetching.persisted(4)
    assert not fetching.asked


def test_nothing_is_sent_again_where_the_peer_has_nothing() -> None:
    fetching = Fetching(FakeReplica(1), LIMITS)
    fetching.need([lacking("a")])
    assert wanted(fetching) == [key_of("a")]
    fetching.receive_documents(answer(), 1)
    assert not fetching.persisted(1)


def test_for_one_entry_a_document_is_asked_for_once() -> None:
    fetching = Fetching(FakeReplica(1), LIMITS)
    for sequence, expected in ((1, [key_of("a")]), (1, None), (2, [key_of("a")])):
        fetching.need([lacking("a", sequence=sequence)])
        assert wanted(fetching) == expected
        if expected:
            fetching.receive_documents(answer("a"), sequence)
            fetching.persisted(sequence)


def test_answers_hold_what_was_asked_for() -> None:
    fetching = Fetching(FakeReplica(1), LIMITS)
    fetching.need([lacking("a")])
    fetching.next_want()
    with pytest.raises(PeerError):
        fetching.receive_documents(answer("b"), 1)
    fetching.receive_documents(answer("a"), 1)
    with pytest.raises(PeerError):
        fetching.receive_documents(answer("a"), 2)


def test_it_takes_turns_with_repairs() -> None:
    """A side that lacks a document for an entry asks for it while documents of two partitions differ."""
    left, right = FakeReplica(1), FakeReplica(2)
    for partition in ("", "p"):
        left.write(*[f"{name}=1" for name in "abc"], partition=partition)
    Pair(left, right).settle()
    for partition in ("", "p"):
        del right.documents[key_of("a", partition)]
    pair = Pair(left, right, limits=LIMITS)
    pair.flight()
    pair.right.session._reconciling._fetching.need([lacking("b"), lacking("c", partition="p")])
    pair.settle()
    assert pair.left.ended is pair.right.ended is None
    assert pair.equal()
