"""Names of devices: a kind of signed space record by which a device says what people call it.

A name is the device's own word: others may choose the same one, so it is shown together with a part of the device id.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from blake3 import blake3

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.errors import InputError, MalformedEntryError

NAME: Final = 4
"""Number of the kind of record."""
NAME_CHARS_MAX: Final = 64
NAME_BYTES_MAX: Final = 4 * NAME_CHARS_MAX
"""What as many characters take in UTF-8 at most."""
NUMBER_MAX: Final = 2**53 - 1
SHORT_ID_CHARS: Final = 4
_KEY_BYTES, _SIGNATURE_BYTES, _SPACE_BYTES = 32, 64, 32
_HINT: Final = f"A name has 1 to {NAME_CHARS_MAX} printable characters."


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecord:
    """What a device calls itself.

    Of several of one device the one with the highest number holds, and the others are not kept: however often a device
    changes its name, it takes one record. So nothing may name such a record as its parent, and it has none.

    Args:
        space: 32 bytes.
        number: one more than that of the latest name that the device knows of itself, so a later name ranks higher.
        name: what people call the device.
        public_key: 32 bytes, of the device; nobody names another one.
        signature: 64 bytes over `statement`.
    """

    space: bytes
    number: int
    name: str
    public_key: bytes
    signature: bytes = b""

    @property
    def kind(self) -> int:
        """Its number among the kinds of record."""
        return NAME

    @property
    def parents(self) -> tuple[bytes, ...]:
        """None: see above."""
        return ()

    def fields(self) -> tuple[Any, ...]:
        """What is signed, in order."""
        return (NAME, self.space, self.number, self.name, self.public_key)

    def statement(self) -> bytes:
        """The bytes that the device signs."""
        packed: bytes = msgpack.packb(self.fields())
        return b"crdt_sync record 0\0" + packed

    def hash(self) -> bytes:
        """The record's id (16 bytes)."""
        return blake3(self.statement()).digest(RECORD_HASH_BYTES)

    def rank(self) -> tuple[int, bytes]:
        """The greatest of a device's names holds; a device that was cloned may give one number twice."""
        return (self.number, self.hash())


def read_name(raw: tuple[Any, ...]) -> NameRecord:
    """A name from its unpacked fields and signature.

    What is printable differs between versions of Unicode, and every replica must judge a record alike: so only control
    characters are refused here, and who shows a name sees to the rest.

    Raises:
        MalformedEntryError, ValueError, TypeError: it is none.
    """
    _, space, number, name, public_key, signature = raw
    shapes = ((space, _SPACE_BYTES), (public_key, _KEY_BYTES), (signature, _SIGNATURE_BYTES))
    if any(type(item) is not bytes or len(item) != size for item, size in shapes):
        raise MalformedEntryError("a space record of the wrong shape")
    if type(number) is not int or not 1 <= number <= NUMBER_MAX:
        raise MalformedEntryError("a name with a number out of range")
    if type(name) is not str or not 1 <= len(name.encode()) <= NAME_BYTES_MAX or any(map(_is_control, name)):
        raise MalformedEntryError("a name that no device can have")
    return NameRecord(space=space, number=number, name=name, public_key=public_key, signature=signature)


def checked_name(name: object) -> str:
    """A name that a device may take, in Unicode's composed form (NFC), without spaces around it.

    Raises:
        InputError: it is none.
    """
    if not isinstance(name, str):
        raise InputError(f"the name of a device is a str, not a {type(name).__name__}", hint=_HINT)
    composed = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(composed) <= NAME_CHARS_MAX or not composed.isprintable():
        raise InputError(f"{name[: 2 * NAME_CHARS_MAX]!r} is no name for a device", hint=_HINT)
    return composed


def label_of(device: str, name: str | None) -> str:
    """A device as people are told of it: ``phone (k7qd…)``; the whole id where it has no name."""
    return f"{name} ({device[:SHORT_ID_CHARS]}…)" if name else device


def _is_control(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f"
