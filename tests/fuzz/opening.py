"""Target of what comes before a session: the messages of a handshake, at either end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

from crdt_sync import Replica
from crdt_sync.replica.conversation import Conversation
from crdt_sync.security.handshake import (
    HANDSHAKE_MESSAGE_BYTES_MAX,
    HANDSHAKE_MESSAGES_MAX,
    Handshake,
    HandshakeCode,
)
from crdt_sync.security.identity import DeviceKey
from tests.unit.replica.devices import memory

SPACE: Final = b"s" * 32
OURS, THEIRS = (DeviceKey.generate(bytes((number,)) * 32) for number in (1, 2))
"""The fuzzer has seen what the second one signs, and cannot sign anything else."""


def end(*, initiator: bool, key: DeviceKey = OURS) -> Handshake:
    """One end; its secret is its key's."""
    return Handshake(initiator=initiator, key=key, space=SPACE, secret=key.public_key)


def handshake(data: bytes) -> None:
    """Messages of a peer: a code, or that peer; never more answers, or longer ones, than a handshake has.

    The first byte says which end is tried; before each message stand two of its length.
    """
    choice = data[0] if data else 0
    ours = end(initiator=bool(choice & 1))
    sent = ours.start()
    for message in _messages(data[1:]):
        failed = ours.failed
        answers = ours.receive(message)
        assert not (failed and answers), "an end that has failed has nothing to say"
        sent += answers
        assert failed in {None, ours.failed}, "another failure"
    assert len(sent) <= HANDSHAKE_MESSAGES_MAX + 1, "more messages than a handshake has"
    assert all(len(message) <= HANDSHAKE_MESSAGE_BYTES_MAX for message in sent)
    assert not (ours.peer and ours.failed)
    assert ours.peer is None or ours.peer.public_key == THEIRS.public_key, "a device that nobody proved to be"
    if ours.failed is not None:
        error = ours.error()
        assert HandshakeCode(error.code) is ours.failed
        assert error.hint
    _talk(choice, data[1:])


def _talk(choice: int, data: bytes) -> None:
    """The same in front of a replica: it goes on, or ends with a code."""
    conversation = Conversation(_replica().port, initiator=bool(choice & 1))
    for message in _messages(data):
        conversation.receive(message)
        conversation.data_to_send()
    assert conversation.peer is None, "its key is fresh: nothing that was signed before proves anything"
    over = conversation.end
    assert over is None or (over.handshake and not over.error().message.startswith("the peer ended"))


@cache
def _replica() -> Replica:
    return memory(9)


def _messages(data: bytes) -> Iterator[bytes]:
    while data:
        length = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def honest() -> dict[str, bytes]:
    """What the other end says in handshakes that succeed, in both roles, cut after each message."""
    found: dict[str, bytes] = {}
    for choice in range(2):
        ours, theirs = end(initiator=bool(choice)), end(initiator=not choice, key=THEIRS)
        heard, said = ours.start(), theirs.start()
        data = bytes((choice,))
        while said:
            found[f"{choice}, {len(data)} bytes"] = data
            data += b"".join(len(item).to_bytes(2, "big") + item for item in said)
            answers = [answer for item in heard for answer in theirs.receive(item)]
            heard = [answer for item in said for answer in ours.receive(item)]
            said = answers
        assert ours.peer is not None, "an honest handshake fails"
        found[f"{choice}, all of it"] = data
    return found
