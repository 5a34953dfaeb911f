"""Names what a replica holds: a fingerprint of all documents of a partition, and a hash of a state vector.

Both are plain hashes over sorted lists. Sums and XORs of hashes could be updated in place, but can be forged.

    fingerprint = first 16 bytes of blake3((length of key, key, version)...)
    vector hash = first 16 bytes of blake3((author, sequence, chain hash)...)

each in the key context that the code names; the length in one byte, the author in 5 and the sequence in 8
(big-endian), versions of 16 and chain hashes of 32.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.version import VERSION_BYTES, Version

FINGERPRINT_BYTES = 16
CHAIN_HASH_BYTES = 32
_CHUNK_BYTES = 64 * 1024


def fingerprint(pairs: Iterable[tuple[DocumentKey, Version]]) -> bytes:
    """Name the documents of a partition (16 bytes).

    Args:
        pairs: (key, version) of every document, in strictly ascending order of keys.

    Raises:
        ValueError: the pairs are not in order, or a version has another length.
    """
    digest = blake3(derive_key_context="crdt_sync 2026 fingerprint")
    out = bytearray()
    previous = b""
    for key, version in pairs:
        if key <= previous or len(version) != VERSION_BYTES:
            raise ValueError("a fingerprint needs (key, version) pairs in ascending order of keys")
        out.append(len(key))
        out += key
        out += version
        previous = key
        if len(out) > _CHUNK_BYTES:
            digest.update(out)
            out.clear()
    return digest.update(out).digest(FINGERPRINT_BYTES)


def vector_hash(positions: Iterable[tuple[Author, int, ChainHash]]) -> bytes:
    """Name one partition's state vector (16 bytes), given as (author, sequence, chain hash) in any order.

    Raises:
        ValueError: an author is named twice, or a hash has another length.
    """
    out = bytearray()
    previous = 0
    for author, sequence, chain_hash in sorted(positions):
        if author <= previous or len(chain_hash) != CHAIN_HASH_BYTES:
            raise ValueError("a vector hash needs each author once, with a chain hash")
        out += author.to_bytes(5, "big")
        out += sequence.to_bytes(8, "big")
        out += chain_hash
        previous = author
    return blake3(out, derive_key_context="crdt_sync 2026 vector").digest(FINGERPRINT_BYTES)
