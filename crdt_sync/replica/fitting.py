"""What a session may put into one message of its channel."""

from __future__ import annotations

from typing import Final

from crdt_sync.core.checks import checked_instance
from crdt_sync.errors import InputError
from crdt_sync.protocol.limits import FRAME_BYTES_FLOOR, WireLimits
from crdt_sync.security.channel import SEAL_BYTES
from crdt_sync.transport.base import ChannelLimits

MESSAGE_BYTES_MIN: Final = FRAME_BYTES_FLOOR + SEAL_BYTES
"""Of the messages that a channel must carry, so that a session can work on it."""


def session_limits(limits: ChannelLimits) -> WireLimits:
    """The limits of a session on a channel: a sealed frame is one message. The peer is told in the hello.

    Raises:
        InputError: no limits of a channel, or its messages are too small for any session.
    """
    checked_instance(limits, ChannelLimits, what="limits", hint="Give ChannelLimits.")
    if limits.message_bytes_max < MESSAGE_BYTES_MIN:
        raise InputError(
            f"a channel for messages of {limits.message_bytes_max} bytes is too small to sync over",
            hint=f"Give ChannelLimits with a message_bytes_max from {MESSAGE_BYTES_MIN} on, or leave it out.",
        )
    return WireLimits(frame_bytes_max=min(WireLimits().frame_bytes_max, limits.message_bytes_max - SEAL_BYTES))
