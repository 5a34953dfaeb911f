"""Device keys: signatures, and what is no key."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.ids import device_id
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.security import identity
from crdt_sync.security.identity import DeviceKey, is_usable_public_key, signatures_remembered, verify

SEEDS = st.binary(min_size=32, max_size=32)
KEY = DeviceKey.generate(bytes(range(32)))

# RFC 8032 section 7.1, test 2.
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_standard_example() -> None:
    key = DeviceKey.generate(RFC_SEED)
    assert key.public_key == RFC_PUBLIC
    assert key.sign(b"\x72") == RFC_SIGNATURE
    assert verify(RFC_PUBLIC, statement=b"\x72", signature=RFC_SIGNATURE)


@given(seed=SEEDS, statement=st.binary(max_size=100))
def test_the_same_seed_gives_the_same_device(seed: bytes, statement: bytes) -> None:
    key, again = DeviceKey.generate(seed), DeviceKey.generate(seed)
    assert key.public_key == again.public_key
    assert key.device_id == again.device_id == device_id(key.public_key)
    assert key.sign(statement) == again.sign(statement)
    assert key.seed == seed
    assert verify(key.public_key, statement=statement, signature=key.sign(statement))


@given(statement=st.binary(max_size=100), bit=st.integers(0, 511))
def test_a_changed_signature_does_not_hold(statement: bytes, bit: int) -> None:
    signature = bytearray(KEY.sign(statement))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(KEY.public_key, statement=statement, signature=bytes(signature))
    assert not verify(KEY.public_key, statement=statement + b"x", signature=KEY.sign(statement))


@given(public_key=st.binary(max_size=40), statement=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_verify_never_raises(public_key: bytes, statement: bytes, signature: bytes) -> None:
    assert not verify(public_key, statement=statement, signature=signature)
    assert not verify(public_key, statement=statement, signature=bytes(64))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DeviceKey.generate(bytes(length))


def test_the_secret_is_neither_shown_nor_copied() -> None:
    assert repr(KEY) == f"<device key {KEY.device_id}>"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        copy.copy(KEY)


def test_the_points_of_small_order_are_all_listed() -> None:
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime

    def is_on_curve(y: int) -> bool:
        square = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime  # x squared
        return square == 0 or pow(square, (prime - 1) // 2, prime) == 1

    listed = identity._SMALL_ORDER
    of_order_8 = {y for y in listed if (d * pow(y, 4, prime) + 2 * y * y - 1) % prime == 0}
    assert len(of_order_8) == 2
    assert all(is_on_curve(y) for y in of_order_8)
    # Orders 4, 1 and 2; the last two again with the prime added, which still fits into 255 bits.
    assert listed - of_order_8 == {0, 1, prime - 1, prime, prime + 1}


@pytest.mark.parametrize("y", sorted(identity._SMALL_ORDER))
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_anybody_can_sign_for_is_refused(y: int, sign: int) -> None:
    public_key = (y | sign << 255).to_bytes(32, "little")
    assert not is_usable_public_key(public_key)
    # R of order 1 and S = 0: without the check this holds for every statement where the key is of order 1.
    forged = (1).to_bytes(32, "little") + bytes(32)
    assert not verify(public_key, statement=b"anything", signature=forged)


def test_a_peer_is_its_key() -> None:
    peer = PeerIdentity.of(KEY.public_key)
    assert peer.device_id == KEY.device_id
    assert repr(peer) == f"<peer {KEY.device_id}>"
    with pytest.raises(ValueError, match="32 bytes"):
        PeerIdentity.of(b"short")
    with pytest.raises(ValueError, match="not the one"):
        PeerIdentity(device_id=device_id(bytes(32)), public_key=KEY.public_key)


def test_remembered_signatures_are_the_same_ones() -> None:
    """Also those that do not hold: neither another statement nor another key is taken for what was signed."""
    other = DeviceKey.generate(bytes(32))
    with signatures_remembered():
        signature = KEY.sign(b"one")
        for _ in range(2):
            assert verify(KEY.public_key, statement=b"one", signature=signature)
            assert not verify(KEY.public_key, statement=b"two", signature=signature)
            assert not verify(other.public_key, statement=b"one", signature=signature)
            assert not verify(KEY.public_key, statement=b"one", signature=bytes(64))
    assert verify(KEY.public_key, statement=b"one", signature=signature)
    assert not verify(other.public_key, statement=b"one", signature=signature)
