from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.fingerprint import FINGERPRINT_BYTES, fingerprint, vector_hash
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.version import Version

DOCUMENTS = st.dictionaries(st.binary(min_size=1, max_size=60), st.binary(min_size=16, max_size=16), max_size=6)


def fingerprint_of(documents: dict[bytes, bytes]) -> bytes:
    return fingerprint((DocumentKey(key), Version(value)) for key, value in sorted(documents.items()))


@given(DOCUMENTS, DOCUMENTS)
def test_equal_exactly_where_the_documents_are(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    assert (fingerprint_of(one) == fingerprint_of(other)) == (one == other)


def test_is_pinned() -> None:
    assert len(fingerprint_of({})) == FINGERPRINT_BYTES
    assert fingerprint_of({}).hex() == "16743734a361124e3fde46edd2224cac"
    assert fingerprint_of({b"a": bytes(16), b"b": bytes(16)}).hex() == "98d1cbcb1b431a88e701d85075ab9df1"
    assert vector_hash([(Author(7), 3, ChainHash(bytes(32)))]).hex() == "ebbb86cb1595f4880be9c8296ab3a7cc"


def test_many_documents_are_hashed_in_pieces() -> None:
    documents = {number.to_bytes(40, "big"): bytes(16) for number in range(5000)}
    changed = {**documents, (17).to_bytes(40, "big"): bytes(15) + b"\1"}
    assert fingerprint_of(documents) == fingerprint_of(dict(documents)) != fingerprint_of(changed)


def test_wrong_order_is_a_mistake_of_the_caller() -> None:
    pair = (DocumentKey(b"a"), Version(bytes(16)))
    for pairs in ([pair, pair], [(DocumentKey(b"b"), Version(bytes(16))), pair], [(DocumentKey(b"c"), Version(b"x"))]):
        with pytest.raises(ValueError, match="ascending"):
            fingerprint(pairs)


class TestVectorHash:
    def test_order_does_not_matter_and_every_part_does(self) -> None:
        one, two = (Author(1), 5, ChainHash(bytes(32))), (Author(2**35 - 1), 6, ChainHash(b"\1" * 32))
        assert vector_hash([one, two]) == vector_hash([two, one])
        others = [
            [one],
            [two],
            [],
            [one, (two[0], 7, two[2])],
            [one, (two[0], 6, one[2])],
            [one, (Author(3), 6, two[2])],
        ]
        assert len({vector_hash(positions) for positions in ([one, two], *others)}) == len(others) + 1

    def test_an_author_has_one_position(self) -> None:
        with pytest.raises(ValueError, match="once"):
            vector_hash([(Author(1), 5, ChainHash(bytes(32))), (Author(1), 6, ChainHash(bytes(32)))])
        with pytest.raises(ValueError, match="hash"):
            vector_hash([(Author(1), 5, ChainHash(bytes(8)))])
