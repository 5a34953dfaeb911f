"""What makes a channel private between two devices: keys that only the two ends of this one connection have.

Sans-I/O, as the handshake that agrees on the keys; docs/spec/handshake.md specifies the bytes. `SealedChannel` knows
nothing of where its keys come from, so another handshake can stand in front of it.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crdt_sync.errors import LocalProtocolError

KEY_BYTES = 32
SEAL_BYTES = 16
"""So much longer is a sealed message than what is in it."""
MESSAGES_MAX = 2**64 - 1
"""Under one key; a nonce is never used twice."""

_PURPOSE = b"crdt_sync handshake 0 channel"


def channel_keys(shared: bytes, *, transcript: bytes) -> tuple[bytes, bytes]:
    """The keys of a channel (HKDF with SHA-256, RFC 5869): of what the initiator sends, and of what the responder does.

    Args:
        shared: what both ends agreed upon.
        transcript: 32 bytes that say who the two are and what they have said so far.
    """
    keys = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=transcript, info=_PURPOSE).derive(shared)
    return keys[:KEY_BYTES], keys[KEY_BYTES:]


class Ephemeral:
    """One end's half of an agreement on keys (X25519, RFC 7748), for one connection.

    Invariant: the secret half is forgotten with `agree`, so that no later theft of memory or keys opens what was sent.

    Args:
        secret: 32 unpredictable bytes, never used for another one.

    Raises:
        ValueError: not 32 bytes.
    """

    __slots__ = ("_private", "public_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"the secret of a connection has {KEY_BYTES} bytes, this one {len(secret)}")
        private = X25519PrivateKey.from_private_bytes(secret)
        self._private: X25519PrivateKey | None = private
        self.public_key = private.public_key().public_bytes_raw()
        """32 bytes for the other end."""

    def agree(self, theirs: bytes) -> bytes | None:
        """The secret that both ends share; None where anybody could know it, as the other key is of small order.

        Args:
            theirs: 32 bytes, the other end's public key.

        Raises:
            LocalProtocolError: called a second time.
        """
        private, self._private = self._private, None
        if private is None:
            raise LocalProtocolError("the secret of a connection serves once")
        try:
            return private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:  # what both would share is all zeros
            return None

    def __reduce__(self) -> NoReturn:
        raise TypeError("the secret of a connection is not pickled: that would copy it")


class Cipher:
    """One direction of a channel: seals messages at one end, or opens them at the other, each at its place.

    ChaCha20-Poly1305 (RFC 8439) whose nonce is the number of the message, as the CipherState of Noise. So what was
    changed, left out, repeated or moved does not open, nor what was sealed under another key.

    Invariant: neither ``repr`` nor pickling gives the key away.

    Args:
        key: 32 bytes, for this direction of this connection and nothing else.
        count: how many messages were sealed by it before.
    """

    __slots__ = ("_aead", "_count")

    def __init__(self, key: bytes, *, count: int = 0) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = count

    def seal(self, message: bytes) -> bytes:
        """The next message as it travels; `SEAL_BYTES` longer.

        Raises:
            LocalProtocolError: there were `MESSAGES_MAX` of them.
        """
        sealed = self._aead.encrypt(self._nonce(), message, None)
        self._count += 1
        return sealed

    def open(self, sealed: bytes) -> bytes | None:
        """What is in the next message; None for anything but that, and then it is still waited for.

        Raises:
            LocalProtocolError: there were `MESSAGES_MAX` of them.
        """
        try:
            message = self._aead.decrypt(self._nonce(), sealed, None)
        except InvalidTag:
            return None
        self._count += 1
        return message

    def _nonce(self) -> bytes:
        if self._count >= MESSAGES_MAX:
            raise LocalProtocolError("a channel has a bound of messages, and this one has reached it")
        return bytes(4) + self._count.to_bytes(8, "little")

    def __reduce__(self) -> NoReturn:
        raise TypeError("the key of a channel is not pickled: that would copy it")


class SealedChannel:
    """Both directions of a channel, at one of its ends.

    Args:
        sending: the key of what this end sends.
        receiving: the key of what the other end sends.
    """

    __slots__ = ("open", "seal")

    def __init__(self, *, sending: bytes, receiving: bytes) -> None:
        self.seal = Cipher(sending).seal
        """Gives the next message of this end as it travels."""
        self.open = Cipher(receiving).open
        """Gives what is in the next message of the other end, or None for anything but that."""

    @classmethod
    def of(cls, shared: bytes, *, transcript: bytes, initiator: bool) -> SealedChannel:
        """The channel of one end.

        Args:
            shared: what both ends agreed upon.
            transcript: as for `channel_keys`.
            initiator: whether this end opened the channel.
        """
        of_initiator, of_responder = channel_keys(shared, transcript=transcript)
        if initiator:
            return cls(sending=of_initiator, receiving=of_responder)
        return cls(sending=of_responder, receiving=of_initiator)

    def __reduce__(self) -> NoReturn:
        raise TypeError("the keys of a channel are not pickled: that would copy them")
