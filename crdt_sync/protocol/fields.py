"""Fields of messages as they come from anybody: each checked for its type, range and size, or `PeerError`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from crdt_sync.core.ids import AUTHOR_MAX, Author, DocumentKey
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.wire import unpack

COUNT_MAX = 2**53
DOCUMENT_KEY_BYTES_MAX = 2 * (ENTRY_LIMITS.name_bytes_max + 1) + 16
DOCUMENT_KEY_BYTES_MIN = 2 + 1 + 16


def exactly(items: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """As many fields as the message has."""
    if len(items) != count:
        raise PeerError(ErrorCode.MALFORMED, "a message with more or fewer fields than it has")
    return items


def integer(value: Any, most: int, *, least: int = 0) -> int:
    """A number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise PeerError(ErrorCode.MALFORMED, "a number out of range")
    return value


def author_number(value: Any) -> Author:
    """An author."""
    return Author(integer(value, AUTHOR_MAX, least=1))


def sized(value: Any, size: int) -> bytes:
    """A byte string of one length."""
    if type(value) is not bytes or len(value) != size:
        raise PeerError(ErrorCode.MALFORMED, "a byte string of the wrong length")
    return value


def bounded(value: Any, most: int) -> bytes:
    """A byte string up to a length."""
    if type(value) is not bytes:
        raise PeerError(ErrorCode.MALFORMED, "something else than a byte string")
    if len(value) > most:
        raise PeerError(ErrorCode.TOO_LARGE, "a byte string longer than allowed")
    return value


def document(value: Any) -> DocumentKey:
    """An address of a document, by its size."""
    if type(value) is not bytes or not DOCUMENT_KEY_BYTES_MIN <= len(value) <= DOCUMENT_KEY_BYTES_MAX:
        raise PeerError(ErrorCode.MALFORMED, "bytes that are no document address")
    return DocumentKey(value)


def text_line(value: Any, limits: WireLimits) -> str:
    """A short text; characters that are not printable are replaced."""
    if not isinstance(value, str) or len(value) > limits.text_chars_max:
        raise PeerError(ErrorCode.MALFORMED, "a text of the wrong shape")
    return "".join(char if char.isprintable() else "?" for char in value)


def boolean(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise PeerError(ErrorCode.MALFORMED, "something else than true or false")
    return value


def one_count(payload: bytes) -> int:
    """The payload of a message that is one number from 1."""
    (value,) = exactly(unpack(payload, items_max=1), 1)
    return integer(value, COUNT_MAX, least=1)


def flattened(documents: Iterable[tuple[DocumentKey, bytes]]) -> Iterator[bytes]:
    """What `pairs` reads."""
    return (item for pair in documents for item in pair)


def pairs(items: tuple[Any, ...], bytes_max: int) -> tuple[tuple[DocumentKey, bytes], ...]:
    """Documents, each followed by a byte string."""
    if len(items) % 2:
        raise PeerError(ErrorCode.MALFORMED, "documents that do not add up")
    both = zip(items[::2], items[1::2], strict=True)
    return tuple([(document(key), bounded(data, bytes_max)) for key, data in both])
