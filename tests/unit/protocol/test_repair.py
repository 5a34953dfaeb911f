"""Fingerprints that differ at equal vectors: listing, asking, and what happens if that does not help."""

from __future__ import annotations

import pytest

from crdt_sync.core.ids import DocumentKey
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.events import AllProven, ContentDiffers, DocumentsReceived
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.states import Phase
from tests.unit.protocol.replicas import FakeReplica, Pair, key_of

SMALL_PAGES = WireLimits(listing_page_keys=7, want_page_keys=3, batch_bytes_max=200)


def damaged(*, lost: int, changed: int, total: int = 60) -> tuple[FakeReplica, FakeReplica]:
    left, right = FakeReplica(1), FakeReplica(2)
    left.write(*[f"k{index}=value {index}" for index in range(total)])
    Pair(left, right).settle()
    keys = sorted(right.documents)
    for key in keys[:lost]:
        del right.documents[key]
    for key in keys[total - changed :]:
        right.documents[key] = b"old"
    return left, right


@pytest.mark.parametrize("limits", [WireLimits(), SMALL_PAGES])
@pytest.mark.parametrize(("lost", "changed"), [(1, 0), (0, 1), (5, 20), (60, 0)])
def test_what_differs_is_found_and_fetched(limits: WireLimits, lost: int, changed: int) -> None:
    left, right = damaged(lost=lost, changed=changed)
    expected = tuple(sorted(left.documents)[:lost] + sorted(left.documents)[60 - changed :])
    pair = Pair(left, right, limits=limits)
    pair.settle()
    for end in pair.ends():
        assert end.of(ContentDiffers) == [ContentDiffers(partition="", keys=expected)]
        assert end.session.state is Phase.LIVE
        assert end.of(AllProven) == [AllProven(token=None)]
    assert pair.equal()
    fetched = [key for event in pair.right.seen if isinstance(event, DocumentsReceived) for key, _ in event.documents]
    assert sorted(fetched) == sorted(expected)


def test_two_partitions_are_repaired_at_once() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    for partition in ("", "p"):
        left.write("a=1", "b=1", partition=partition)
    Pair(left, right).settle()
    for partition in ("", "p"):
        del right.documents[key_of("a", partition)]
    pair = Pair(left, right)
    pair.settle()
    assert pair.equal()
    assert pair.right.session.state is Phase.LIVE


def test_content_that_only_one_side_has_goes_to_the_other() -> None:
    left, right = damaged(lost=1, changed=0)
    right.documents[key_of("stray")] = b"nobody wrote this"
    pair = Pair(left, right)
    pair.settle()
    assert left.documents == right.documents
    assert pair.left.session.state is Phase.LIVE


def test_a_host_that_derives_anew_needs_nothing_from_the_peer() -> None:
    left, right = damaged(lost=0, changed=3)
    pair = Pair(left, right)
    whole = dict(left.documents)
    pair.right.session.repaired = _deriving(pair, whole)  # type: ignore[method-assign]  # the test takes a method's place
    pair.settle()
    assert pair.equal()
    content = [event.documents for event in pair.right.seen if isinstance(event, DocumentsReceived)]
    assert [item for documents in content for item in documents] == []


def _deriving(pair: Pair, whole: dict[DocumentKey, bytes]):  # type: ignore[no-untyped-def]  # a closure of the fixture's own types
    original = pair.right.session.repaired

    def repaired(partition: str) -> None:
        pair.right.replica.documents = dict(whole)
        original(partition)

    return repaired


def test_a_repair_in_live_is_started_by_a_proof_request() -> None:
    left, right = damaged(lost=0, changed=0)
    pair = Pair(left, right)
    pair.settle()
    del right.documents[key_of("k3")]
    token = pair.right.session.request_proof()
    pair.settle()
    assert pair.equal()
    assert pair.right.of(AllProven)[-1] == AllProven(token=token)
    assert pair.left.session.state is Phase.LIVE


def test_edits_during_a_repair_do_not_disturb_it() -> None:
    left, right = damaged(lost=10, changed=10)
    pair = Pair(left, right, limits=SMALL_PAGES)
    for index in range(30):
        end = pair.ends()[index % 2]
        end.replica.write(f"k{index}=zz{index}")
        end.session.wake()
        pair.flight()
        pair.tick(50)
    pair.settle()
    pair.tick()
    pair.settle()
    assert pair.equal()
    assert pair.left.ended is None
    assert pair.left.session.state is Phase.LIVE


def test_two_sides_that_never_agree_stop_after_the_allowed_rounds() -> None:
    left, right = damaged(lost=0, changed=0)
    lies = iter(range(1000))
    right.fingerprint = lambda partition: next(lies).to_bytes(16, "big")  # type: ignore[method-assign]  # the test takes a method's place
    pair = Pair(left, right)
    pair.settle()
    ended = [end.ended for end in pair.ends()]
    assert {event.code for event in ended if event is not None} == {ErrorCode.NOT_CONVERGING}
    assert None not in ended


def test_repaired_is_only_for_what_was_asked() -> None:
    pair = Pair(*damaged(lost=0, changed=0))
    pair.settle()
    with pytest.raises(LocalProtocolError):
        pair.left.session.repaired("")


def test_a_repair_is_over_when_the_last_of_its_batches_is_durable() -> None:
    left, right = damaged(lost=20, changed=20)
    pair = Pair(left, right, limits=WireLimits(batch_bytes_max=200))
    while not pair.right.of(DocumentsReceived):
        pair.right.hold = bool(pair.right.of(ContentDiffers))
        assert pair.flight()
    for _ in range(10):
        pair.flight()
    assert len(pair.right.held) > 2
    computed = right.fingerprints_computed
    held, pair.right.held = pair.right.held, []
    for event in held:
        assert right.fingerprints_computed == computed
        pair.right.held = [event]
        pair.right.persist()
    pair.right.hold = False
    pair.settle()
    assert pair.equal()
    assert len(pair.right.of(ContentDiffers)) == 1
    assert pair.left.session.state is Phase.LIVE


def test_documents_are_given_only_after_they_were_derived_anew() -> None:
    left, right = damaged(lost=3, changed=0)
    pair = Pair(left, right)
    pair.left.repair_at_once = False
    pair.settle()
    assert pair.left.of(ContentDiffers) != []
    assert pair.right.of(DocumentsReceived) == []
    pair.left.session.repaired("")
    pair.settle()
    assert pair.equal()
    assert pair.left.session.state is Phase.LIVE
