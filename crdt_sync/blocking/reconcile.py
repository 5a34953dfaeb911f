"""One round of sync over a blocking channel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from crdt_sync.core.checks import checked_instance
from crdt_sync.core.ids import DeviceId
from crdt_sync.core.logs import shown_url
from crdt_sync.errors import ChannelClosed, InputError, SyncTimeoutError, TransactionError
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.fitting import session_limits
from crdt_sync.replica.report import SyncReport
from crdt_sync.transport.base import CHANNEL_LIMITS, BlockingChannel, ChannelLimits
from crdt_sync.transport.websocket_blocking import dial_blocking


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
        timeout_s: the longest time without a step forward: an answer to the dialling, data that comes in, an
            acknowledgement of ours, a proof. A first sync of much data may take longer in all.
        limits: of the channel; what the session puts into one message follows them.
        monotonic: seconds of a clock that never goes back.

    Raises:
        PeerUnreachableError: nothing answers.
        SyncTimeoutError: nothing went forward for ``timeout_s``.
        SyncError: the peer ended the session, or the connection was lost.
        InputError: not a url, a ``timeout_s`` that is not positive, or limits that no session fits into.
        TransactionError: a local transaction is open.
        StoreError: the replica's own store failed, or is read-only.
    """
    checked_instance(replica, Replica, what="replica", hint="Open one by Replica.open(...).")
    if replica.port.busy():
        raise TransactionError("a transaction is open", hint="Leave the transaction's block first.")
    began = monotonic()
    completed = replica.port.completed
    conversation = Conversation(replica.port, initiator=True, limits=session_limits(limits))
    channel = dial_blocking(url, limits=_within(limits, timeout_s=timeout_s))
    round_ = _Round(conversation, channel, timeout_s=timeout_s, monotonic=monotonic)
    try:
        with replica.port.on_commit(conversation.wake):
            round_.run(met=partial(replica.port.met, url))
    finally:
        channel.close()
    return SyncReport(
        url=shown_url(url),
        seconds=monotonic() - began,
        traffic=conversation.traffic,
        completed=replica.port.completed - completed,
        proven_equal=True,
        fingerprints=dict(conversation.fingerprints),
    )


class _Round:
    """Runs one conversation over one channel until both sides are proven equal."""

    def __init__(
        self,
        conversation: Conversation,
        channel: BlockingChannel,
        *,
        timeout_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._conversation = conversation
        self._channel = channel
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._steps = -1
        self._stepped_at_s = 0.0

    def run(self, *, met: Callable[[DeviceId], None]) -> None:
        """Raises what went wrong; observers have been told of everything durable either way."""
        try:
            try:
                self._until_proven(met)
            except ChannelClosed as closed:
                self._read_what_is_left()
                self._conversation.lost(closed.message)
            except BaseException:
                self._say_goodbye()
                raise
            if self._conversation.end is not None:
                raise self._conversation.end.error()
            self._conversation.close()
            self._say_goodbye()
        finally:
            self._conversation.lost("this side hung up", by_peer=False)
            self._conversation.publish()

    def _until_proven(self, met: Callable[[DeviceId], None]) -> None:
        conversation, token = self._conversation, None
        while True:
            conversation.tick()
            self._send()
            if conversation.end is not None:
                return
            if token is None and conversation.session is not None:
                met(conversation.session.peer.device_id)
                token = conversation.request_proof()
                continue
            if token is not None and conversation.proven(token):
                return
            self._receive()

    def _receive(self) -> None:
        """Take in one message, or notice that nothing goes forward."""
        now_s = self._monotonic()
        if self._conversation.steps != self._steps:
            self._steps, self._stepped_at_s = self._conversation.steps, now_s
        left_s = self._stepped_at_s + self._timeout_s - now_s
        if left_s <= 0:
            raise SyncTimeoutError(f"nothing went forward for {self._timeout_s:g} s{self._conversation.obstacle}")
        due_s = self._conversation.next_tick_s
        try:
            self._conversation.receive(self._channel.receive(timeout_s=min(left_s, due_s)))
        except SyncTimeoutError:
            return  # time to tick

    def _send(self) -> None:
        while frames := self._conversation.data_to_send():
            for frame in frames:
                self._channel.send(frame)
            self._conversation.publish()
        self._conversation.publish()

    def _read_what_is_left(self) -> None:
        """Take in what the peer said before the channel ended, above all why it ended it."""
        try:
            while self._conversation.end is None:
                self._conversation.receive(self._channel.receive(timeout_s=0))
        except (ChannelClosed, SyncTimeoutError):
            return  # that was all

    def _say_goodbye(self) -> None:
        self._conversation.close()
        try:
            for frame in self._conversation.data_to_send():
                self._channel.send(frame)
        except ChannelClosed:
            return  # the peer has hung up already


def _within(limits: ChannelLimits, *, timeout_s: float) -> ChannelLimits:
    """Limits under which neither dialling nor sending takes longer than the caller wants to wait.

    Raises:
        InputError: nobody can wait that long.
    """
    if not _is_number(timeout_s):
        raise InputError("timeout_s is a number of seconds", hint="Give the seconds as a positive number.")
    try:
        return replace(
            limits,
            open_timeout_s=min(limits.open_timeout_s, timeout_s),
            idle_timeout_s=min(limits.idle_timeout_s, timeout_s),
        )
    except ValueError:
        raise InputError("timeout_s is longer than 0 s", hint="Give the seconds as a positive number.") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
