"""What proofs keep and say is bounded, whatever a peer says and however long vectors stay apart."""

from __future__ import annotations

import pytest

from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.comparing import Fingerprint
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.proofs import Comparison, Proofs
from crdt_sync.protocol.vectors import vector_hash
from tests.unit.protocol.replicas import FakeReplica

SAID_MAX, MISSES_MAX = 4, 64


def heard(vector: bytes, *, partition: str = "", token: int = 0) -> Fingerprint:
    return Fingerprint(partition=partition, vector_hash=vector, fingerprint=bytes(16), token=token)


def test_a_peer_cannot_have_us_remember_any_number_of_partitions() -> None:
    proofs = Proofs(FakeReplica(1), WireLimits(partitions_max=2))
    for name in ("a", "b"):
        proofs.receive(heard(bytes(8), partition=name))
    proofs.receive(heard(bytes(8), partition="a"))
    with pytest.raises(PeerError) as caught:
        proofs.receive(heard(bytes(8), partition="c"))
    assert caught.value.error_code is ErrorCode.TOO_LARGE


def test_a_pause_lies_between_two_fingerprints_while_everything_changes() -> None:
    source = FakeReplica(1)
    proofs = Proofs(source, WireLimits(proof_pause_ms_max=100))
    for now_ms in range(1_000):
        source.write(f"a={now_ms}")
        proofs.advance("", ready=True, now_ms=now_ms)
    assert 10 <= source.fingerprints_computed <= 20
    assert proofs.reconsider_ms() is not None


def test_of_all_that_was_said_only_the_latest_is_remembered() -> None:
    source = FakeReplica(1)
    proofs = Proofs(source, WireLimits())
    vectors: list[bytes] = []
    for number in range(10):
        source.write(f"a={number}")
        proofs.advance("", ready=True, now_ms=number * 10_000)
        vectors.append(vector_hash(source.vector()[""])[:8])

    def answer(vector: bytes) -> Comparison:
        proofs.receive(heard(vector))
        return proofs.advance("", ready=False, now_ms=0).comparison

    assert [answer(vector) for vector in vectors[-SAID_MAX:]] == [Comparison.DIFFERENT] * SAID_MAX
    assert [answer(vector) for vector in vectors[:-SAID_MAX]] == [Comparison.NONE] * 6


def test_what_was_heard_and_is_not_wanted_is_forgotten_after_a_while() -> None:
    source = FakeReplica(1)
    proofs = Proofs(source, WireLimits())
    source.write("a=1")
    proofs.advance("", ready=True, now_ms=0)
    said = proofs.next_fingerprint()
    assert said is not None
    proofs.receive(said)
    assert proofs.advance("", ready=True, now_ms=0).comparison is Comparison.EQUAL
    proofs.wanted = False
    proofs.receive(heard(b"nowhere!"))
    for _ in range(MISSES_MAX):
        proofs.advance("", ready=True, now_ms=0)
        assert proofs.partitions() == ("",)
    proofs.advance("", ready=True, now_ms=0)
    assert proofs.partitions() == ()
