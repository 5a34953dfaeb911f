"""What a conversation moved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What one conversation moved, handshake included; frames as the channel carries them."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0
    handshake_bytes: int = 0
    """of both ways"""
    entries_in: int = 0
    """applied from the peer"""
    statuses: int = 0
    """entries that either side did not apply"""
