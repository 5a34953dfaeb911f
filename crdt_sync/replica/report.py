"""What one round of sync did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Moved:
    """What went over channels, handshakes included; frames as the channel carries them."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0

    def came(self, frame: bytes) -> None:
        """Count a frame that the peer sent."""
        self.bytes_in += len(frame)
        self.messages_in += 1

    def went(self, frames: Sequence[bytes]) -> None:
        """Count frames for the peer."""
        self.bytes_out += sum(map(len, frames))
        self.messages_out += len(frames)


@dataclass(slots=True, kw_only=True)
class Traffic(Moved):
    """What one conversation moved."""

    handshake_bytes: int = 0
    """of both ways"""
    entries_in: int = 0
    """applied from the peer"""
    entries_out: int = 0
    """sent to the peer, which was not known to have them"""
    statuses: int = 0
    """entries that either side did not apply"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """One round with one peer, or the sum of several.

    Args:
        url: the peer, without what may be secret: user, password, query, fragment; several are joined by commas.
        seconds: how long it took.
        traffic: bytes, messages and entries each way, handshake included.
        completed: operations of ours that became completed meanwhile.
        proven_equal: whether both sides were proven to hold the same at the end.
        fingerprints: partition → fingerprint (hex) that both share.
        errors: url → what went wrong, for peers that could not be reached.
        set_aside: url → what is set aside for a peer, and why, where all else went through.
    """

    url: str
    seconds: float
    traffic: Traffic
    completed: int
    proven_equal: bool
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    set_aside: Mapping[str, str] = field(default_factory=dict)
