"""The states of a session as tables. The diagram in docs/spec/wire.md is drawn from them."""

from __future__ import annotations

from enum import Enum

from crdt_sync.protocol.codes import MessageType


class Phase(str, Enum):
    """How far a session is."""

    HELLO = "hello"
    RECORDS = "records"
    VECTORS = "vectors"
    STREAMING = "streaming"
    FINGERPRINTS = "fingerprints"
    LIVE = "live"
    ENDED = "ended"


class Signal(str, Enum):
    """What moves a session on."""

    GREETED = "the peer's hello fits"
    RECORDS_SETTLED = "both know which records the other lacks"
    VECTORS_KNOWN = "the peer's vector is known"
    CAUGHT_UP = "all that either had is sent, and acknowledged or received"
    PROVEN = "every partition is proven equal"
    OVER = "error, bye, close"


class Verdict(str, Enum):
    """What a message is in a phase."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    """The session ends with `unexpected_message`."""
    DROP = "drop"
    """The session is over; nothing is read any more."""


TRANSITIONS: dict[tuple[Phase, Signal], Phase] = {
    (Phase.HELLO, Signal.GREETED): Phase.RECORDS,
    (Phase.RECORDS, Signal.RECORDS_SETTLED): Phase.VECTORS,
    (Phase.VECTORS, Signal.VECTORS_KNOWN): Phase.STREAMING,
    (Phase.STREAMING, Signal.CAUGHT_UP): Phase.FINGERPRINTS,
    (Phase.FINGERPRINTS, Signal.PROVEN): Phase.LIVE,
    **{(phase, Signal.OVER): Phase.ENDED for phase in Phase if phase is not Phase.ENDED},
}

_ALWAYS = frozenset({MessageType.ERROR, MessageType.BYE})
_VECTORS = frozenset({MessageType.VECTOR, MessageType.VECTOR_DIGEST})
_OPEN = _ALWAYS | {
    MessageType.RECORDS,
    MessageType.VECTOR,
    MessageType.RUNS,
    MessageType.ACK,
    MessageType.CREDIT,
    MessageType.FORK,
    MessageType.FINGERPRINT,
    MessageType.PROOF,
    MessageType.LISTING,
    MessageType.WANT,
    MessageType.DOCUMENTS,
    MessageType.SNAPSHOT,
    MessageType.HOLDINGS,
}

ACCEPTED: dict[Phase, frozenset[MessageType]] = {
    Phase.HELLO: _ALWAYS | {MessageType.HELLO},
    Phase.RECORDS: _ALWAYS | _VECTORS | {MessageType.HELD, MessageType.HELD_DIGEST},
    Phase.VECTORS: _ALWAYS | _VECTORS | {MessageType.RECORDS},
    Phase.STREAMING: _OPEN,
    Phase.FINGERPRINTS: _OPEN,
    Phase.LIVE: _OPEN,
    Phase.ENDED: frozenset(),
}
"""A phase is left at the latest moment at which its messages can still come, so no message of an honest peer is early:
whatever it sends first, it has sent everything that moves us on before it."""


def verdict(phase: Phase, kind: MessageType) -> Verdict:
    """Whether a message may come in a phase."""
    if phase is Phase.ENDED:
        return Verdict.DROP
    return Verdict.ACCEPT if kind in ACCEPTED[phase] else Verdict.REFUSE


def diagram() -> str:
    """The transitions as a Mermaid state diagram, for docs/spec/wire.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.HELLO.value}"]
    for (phase, signal), target in TRANSITIONS.items():
        lines.append(f"    {phase.value} --> {target.value}: {signal.value}")
    return "\n".join((*lines, f"    {Phase.ENDED.value} --> [*]"))


def acceptance_table() -> str:
    """Which messages each phase takes, as a Markdown table, for docs/spec/wire.md."""
    phases = [phase for phase in Phase if phase is not Phase.ENDED]
    lines = ["| message | " + " | ".join(phase.value for phase in phases) + " |", "| --- |" + " --- |" * len(phases)]
    for kind in MessageType:
        marks = ("yes" if verdict(phase, kind) is Verdict.ACCEPT else "no" for phase in phases)
        lines.append(f"| {kind.name} ({kind.value}) | " + " | ".join(marks) + " |")
    return "\n".join(lines)
