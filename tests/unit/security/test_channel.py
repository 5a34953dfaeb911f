"""The seal on a channel: what one end sealed opens at the other in its place, and nothing else does."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.errors import LocalProtocolError
from crdt_sync.security.channel import KEY_BYTES, MESSAGES_MAX, SEAL_BYTES, Cipher, Ephemeral, SealedChannel

KEY, OTHER_KEY = b"k" * KEY_BYTES, b"o" * KEY_BYTES


@given(messages=st.lists(st.binary(max_size=300), max_size=8))
def test_what_was_sealed_opens_in_its_order(messages: list[bytes]) -> None:
    sealing, opening = Cipher(KEY), Cipher(KEY)
    for message in messages:
        sealed = sealing.seal(message)
        assert len(sealed) == len(message) + SEAL_BYTES
        assert opening.open(sealed) == message


@given(message=st.binary(max_size=100), bit=st.integers(0, 8 * 116 - 1))
def test_a_changed_bit_does_not_open(message: bytes, bit: int) -> None:
    changed = bytearray(Cipher(KEY).seal(message))
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    assert Cipher(KEY).open(bytes(changed)) is None


@given(data=st.binary(max_size=100))
def test_what_nobody_sealed_does_not_open(data: bytes) -> None:
    assert Cipher(KEY).open(data) is None


def test_what_is_out_of_place_does_not_open_and_what_is_due_still_does() -> None:
    sealing, opening = Cipher(KEY), Cipher(KEY)
    first, second, third = (sealing.seal(message) for message in (b"1", b"2", b"3"))
    assert opening.open(second) is None
    assert opening.open(first) == b"1"
    assert opening.open(first) is None
    assert opening.open(third) is None
    assert opening.open(second[:-1]) is None
    assert opening.open(second) == b"2"


def test_a_key_is_of_one_direction_of_one_connection() -> None:
    sealed = Cipher(KEY).seal(b"message")
    assert Cipher(OTHER_KEY).open(sealed) is None
    end = SealedChannel.of(b"s" * 32, transcript=b"t" * 32, initiator=True)
    assert end.open(end.seal(b"message")) is None
    for shared, transcript in ((b"s" * 32, b"u" * 32), (b"r" * 32, b"t" * 32)):
        other = SealedChannel.of(shared, transcript=transcript, initiator=False)
        assert other.open(end.seal(b"message")) is None


def test_the_same_message_is_never_sealed_alike() -> None:
    sealing = Cipher(KEY)
    assert len({sealing.seal(b"again") for _ in range(300)}) == 300


def test_no_nonce_is_used_twice_however_long_it_goes_on() -> None:
    sealing, opening = (Cipher(KEY, count=MESSAGES_MAX - 1) for _ in range(2))
    assert opening.open(sealing.seal(b"the last")) == b"the last"
    with pytest.raises(LocalProtocolError, match="bound"):
        sealing.seal(b"one more")
    with pytest.raises(LocalProtocolError, match="bound"):
        opening.open(b"one more")


def test_the_secret_of_a_connection_serves_once() -> None:
    """So whoever steals it later, with the device or its memory, reads nothing of what went before."""
    one, other = Ephemeral(b"1" * 32), Ephemeral(b"2" * 32)
    shared = one.agree(other.public_key)
    assert shared == other.agree(one.public_key)
    with pytest.raises(LocalProtocolError, match="once"):
        one.agree(other.public_key)


@pytest.mark.parametrize("secret", [b"", b"1" * 31, b"1" * 33])
def test_a_secret_of_another_length_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Ephemeral(secret)


@pytest.mark.parametrize(
    "made", [Ephemeral(KEY), Cipher(KEY), SealedChannel(sending=KEY, receiving=OTHER_KEY)], ids=["half", "way", "both"]
)
def test_no_key_is_shown_or_pickled(made: object) -> None:
    assert "kkk" not in repr(made)
    with pytest.raises(TypeError):
        pickle.dumps(made)
