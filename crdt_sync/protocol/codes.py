"""Numbers on the wire: message types, and why a session ends with the cause and what each side does next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from crdt_sync.errors import RemoteProtocolError


class MessageType(IntEnum):
    """Numbers on the wire. 18 to 20 are kept for nodes, leaves and subscribe, 0x80 for ephemeral."""

    HELLO = 1
    HELD = 2
    HELD_DIGEST = 3
    RECORDS = 4
    VECTOR = 5
    VECTOR_DIGEST = 6
    RUNS = 7
    ACK = 8
    CREDIT = 9
    FORK = 10
    FINGERPRINT = 11
    PROOF = 12
    LISTING = 13
    WANT = 14
    DOCUMENTS = 15
    ERROR = 16
    BYE = 17
    SNAPSHOT = 21
    HOLDINGS = 0x81


class ErrorCode(str, Enum):
    """Why a session ended. The value is the code's name everywhere outside of the wire."""

    BYE = "bye"
    MALFORMED = "malformed"
    CHECKSUM = "checksum"
    TOO_LARGE = "too_large"
    UNKNOWN_MESSAGE = "unknown_message"
    UNEXPECTED_MESSAGE = "unexpected_message"
    VERSION = "version"
    LIMITS = "limits"
    CREDIT_EXCEEDED = "credit_exceeded"
    CREDIT_OVERFLOW = "credit_overflow"
    BAD_ACK = "bad_ack"
    NOT_CONVERGING = "not_converging"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    REPLACED = "replaced"
    REFUSED = "refused"
    INTERNAL = "internal"
    SHUTDOWN = "shutdown"
    OTHER = "other"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFacts:
    """One row of the table of codes in docs/spec/wire.md."""

    code: ErrorCode
    number: int
    cause: str
    reporter: str
    """What the side that sends the code does."""
    receiver: str
    """What the side that gets the code does."""


_LATER = "reconnects with growing pauses"
_STOPS = "stops and tells the user: one of the two programs is at fault"
_CLOSES = "closes the channel; everything acknowledged stays"

CODES: tuple[CodeFacts, ...] = tuple(
    CodeFacts(code=code, number=number, cause=cause, reporter=reporter, receiver=receiver)
    for number, (code, cause, reporter, receiver) in enumerate(
        (
            (ErrorCode.BYE, "the session is over as intended", _CLOSES, "closes the channel"),
            (ErrorCode.MALFORMED, "bytes that are no frame, packet or message of this version", _CLOSES, _STOPS),
            (ErrorCode.CHECKSUM, "a frame whose checksum does not hold", _CLOSES, _LATER),
            (ErrorCode.TOO_LARGE, "more bytes or items than the limits allow", _CLOSES, _STOPS),
            (ErrorCode.UNKNOWN_MESSAGE, "a required message type that this side does not know", _CLOSES, _STOPS),
            (ErrorCode.UNEXPECTED_MESSAGE, "a message that the state does not allow", _CLOSES, _STOPS),
            (
                ErrorCode.VERSION,
                "no version of the wire in common",
                _CLOSES,
                "stops; the older program needs an update",
            ),
            (ErrorCode.LIMITS, "the hello offers limits too small to work with", _CLOSES, _STOPS),
            (ErrorCode.CREDIT_EXCEEDED, "bulk data without credit for it", _CLOSES, _STOPS),
            (ErrorCode.CREDIT_OVERFLOW, "more credit than the hello's window", _CLOSES, _STOPS),
            (ErrorCode.BAD_ACK, "an acknowledgement of something that was not sent", _CLOSES, _STOPS),
            (
                ErrorCode.NOT_CONVERGING,
                "fingerprints differ at equal vectors after every allowed repair",
                "closes, keeps the evidence and tells the user",
                "the same",
            ),
            (ErrorCode.TIMEOUT, "records and vectors were not exchanged in time", _CLOSES, _LATER),
            (
                ErrorCode.OVERLOADED,
                "too many sessions or events at this side",
                _CLOSES,
                "waits retry_after, reconnects",
            ),
            (ErrorCode.REPLACED, "the same device opened a newer session", _CLOSES, "waits retry_after, reconnects"),
            (ErrorCode.REFUSED, "the device may not take part", _CLOSES, "stops and tells the user"),
            (
                ErrorCode.INTERNAL,
                "this side failed; with `retry_after` where its store did",
                _CLOSES,
                "waits retry_after, reconnects; without one it is careful with what was in flight",
            ),
            (ErrorCode.SHUTDOWN, "this side is going down", _CLOSES, "waits retry_after, reconnects"),
            (ErrorCode.OTHER, "a code from a newer version; only its text is known", _CLOSES, _LATER),
            (ErrorCode.ALTERED, "a message that is not the next one as the peer sealed it", _CLOSES, _LATER),
        )
    )
)
NUMBER_OF = {facts.code: facts.number for facts in CODES}
_CODE_OF = {facts.number: facts.code for facts in CODES}


def code_of(number: int) -> ErrorCode:
    """The code of a number on the wire; numbers of newer versions read as `OTHER`."""
    return _CODE_OF.get(number, ErrorCode.OTHER)


OVERLOADED_RETRY_AFTER_S: Final = 30.0
"""When a peer may come back who brought more than this side works off."""


class PeerError(RemoteProtocolError):
    """The peer erred. Raised inside the protocol only; `Session.receive` turns it into `Ended`."""

    def __init__(self, error_code: ErrorCode, message: str) -> None:
        after_s = OVERLOADED_RETRY_AFTER_S if error_code is ErrorCode.OVERLOADED else None
        super().__init__(message, code=error_code.value, retry_after_s=after_s)
        self.error_code = error_code


def code_table() -> str:
    """Every code as a Markdown table, for docs/spec/wire.md."""
    lines = ["| number | code | cause | who sends it | who gets it |", "| --- | --- | --- | --- | --- |"]
    for facts in CODES:
        cells = (str(facts.number), f"`{facts.code.value}`", facts.cause, facts.reporter, facts.receiver)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
