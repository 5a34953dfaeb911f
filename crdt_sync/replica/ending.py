"""How a conversation ended, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.errors import AdmissionError, HandshakeError, RemoteProtocolError, SyncError, SyncTimeoutError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.set_aside import Fault

PERMANENT_CODES = frozenset(
    (
        ErrorCode.MALFORMED,
        ErrorCode.TOO_LARGE,
        ErrorCode.UNKNOWN_MESSAGE,
        ErrorCode.UNEXPECTED_MESSAGE,
        ErrorCode.VERSION,
        ErrorCode.LIMITS,
        ErrorCode.CREDIT_EXCEEDED,
        ErrorCode.CREDIT_OVERFLOW,
        ErrorCode.BAD_ACK,
        ErrorCode.NOT_CONVERGING,
        ErrorCode.REFUSED,
    )
)
"""Codes after which dialling again would end the same way: those whose receiver stops, in docs/spec/wire.md."""

_SAID_PLAINLY = frozenset((ErrorCode.VERSION, ErrorCode.LIMITS, ErrorCode.REFUSED))
"""Those that a damaged line cannot bring about: messages are sealed, and none of these follows from a lost one."""

_AT_ENTRIES = PERMANENT_CODES - _SAID_PLAINLY - {ErrorCode.NOT_CONVERGING} | {ErrorCode.INTERNAL, ErrorCode.OTHER}
"""Codes that can be about what was in flight."""
_AT_LINES = frozenset((ErrorCode.CHECKSUM, ErrorCode.ALTERED, ErrorCode.TIMEOUT))
"""Codes that tell of a bad connection."""

STORE_RETRY_AFTER_S = 10.0
"""What a side whose store failed asks for: it is no fault of what it was sent."""

LOST = "lost"
"""The code of an end that nobody announced: the channel was lost."""

_REFUSED_HINT = (
    "A server admits devices of other machines only with open_space=True (--open), and never a copy of its own store."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a conversation ended.

    Args:
        code: the session's error code or the handshake's, or `LOST`.
        text: for people.
        by_peer: who ended it.
        retry_after_s: when the ending side thinks that trying again makes sense.
        permanent: whether dialling again would end the same way.
        handshake: whether it ended before there was a session.
        hint: what the user can do, where the code alone does not say it.
        shown: what the peer showed in a handshake that makes it `permanent`.
    """

    code: str
    text: str
    by_peer: bool
    retry_after_s: float | None = None
    permanent: bool = False
    handshake: bool = False
    hint: str | None = None
    shown: bytes = b""

    @property
    def sure(self) -> bool:
        """Whether a `permanent` end is believed at once; another one may come of a damaged line."""
        return not self.handshake and self.code in _SAID_PLAINLY

    @property
    def fault(self) -> Fault | None:
        """What the end says about what was in flight; None for nothing.

        A peer that asks for a pause is in trouble of its own, whatever it was sent.
        """
        if not self.by_peer or self.handshake:
            return None
        if self.code == LOST or self.code in _AT_LINES:
            return Fault.LOSS
        return Fault.FAILURE if self.code in _AT_ENTRIES and not self.retry_after_s else None

    def error(self) -> SyncError:
        """The end as an error."""
        if self.handshake:
            return HandshakeError(self.text, code=self.code, hint=self.hint)
        if self.code == LOST:
            return SyncError(f"the connection was lost: {self.text}", hint="Try again; it goes on from there.")
        text = f"{'the peer' if self.by_peer else 'this side'} ended the session with {self.code}"
        text = f"{text}: {self.text}" if self.text else text
        if self.code == ErrorCode.REFUSED.value:
            return AdmissionError(text, hint=_REFUSED_HINT)
        if self.code == ErrorCode.TIMEOUT.value and not self.by_peer:
            return SyncTimeoutError(text)
        return RemoteProtocolError(text, code=self.code, retry_after_s=self.retry_after_s)
