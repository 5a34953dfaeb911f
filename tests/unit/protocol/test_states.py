"""The tables of states are complete, and what they say is what a session does."""

from __future__ import annotations

import pytest

from crdt_sync.protocol.codes import CODES, NUMBER_OF, ErrorCode, MessageType, code_of
from crdt_sync.protocol.events import Ended
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.states import ACCEPTED, TRANSITIONS, Phase, Signal, Verdict, diagram, verdict
from crdt_sync.protocol.wire import encode_frames, join_message
from tests.unit.protocol.replicas import FakeReplica, Pair

EMPTY_ARRAY = b"\x90"


def test_the_table_covers_every_phase_and_message() -> None:
    assert set(ACCEPTED) == set(Phase)
    for phase in Phase:
        for kind in MessageType:
            expected = Verdict.ACCEPT if kind in ACCEPTED[phase] else Verdict.REFUSE
            assert verdict(phase, kind) is (Verdict.DROP if phase is Phase.ENDED else expected)


def test_every_message_is_accepted_somewhere() -> None:
    assert set().union(*ACCEPTED.values()) == set(MessageType)


def test_every_phase_is_reached_and_left_by_the_signals() -> None:
    assert set(TRANSITIONS.values()) | {Phase.HELLO} == set(Phase)
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) - {Phase.ENDED}
    assert {signal for _, signal in TRANSITIONS} == set(Signal)


def test_the_diagram_has_every_transition() -> None:
    drawn = diagram()
    for (phase, signal), target in TRANSITIONS.items():
        assert f"{phase.value} --> {target.value}: {signal.value}" in drawn


def session_in(phase: Phase) -> Session:
    """A session that a peer has brought into a phase."""
    left, right = FakeReplica(1), FakeReplica(2)
    right.write("a=1")
    pair = Pair(left, right)
    session = pair.left.session
    if phase is Phase.HELLO:
        return session
    if phase is Phase.STREAMING:
        pair.left.hold = True
        pair.flight()
        pair.flight()
    elif phase is Phase.FINGERPRINTS:
        right.documents = {}
        pair.flight()
        pair.flight()
    elif phase is Phase.LIVE:
        pair.settle()
    elif phase is Phase.ENDED:
        session.close()
    else:
        session.state = phase
    return session


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", list(MessageType))
def test_every_message_in_every_phase_is_taken_or_ends_the_session_with_a_code(phase: Phase, kind: MessageType) -> None:
    session = session_in(phase)
    assert session.state is phase
    session.events()
    (frame,) = encode_frames(join_message(kind, EMPTY_ARRAY), frame_bytes_max=4096)
    session.receive(frame)
    codes = [event.code for event in session.events() if isinstance(event, Ended)]
    if phase is Phase.ENDED:
        assert codes == []
    elif verdict(phase, kind) is Verdict.REFUSE:
        # Shapes are read before the state is looked at, and an empty array is a shape of few messages.
        assert codes in ([ErrorCode.UNEXPECTED_MESSAGE], [ErrorCode.MALFORMED])
    else:
        assert codes in ([], [ErrorCode.MALFORMED])


def test_every_code_has_a_number_and_words() -> None:
    assert [facts.code for facts in CODES] == list(ErrorCode)
    assert [NUMBER_OF[code] for code in ErrorCode] == list(range(len(ErrorCode)))
    assert all(facts.cause and facts.reporter and facts.receiver for facts in CODES)
    assert code_of(9_999) is ErrorCode.OTHER
