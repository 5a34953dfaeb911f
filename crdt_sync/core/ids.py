"""Identifiers: who wrote (author, device, replica) and where it belongs (partition, model, record)."""

from __future__ import annotations

import base64
import uuid
from functools import lru_cache
from typing import NewType

from blake3 import blake3

from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import InputError, MalformedEntryError

Author = NewType("Author", int)
"""A leased engine client id, 1 <= author < 2**35 (five bytes as a varint)."""

DeviceId = NewType("DeviceId", str)
"""Base32 of a blake3 of the device's Ed25519 public key, in groups of four."""

RecordId = NewType("RecordId", str)
"""A UUID in its canonical 36 characters."""

DocumentKey = NewType("DocumentKey", bytes)
"""Address of a document: length-prefixed partition, length-prefixed model, 16 bytes of record id."""

AUTHOR_MAX = 2**35 - 1
AUTHOR_TEXT_LENGTH = 6
DEFAULT_PARTITION = ""

_UUID_DIGITS = 32
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES = {byte: index for index, byte in enumerate(_ALPHABET)}


def author_of(public_key: bytes, salt: bytes) -> Author:
    """The author that a device gets from a salt (8 random bytes); never 0, which engines treat as unset.

    An author follows from its device's key, so that nobody can bind somebody else's author to a key of their own
    without searching for a collision of 35 bits.
    """
    digest = blake3(public_key + salt, derive_key_context="crdt_sync 2026 author").digest(8)
    return Author(int.from_bytes(digest, "big") % AUTHOR_MAX + 1)


@lru_cache(maxsize=1024)
def author_text(author: Author) -> str:
    """Write an author as the six characters used in map keys (36 bits, big-endian, URL-safe base64 digits)."""
    return bytes(_ALPHABET[(author >> shift) & 63] for shift in (30, 24, 18, 12, 6, 0)).decode("ascii")


def parse_author_text(text: str) -> Author:
    """Read six characters as an author.

    Raises:
        MalformedEntryError: not six digits of the alphabet, or out of range.
    """
    value = 0
    raw = text.encode("utf-8", "replace")
    if len(raw) != AUTHOR_TEXT_LENGTH:
        raise MalformedEntryError("an author in a key has six characters")
    for byte in raw:
        digit = _VALUES.get(byte)
        if digit is None:
            raise MalformedEntryError("an author in a key has characters outside of its alphabet")
        value = value << 6 | digit
    if not 1 <= value <= AUTHOR_MAX:
        raise MalformedEntryError("an author in a key is out of range")
    return Author(value)


@lru_cache(maxsize=1024)
def device_id(public_key: bytes) -> DeviceId:
    """Name a device by its Ed25519 public key (32 bytes): 80 bits in four groups of four, for people to compare."""
    digest = blake3(public_key, derive_key_context="crdt_sync 2026 device id").digest(10)
    text = base64.b32encode(digest).decode("ascii").lower()
    return DeviceId("-".join(text[start : start + 4] for start in range(0, 16, 4)))


def record_id(value: str | uuid.UUID) -> RecordId:
    """Check and normalise a record id.

    Raises:
        InputError: it is not a UUID.
    """
    if isinstance(value, uuid.UUID):
        return RecordId(str(value))
    try:
        return RecordId(str(uuid.UUID(value)))
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            "a record id must be a UUID", hint="Copy the id from `crdt-sync list`, or take record.id."
        ) from None


def natural_record_id(model: str, key_bytes: bytes) -> RecordId:
    """Derive the id of a record with a natural key, so that two devices creating it create one document.

    Args:
        model: the model's name.
        key_bytes: canonical encoding of the key's values, in declared order.
    """
    digest = blake3(len(model.encode()).to_bytes(2, "big") + model.encode() + key_bytes).digest(16)
    number = int.from_bytes(digest, "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # RFC 9562: version 8 (custom) ...
    number = number & ~(0x3 << 62) | 0x2 << 62  # ... and the variant bits
    return RecordId(str(uuid.UUID(int=number)))


def document_key(partition: str, model: str, record: RecordId) -> DocumentKey:
    """Pack an address.

    Raises:
        MalformedEntryError: a name is empty (model) or longer than the space allows.
    """
    return DocumentKey(_checked_prefix(partition, model) + bytes.fromhex(record.replace("-", "")))


@lru_cache(maxsize=256)
def _checked_prefix(partition: str, model: str) -> bytes:
    limit = ENTRY_LIMITS.name_bytes_max
    if not model or len(model.encode()) > limit or len(partition.encode()) > limit:
        raise MalformedEntryError(f"names of partitions and models have at most {limit} bytes")
    return model_prefix(partition, model)


@lru_cache(maxsize=4096)
def split_document_key(key: bytes) -> tuple[str, str, RecordId]:
    """Unpack an address into (partition, model, record id).

    Raises:
        MalformedEntryError: the bytes are not an address.
    """
    try:
        end = 1 + key[0]
        partition = key[1:end].decode()
        model_end = end + 1 + key[end]
        model = key[end + 1 : model_end].decode()
        digits = key[model_end:].hex()
    except (IndexError, ValueError):
        raise MalformedEntryError("bytes that are no document address") from None
    if not model or len(digits) != _UUID_DIGITS:
        raise MalformedEntryError("a document address without a model, or without a record id")
    return partition, model, _uuid_text(digits)


def _uuid_text(digits: str) -> RecordId:
    return RecordId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


def model_prefix(partition: str, model: str) -> bytes:
    """The common prefix of all addresses of one model in one partition."""
    partition_bytes, model_bytes = partition.encode(), model.encode()
    return bytes((len(partition_bytes),)) + partition_bytes + bytes((len(model_bytes),)) + model_bytes
