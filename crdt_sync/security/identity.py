"""A device's cryptographic identity: one Ed25519 key (RFC 8032) that signs its runs, records and handshakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from crdt_sync.core.ids import DeviceId, device_id
from crdt_sync.core.peer import PUBLIC_KEY_BYTES

SEED_BYTES = 32
SIGNATURE_BYTES = 64

_PRIME = 2**255 - 19
# The y of the two pairs of points of order 8: the root of d*y**4 + 2*y**2 - 1 = 0, d of RFC 8032 section 5.1. Doubling
# such a point gives y = 0, a point of order 4. A test derives the numbers again.
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset((0, 1, _PRIME - 1, _PRIME, _PRIME + 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8))
_remembered: ContextVar[dict[tuple[bytes, bytes, bytes], bool] | None] = ContextVar("signatures", default=None)
"""Key, statement and signature → whether it holds; None where nothing is remembered."""


class DeviceKey:
    """The secret half of a device's identity; make it with `generate`.

    Invariants:
        1. The same seed always gives the same key, device id and signatures.
        2. Neither ``repr`` nor pickling gives the secret away; `seed` is the one way to it.
    """

    __slots__ = ("_device_id", "_private", "_public_key", "_seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the seed of a device key has {SEED_BYTES} bytes, this one {len(seed)}")
        self._seed = bytes(seed)
        self._private = Ed25519PrivateKey.from_private_bytes(self._seed)
        self._public_key = self._private.public_key().public_bytes_raw()
        self._device_id = device_id(self._public_key)

    @classmethod
    def generate(cls, seed: bytes) -> DeviceKey:
        """Make the key of a device from 32 bytes that nobody else can know.

        Args:
            seed: 32 bytes of the operating system's entropy; in tests, any 32 bytes.

        Raises:
            ValueError: not 32 bytes.
        """
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for whoever stores the key."""
        return self._seed

    @property
    def public_key(self) -> bytes:
        """32 bytes by which anybody can check this device's signatures."""
        return self._public_key

    @property
    def device_id(self) -> DeviceId:
        """The name of the device, derived from its public key."""
        return self._device_id

    def sign(self, statement: bytes) -> bytes:
        """Sign a statement in 64 bytes.

        Statements begin with a sentence that says what they are for, so that a signature made for one purpose is never
        valid for another.
        """
        signature = self._private.sign(statement)
        remembered = _remembered.get()
        if remembered is not None:
            remembered[self._public_key, statement, signature] = True
        return signature

    def __repr__(self) -> str:
        return f"<device key {self._device_id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a device key is not pickled: that would copy the secret")


def is_usable_public_key(public_key: bytes) -> bool:
    """Whether the bytes can be the public key of one device.

    Refused are wrong lengths and the points of small order: a signature by such a "key" holds for many statements and
    can be made by anybody, so it would identify nobody. Bytes that are no point of the curve pass here and fail in
    `verify`.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        return False
    y_coordinate = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y_coordinate not in _SMALL_ORDER


def verify(public_key: bytes, *, statement: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is the one of ``statement`` by the owner of ``public_key``; never raises.

    Args:
        public_key: 32 bytes; anything else gives False.
        statement: what was signed.
        signature: 64 bytes; anything else gives False.
    """
    if len(signature) != SIGNATURE_BYTES or not is_usable_public_key(public_key):
        return False
    remembered = _remembered.get()
    if remembered is None:
        return _holds(public_key, statement, signature)
    holds = remembered.get((public_key, statement, signature))
    if holds is None:
        holds = remembered[public_key, statement, signature] = _holds(public_key, statement, signature)
    return holds


@contextmanager
def signatures_remembered() -> Iterator[None]:
    """Compute nothing twice about signatures until the block ends, for many replicas in one process and no attacker.

    What was signed here is known to hold, and what was verified once is not verified again: `verify` says the same,
    since it depends on its arguments alone. Memory grows with each signature.
    """
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def _holds(public_key: bytes, statement: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True
