"""The first messages on a channel: two devices agree on a version and keys, and prove who they are (wire version 0).

Sans-I/O: bytes in, bytes out. docs/spec/handshake.md specifies the bytes, docs/adr/0003-handshake-version-0.md says
what this version gives (a channel that only the two devices can read or change) and what it does not (admission).

    both ends       PREAMBLE   magic, lowest and highest version, role      fixed for all versions
    both ends       HELLO      role, ephemeral key, public key, space
    both ends       PROOF      signature over role and transcript
    an end that gives up before its proof says why:   FAILURE   code

Each end signs its role and a hash of all four opening messages, its peer's fresh key among them. So a signature is of
use in this one exchange, in this one direction, for this one space: what is replayed or reflected does not verify. The
keys of the channel follow from both fresh keys and the same hash, so they are known to the two that signed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import assert_never

from blake3 import blake3

from crdt_sync.core.peer import PUBLIC_KEY_BYTES, PeerIdentity
from crdt_sync.errors import HandshakeError, LocalProtocolError
from crdt_sync.security.channel import KEY_BYTES, Ephemeral, SealedChannel
from crdt_sync.security.identity import SIGNATURE_BYTES, DeviceKey, is_usable_public_key, verify

SPACE_BYTES = 32
HANDSHAKE_MESSAGE_BYTES_MAX = 256
"""No message of a handshake is longer; a longer one is refused before it is looked at."""
HANDSHAKE_MESSAGES_MAX = 3
"""An end sends at most this many messages, and takes at most this many."""

_MAGIC = 0xC7  # no letter, so that text, HTTP or TLS on the wrong port is told apart by its first byte
_PREAMBLE_BYTES = 4
_PREAMBLE_BYTES_MAX = 64  # what later versions append is ignored, but signed
_HELLO_BYTES = 2 + KEY_BYTES + PUBLIC_KEY_BYTES + SPACE_BYTES
_TRANSCRIPT_CONTEXT = "crdt_sync 2026 handshake 0 transcript"
_STATEMENT = b"crdt_sync handshake 0\0"


class HandshakeCode(str, Enum):
    """Why a handshake failed; docs/spec/handshake.md explains each and what each side does next."""

    NOT_CRDT_SYNC = "not_crdt_sync"
    VERSION_MISMATCH = "version_mismatch"
    MALFORMED = "malformed"
    UNEXPECTED_MESSAGE = "unexpected_message"
    REFLECTED = "reflected"
    WRONG_SPACE = "wrong_space"
    WRONG_SIGNATURE = "wrong_signature"
    UNSPECIFIED = "unspecified"
    """Only ever reported by a peer: it gave a code that this version does not know."""


_CODE_NUMBERS = {
    HandshakeCode.NOT_CRDT_SYNC: 1,
    HandshakeCode.VERSION_MISMATCH: 2,
    HandshakeCode.MALFORMED: 3,
    HandshakeCode.UNEXPECTED_MESSAGE: 4,
    HandshakeCode.REFLECTED: 5,
    HandshakeCode.WRONG_SPACE: 6,
    HandshakeCode.WRONG_SIGNATURE: 7,
    HandshakeCode.UNSPECIFIED: 255,
}
_NUMBER_CODES = {number: code for code, number in _CODE_NUMBERS.items()}

_EXPLANATIONS = {
    HandshakeCode.NOT_CRDT_SYNC: (
        "what answers at this address does not speak crdt_sync",
        "Check the address and the port.",
    ),
    HandshakeCode.VERSION_MISMATCH: (
        "the two ends have no version of the protocol in common",
        "Update crdt_sync on the older device.",
    ),
    HandshakeCode.MALFORMED: ("a message of the handshake cannot be read", None),
    HandshakeCode.UNEXPECTED_MESSAGE: ("a message of the handshake came out of turn", None),
    HandshakeCode.REFLECTED: (
        "this end's own messages came back",
        "Check that the address is not one that echoes, and that one end dials and the other listens.",
    ),
    HandshakeCode.WRONG_SPACE: (
        "the peer belongs to another space",
        "Pair the devices, or choose a peer of this replica's space.",
    ),
    HandshakeCode.WRONG_SIGNATURE: (
        "the peer could not prove that it is the device it names",
        "Something between the devices changes or replays messages; do not trust this network.",
    ),
    HandshakeCode.UNSPECIFIED: ("the peer gave a reason that this version does not know", "Update crdt_sync."),
}


class _Type(IntEnum):
    HELLO = 1
    PROOF = 2
    FAILURE = 3


class _Phase(Enum):
    UNSTARTED = "unstarted"
    PREAMBLE = "preamble"
    HELLO = "hello"
    PROOF = "proof"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRange:
    """The wire versions that an end can speak, both ends included.

    Raises:
        ValueError: not 0 <= lowest <= highest <= 255.
    """

    lowest: int
    highest: int

    def __post_init__(self) -> None:
        if not 0 <= self.lowest <= self.highest <= 255:
            raise ValueError(f"versions from {self.lowest} to {self.highest} are no range within a byte")

    def common(self, other: VersionRange) -> int | None:
        """The highest version that both ranges hold, the same seen from either end; None where there is none."""
        highest = min(self.highest, other.highest)
        return highest if highest >= max(self.lowest, other.lowest) else None


SUPPORTED_VERSIONS = VersionRange(lowest=0, highest=0)


def transcript(initiator: Sequence[bytes], responder: Sequence[bytes]) -> bytes:
    """A hash of the preambles and hellos of both ends: 32 bytes."""
    hashed = blake3(derive_key_context=_TRANSCRIPT_CONTEXT)
    for message in (*initiator, *responder):
        hashed.update(len(message).to_bytes(2, "big") + message)
    return hashed.digest()


class Handshake:
    """One end of a handshake.

    Send what `start` gives, give each message received to `receive` and send what that gives, in order, until `peer` or
    `failed` is set. The messages after that belong to the session, and are sealed: see `channel`.

    Invariants:
        1. `receive` never raises for what a peer sends; it sets `failed`.
        2. `peer` is set only after a signature by its key over this very exchange was verified.
        3. At most one of `peer` and `failed` is set, and a failure is final.

    Args:
        initiator: True at the end that opened the channel.
        key: this device's key.
        space: 32 bytes; the handshake fails unless the peer names the same.
        secret: 32 unpredictable bytes, never used for another handshake.
        versions: the wire versions to offer, within `SUPPORTED_VERSIONS`.

    Raises:
        ValueError: a space or secret that is not 32 bytes, or versions beyond those supported.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        key: DeviceKey,
        space: bytes,
        secret: bytes,
        versions: VersionRange = SUPPORTED_VERSIONS,
    ) -> None:
        if len(space) != SPACE_BYTES:
            raise ValueError(f"a space has {SPACE_BYTES} bytes, this one {len(space)}")
        if versions.lowest < SUPPORTED_VERSIONS.lowest or versions.highest > SUPPORTED_VERSIONS.highest:
            raise ValueError(f"this release speaks {SUPPORTED_VERSIONS}")
        self._initiator = initiator
        self._key = key
        self._space = space
        self._ephemeral = Ephemeral(secret)
        self._versions = versions
        self._phase = _Phase.UNSTARTED
        self._sent: list[bytes] = []
        self._received: list[bytes] = []
        self._version: int | None = None
        self._claimed: PeerIdentity | None = None
        self._shared = b""
        self._peer: PeerIdentity | None = None
        self._channel: SealedChannel | None = None
        self._failed: HandshakeCode | None = None
        self._failed_by_peer = False
        self.shown = b""
        """What the peer showed, where that alone ends every handshake with it. A line that flips bits can show it, too:
        who sees the same several times in a row may believe it."""

    @property
    def peer(self) -> PeerIdentity | None:
        """The device at the other end, once it is proven."""
        return self._peer

    @property
    def channel(self) -> SealedChannel:
        """What seals each message to `peer` from here on, and opens each one of it.

        Raises:
            LocalProtocolError: there is no `peer`.
        """
        if self._channel is None:
            raise LocalProtocolError("this handshake has not succeeded")
        return self._channel

    @property
    def failed(self) -> HandshakeCode | None:
        """Why the handshake failed, once it has."""
        return self._failed

    @property
    def failed_by_peer(self) -> bool:
        """Whether `failed` is what the peer reported (unauthenticated, so for display only)."""
        return self._failed_by_peer

    def error(self) -> HandshakeError:
        """The failure as the error to raise to whoever wanted the channel.

        Raises:
            LocalProtocolError: the handshake did not fail.
        """
        if self._failed is None:
            raise LocalProtocolError("this handshake did not fail")
        message, hint = _EXPLANATIONS[self._failed]
        by_whom = " (as the peer reports)" if self._failed_by_peer else ""
        return HandshakeError(f"no handshake: {message}{by_whom}", code=self._failed.value, hint=hint)

    @property
    def version(self) -> int | None:
        """The wire version that both ends speak, once their ranges are known."""
        return self._version

    def start(self) -> list[bytes]:
        """Give the messages to send at once; both ends start without waiting for the other.

        Raises:
            LocalProtocolError: started already.
        """
        if self._phase is not _Phase.UNSTARTED:
            raise LocalProtocolError("this handshake was started already")
        self._phase = _Phase.PREAMBLE
        return [self._send(bytes((_MAGIC, self._versions.lowest, self._versions.highest, self._role(own=True))))]

    def receive(self, data: bytes) -> list[bytes]:
        """Take one message of the peer and give the messages to send, also when it made the handshake fail.

        Raises:
            LocalProtocolError: called before `start`; never for what the message holds.
        """
        match self._phase:
            case _Phase.UNSTARTED:
                raise LocalProtocolError("this handshake was not started")
            case _Phase.FAILED:
                return []
            case _Phase.DONE:
                return self._fail(HandshakeCode.UNEXPECTED_MESSAGE)
            case _Phase.PREAMBLE:
                return self._receive_preamble(data)
            case _Phase.HELLO | _Phase.PROOF:
                return self._receive_typed(data)
            case _:
                assert_never(self._phase)

    def _receive_preamble(self, data: bytes) -> list[bytes]:
        if not data or data[0] != _MAGIC:
            return self._fail(HandshakeCode.NOT_CRDT_SYNC, shown=data[:HANDSHAKE_MESSAGE_BYTES_MAX])
        if not _PREAMBLE_BYTES <= len(data) <= _PREAMBLE_BYTES_MAX or data[1] > data[2] or data[3] > 1:
            return self._fail(HandshakeCode.MALFORMED)
        if data[3] != self._role(own=False):
            return self._fail(HandshakeCode.REFLECTED)
        self._version = self._versions.common(VersionRange(lowest=data[1], highest=data[2]))
        if self._version is None:
            return self._fail(HandshakeCode.VERSION_MISMATCH, shown=data)
        self._received.append(data)
        self._phase = _Phase.HELLO
        head = bytes((_Type.HELLO, self._role(own=True)))
        return [self._send(head + self._ephemeral.public_key + self._key.public_key + self._space)]

    def _receive_typed(self, data: bytes) -> list[bytes]:
        if not 0 < len(data) <= HANDSHAKE_MESSAGE_BYTES_MAX:
            return self._fail(HandshakeCode.MALFORMED)
        match data[0]:
            case _Type.FAILURE:
                return self._receive_failure(data)
            case _Type.HELLO if self._phase is _Phase.HELLO:
                return self._receive_hello(data)
            case _Type.PROOF if self._phase is _Phase.PROOF:
                return self._receive_proof(data)
            case _Type.HELLO | _Type.PROOF:
                return self._fail(HandshakeCode.UNEXPECTED_MESSAGE)
            case _:
                return self._fail(HandshakeCode.MALFORMED)

    def _receive_hello(self, data: bytes) -> list[bytes]:
        if len(data) != _HELLO_BYTES or data[1] > 1:
            return self._fail(HandshakeCode.MALFORMED)
        ephemeral, public_key, space = data[2:34], data[34:66], data[66:]
        # An echo with the role flipped still carries our key.
        if data[1] != self._role(own=False) or ephemeral == self._ephemeral.public_key:
            return self._fail(HandshakeCode.REFLECTED)
        if space != self._space:
            return self._fail(HandshakeCode.WRONG_SPACE, shown=space)
        shared = self._ephemeral.agree(ephemeral)
        if shared is None or not is_usable_public_key(public_key):
            return self._fail(HandshakeCode.WRONG_SIGNATURE)
        self._received.append(data)
        self._claimed, self._shared = PeerIdentity.of(public_key), shared
        self._phase = _Phase.PROOF
        return [self._send(bytes((_Type.PROOF,)) + self._key.sign(self._statement(own=True)))]

    def _receive_proof(self, data: bytes) -> list[bytes]:
        if len(data) != 1 + SIGNATURE_BYTES:
            return self._fail(HandshakeCode.MALFORMED)
        claimed = self._claimed
        if claimed is None or not verify(claimed.public_key, statement=self._statement(own=False), signature=data[1:]):
            return self._fail(HandshakeCode.WRONG_SIGNATURE)
        self._peer, shared, self._shared = claimed, self._shared, b""
        self._channel = SealedChannel.of(shared, transcript=self._transcript(), initiator=self._initiator)
        self._phase = _Phase.DONE
        return []

    def _receive_failure(self, data: bytes) -> list[bytes]:
        if len(data) != 2:
            return self._fail(HandshakeCode.MALFORMED)
        self._failed_by_peer = True
        self._set_failed(_NUMBER_CODES.get(data[1], HandshakeCode.UNSPECIFIED))
        return []

    def _fail(self, code: HandshakeCode, *, shown: bytes = b"") -> list[bytes]:
        # Once our proof is out, the peer may be in its session already, where a failure message would make no sense;
        # it then learns of it by the channel's close.
        tell = self._phase in {_Phase.PREAMBLE, _Phase.HELLO}
        self.shown = shown
        self._set_failed(code)
        return [self._send(bytes((_Type.FAILURE, _CODE_NUMBERS[code])))] if tell else []

    def _set_failed(self, code: HandshakeCode) -> None:
        self._failed = code
        self._peer, self._channel = None, None
        self._phase = _Phase.FAILED

    def _send(self, message: bytes) -> bytes:
        self._sent.append(message)
        return message

    def _role(self, *, own: bool) -> int:
        return int(self._initiator is not own)  # 0 is the initiator's role, 1 the responder's

    def _statement(self, *, own: bool) -> bytes:
        """What an end signs: the purpose, its role, and everything both ends have said so far."""
        return _STATEMENT + bytes((self._role(own=own),)) + self._transcript()

    def _transcript(self) -> bytes:
        ours, theirs = self._sent[:2], self._received[:2]
        return transcript(ours, theirs) if self._initiator else transcript(theirs, ours)

    def __repr__(self) -> str:
        role = "initiator" if self._initiator else "responder"
        state = self._failed.value if self._failed else self._phase.value
        return f"<handshake {role} {self._key.device_id} {state}>"
