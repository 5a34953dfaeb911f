"""Names what a replica holds: a fingerprint of all documents of a partition.

It is a plain hash over a sorted list. Sums and XORs of hashes could be updated in place, but can be forged.

    fingerprint = first 16 bytes of blake3((length of key, key, version)...)

in the key context that the code names; the length in one byte, versions of 16.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.version import VERSION_BYTES, Version

FINGERPRINT_BYTES = 16
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
