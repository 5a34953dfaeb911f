from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.fingerprint import FINGERPRINT_BYTES, fingerprint
from crdt_sync.core.ids import DocumentKey
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


def test_many_documents_are_hashed_in_pieces() -> None:
    documents = {number.to_bytes(40, "big"): bytes(16) for number in range(5000)}
    changed = {**documents, (17).to_bytes(40, "big"): bytes(15) + b"\1"}
    assert fingerprint_of(documents) == fingerprint_of(dict(documents)) != fingerprint_of(changed)


def test_wrong_order_is_a_mistake_of_the_caller() -> None:
    pair = (DocumentKey(b"a"), Version(bytes(16)))
    for pairs in ([pair, pair], [(DocumentKey(b"b"), Version(bytes(16))), pair], [(DocumentKey(b"c"), Version(b"x"))]):
        with pytest.raises(ValueError, match="ascending"):
            fingerprint(pairs)
