"""One round of sync over a blocking channel."""

from __future__ import annotations

import time
from collections.abc import Callable

from crdt_sync.errors import ChannelClosed, SyncError, SyncTimeoutError
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.report import SyncReport
from crdt_sync.transport.base import CHANNEL_LIMITS, BlockingChannel, ChannelLimits
from crdt_sync.transport.websocket_blocking import dial_blocking

TICK_S = 1.0


def reconcile(
    replica: Replica,
    url: str,
    *,
    timeout_s: float = 10.0,
    limits: ChannelLimits = CHANNEL_LIMITS,
    monotonic: Callable[[], float] = time.monotonic,
) -> SyncReport:
    """Exchange everything with a peer, wait until both are proven equal, and hang up.

    What was acknowledged before an error is kept; calling again goes on from there.

    Args:
        replica: what to sync.
        url: ``ws://host:port`` or ``wss://…``.
        timeout_s: the longest time without proof; a first sync of much data needs more.
        limits: of the channel.
        monotonic: seconds of a clock that never goes back.

    Raises:
        PeerUnreachableError: nothing answers.
        SyncTimeoutError: it took longer than ``timeout_s``.
        SyncError: the peer ended the session.
        TransactionError: a local transaction is open.
    """
    began = monotonic()
    pending = replica.pending_count()
    conversation = Conversation(replica.port, initiator=True)
    channel = dial_blocking(url, limits=limits)
    try:
        _run(conversation, channel, deadline=began + timeout_s, monotonic=monotonic, timeout_s=timeout_s)
        conversation.close()
        _send(conversation, channel)
    finally:
        channel.close()
    return SyncReport(
        url=url,
        seconds=monotonic() - began,
        traffic=conversation.traffic,
        completed=max(0, pending - replica.pending_count()),
        proven_equal=True,
        fingerprints=dict(conversation.fingerprints),
    )


def _run(
    conversation: Conversation,
    channel: BlockingChannel,
    *,
    deadline: float,
    monotonic: Callable[[], float],
    timeout_s: float,
) -> None:
    """Move bytes until both sides are proven equal."""
    token: int | None = None
    while True:
        _send(conversation, channel)
        if conversation.end is not None:
            raise conversation.end.error()
        if token is None and conversation.session is not None:
            token = conversation.request_proof()
            continue
        if token is not None and conversation.proven(token):
            return
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise SyncTimeoutError(f"the peer did not catch up within {timeout_s:g} s")
        try:
            conversation.receive(channel.receive(timeout_s=min(left_s, TICK_S)))
        except SyncTimeoutError:
            conversation.tick()
        except ChannelClosed as closed:
            raise SyncError(
                f"the connection was lost: {closed.message}", hint="Try again; it goes on from there."
            ) from None


def _send(conversation: Conversation, channel: BlockingChannel) -> None:
    frames = conversation.data_to_send()
    while frames:
        for frame in frames:
            channel.send(frame)
        frames = conversation.data_to_send()
    conversation.publish()
