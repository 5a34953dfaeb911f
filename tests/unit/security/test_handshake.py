"""The handshake: two honest ends succeed; everything else ends in a documented code and never in an exception."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import HandshakeError, LocalProtocolError
from crdt_sync.security import handshake as module
from crdt_sync.security.channel import Ephemeral, channel_keys
from crdt_sync.security.handshake import (
    HANDSHAKE_MESSAGE_BYTES_MAX,
    HANDSHAKE_MESSAGES_MAX,
    SUPPORTED_VERSIONS,
    Handshake,
    HandshakeCode,
    VersionRange,
    transcript,
)
from crdt_sync.security.identity import DeviceKey

ROOT = Path(__file__).resolve().parents[3]
SPACE, OTHER_SPACE = b"s" * 32, b"o" * 32
ALICE, BOB, MALLORY = (DeviceKey.generate(bytes([number]) * 32) for number in (1, 2, 3))
_PRIME = 2**255 - 19
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    _PRIME - 1,
    _PRIME,
    _PRIME + 1,
)
"""Points whose multiples X25519 makes all zeros, as numbers."""
RANGES = st.tuples(st.integers(0, 255), st.integers(0, 255)).map(
    lambda pair: VersionRange(lowest=min(pair), highest=max(pair))
)


def alice(*, secret: int = 1, space: bytes = SPACE) -> Handshake:
    return Handshake(initiator=True, key=ALICE, space=space, secret=bytes([secret]) * 32)


def bob(*, secret: int = 2, space: bytes = SPACE, key: DeviceKey = BOB) -> Handshake:
    return Handshake(initiator=False, key=key, space=space, secret=bytes([secret]) * 32)


def meet(
    initiator: Handshake,
    responder: Handshake,
    *,
    change: Callable[[Handshake, int, bytes], bytes] = lambda sender, index, data: data,
) -> dict[Handshake, list[bytes]]:
    """Carry messages until none is left; ``change`` may alter each one on its way. Gives what each end sent."""
    sent: dict[Handshake, list[bytes]] = {initiator: [], responder: []}
    queue = [(initiator, data) for data in initiator.start()] + [(responder, data) for data in responder.start()]
    while queue:
        sender, data = queue.pop(0)
        receiver = responder if sender is initiator else initiator
        data = change(sender, len(sent[sender]), data)
        sent[sender].append(data)
        queue += [(receiver, answer) for answer in receiver.receive(data)]
    return sent


def test_two_honest_ends_learn_who_the_other_is() -> None:
    one, other = alice(), bob()
    sent = meet(one, other)
    assert one.peer == PeerIdentity.of(BOB.public_key)
    assert other.peer == PeerIdentity.of(ALICE.public_key)
    assert one.failed is other.failed is None
    assert one.version == other.version == 0
    assert [len(messages) for messages in sent.values()] == [HANDSHAKE_MESSAGES_MAX] * 2
    assert max(len(data) for messages in sent.values() for data in messages) <= HANDSHAKE_MESSAGE_BYTES_MAX
    assert "done" in repr(one)


def test_two_honest_ends_share_a_channel_that_no_other_handshake_gives() -> None:
    one, other = alice(), bob()
    meet(one, other)
    assert other.channel.open(one.channel.seal(b"to bob")) == b"to bob"
    assert one.channel.open(other.channel.seal(b"to alice")) == b"to alice"
    again = alice(), bob(secret=9)
    meet(*again)
    assert again[1].channel.open(one.channel.seal(b"to bob")) is None


def test_there_is_no_channel_before_the_peer_is_proven_nor_after_a_failure() -> None:
    one, other = alice(), bob()
    with pytest.raises(LocalProtocolError):
        _ = one.channel
    meet(one, other)
    one.receive(b"anything")
    with pytest.raises(LocalProtocolError):
        _ = one.channel


def test_keys_put_between_two_devices_make_both_signatures_fail() -> None:
    def swap(sender: Handshake, index: int, data: bytes) -> bytes:
        return data[:2] + Ephemeral(b"m" * 32).public_key + data[34:] if index == 1 else data

    one, other = alice(), bob()
    meet(one, other, change=swap)
    assert one.failed is other.failed is HandshakeCode.WRONG_SIGNATURE


@pytest.mark.parametrize("by_initiator", [True, False])
def test_a_key_put_to_one_end_only_lets_neither_go_on(by_initiator: bool) -> None:
    def swap(sender: Handshake, index: int, data: bytes) -> bytes:
        swapped = index == 1 and (sender is one) is by_initiator
        return data[:2] + Ephemeral(b"m" * 32).public_key + data[34:] if swapped else data

    one, other = alice(), bob()
    meet(one, other, change=swap)
    assert one.failed is other.failed is HandshakeCode.WRONG_SIGNATURE


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_that_makes_the_shared_secret_known_is_refused(point: int) -> None:
    end = bob()
    end.start()
    end.receive(bytes((0xC7, 0, 0, 0)))
    answer = end.receive(bytes((1, 0)) + point.to_bytes(32, "little") + ALICE.public_key + SPACE)
    assert end.failed is HandshakeCode.WRONG_SIGNATURE
    assert answer == [bytes((3, 7))]


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert list(meet(alice(), bob()).values()) == list(meet(alice(), bob()).values())


def test_a_copy_of_this_device_may_come_in() -> None:
    # The host decides what to make of it: to the handshake it is a device that can prove who it is.
    one, other = alice(), bob(key=ALICE)
    meet(one, other)
    assert one.peer == other.peer == PeerIdentity.of(ALICE.public_key)


def test_wrong_space_is_told_to_both() -> None:
    one, other = alice(), bob(space=OTHER_SPACE)
    meet(one, other)
    assert one.failed is other.failed is HandshakeCode.WRONG_SPACE
    assert one.peer is other.peer is None


def test_what_is_recorded_cannot_be_replayed() -> None:
    recorded = meet(alice(), bob())
    for victim, records in ((bob(secret=9), 0), (alice(secret=9), 1)):
        victim.start()
        for data in list(recorded.values())[records]:
            victim.receive(data)
        assert victim.failed is HandshakeCode.WRONG_SIGNATURE
        assert victim.peer is None


def test_an_echo_is_seen_at_its_first_message() -> None:
    for end in (alice(), bob()):
        (preamble,) = end.start()
        end.receive(preamble)
        assert end.failed is HandshakeCode.REFLECTED


def test_an_echo_with_the_roles_flipped_is_seen_by_its_key() -> None:
    for end, role in ((alice(), 1), (bob(), 0)):
        (preamble,) = end.start()
        (hello,) = end.receive(preamble[:3] + bytes([role]))
        end.receive(hello[:1] + bytes([role]) + hello[2:])
        assert end.failed is HandshakeCode.REFLECTED


def test_a_proof_reflected_into_the_other_direction_does_not_hold() -> None:
    # Mallory names Alice's key as her own and gives Alice's proof back to her.
    end = alice()
    end.start()
    end.receive(bytes((0xC7, 0, 0, 1)))
    (proof,) = end.receive(bytes((1, 1)) + b"m" * 32 + ALICE.public_key + SPACE)
    end.receive(proof)
    assert end.failed is HandshakeCode.WRONG_SIGNATURE


def test_a_proof_made_for_another_peer_does_not_hold() -> None:
    # Mallory, whom Bob dials, tries to be Bob towards Alice with what Bob signs for her.
    to_bob = Handshake(initiator=False, key=MALLORY, space=SPACE, secret=b"m" * 32)
    dialing_bob = Handshake(initiator=True, key=BOB, space=SPACE, secret=b"b" * 32)
    proof_of_bob = meet(dialing_bob, to_bob)[dialing_bob][-1]
    end = bob(key=ALICE)
    end.start()
    end.receive(bytes((0xC7, 0, 0, 0)))
    end.receive(bytes((1, 0)) + b"b" * 32 + BOB.public_key + SPACE)
    end.receive(proof_of_bob)
    assert end.failed is HandshakeCode.WRONG_SIGNATURE


def test_a_proof_by_another_key_does_not_hold() -> None:
    def sign_with_own_key(sender: Handshake, index: int, data: bytes) -> bytes:
        return data[:34] + ALICE.public_key + data[66:] if index == 1 and sender is impostor else data

    impostor, victim = Handshake(initiator=True, key=MALLORY, space=SPACE, secret=b"m" * 32), bob()
    meet(impostor, victim, change=sign_with_own_key)
    assert victim.failed is HandshakeCode.WRONG_SIGNATURE


def test_a_key_that_anybody_can_sign_for_does_not_come_in() -> None:
    end = bob()
    end.start()
    end.receive(bytes((0xC7, 0, 0, 0)))
    end.receive(bytes((1, 0)) + b"m" * 32 + (1).to_bytes(32, "little") + SPACE)
    assert end.failed is HandshakeCode.WRONG_SIGNATURE


@given(index=st.integers(0, 2), bit=st.integers(0, 2047), by_initiator=st.booleans())
def test_a_bit_changed_on_the_way_lets_no_end_be_mistaken(index: int, bit: int, by_initiator: bool) -> None:
    def flip(sender: Handshake, at: int, data: bytes) -> bytes:
        if at != index or (sender is one) is not by_initiator:
            return data
        changed = bytearray(data)
        changed[bit // 8 % len(data)] ^= 1 << bit % 8
        return bytes(changed)

    one, other = alice(), bob()
    meet(one, other, change=flip)
    receiver = other if by_initiator else one
    assert receiver.failed is not None
    assert receiver.peer is None
    if index < 2:  # a changed proof is not noticed by its sender, whose own check has nothing to do with it
        assert one.peer is other.peer is None


def test_a_range_made_smaller_on_the_way_is_noticed() -> None:
    # Somebody between them hides that Bob could speak versions above 0 as well.
    def downgrade(sender: Handshake, index: int, data: bytes) -> bytes:
        return data[:2] + b"\x05" + data[3:] if sender is other and index == 0 else data

    one, other = alice(), bob()
    meet(one, other, change=downgrade)
    assert one.failed is HandshakeCode.WRONG_SIGNATURE
    assert other.failed is HandshakeCode.WRONG_SIGNATURE


@pytest.mark.parametrize(("lowest", "highest", "fits"), [(0, 0, True), (0, 9, True), (1, 9, False), (255, 255, False)])
def test_versions_of_a_later_release(lowest: int, highest: int, fits: bool) -> None:
    end = bob()
    end.start()
    answer = end.receive(bytes((0xC7, lowest, highest, 0)))
    if fits:
        assert end.version == 0
    else:
        assert end.failed is HandshakeCode.VERSION_MISMATCH
        assert answer == [bytes((3, 2))]


def test_a_longer_preamble_of_a_later_release_is_taken() -> None:
    end = bob()
    end.start()
    assert len(end.receive(bytes((0xC7, 0, 3, 0)) + b"more")) == 1
    assert end.failed is None


@given(ours=RANGES, theirs=RANGES)
def test_both_ends_choose_the_same_version(ours: VersionRange, theirs: VersionRange) -> None:
    chosen = ours.common(theirs)
    assert chosen == theirs.common(ours)
    both = set(range(ours.lowest, ours.highest + 1)) & set(range(theirs.lowest, theirs.highest + 1))
    assert chosen == max(both, default=None)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([b""], HandshakeCode.NOT_CRDT_SYNC),
        ([b"GET / HTTP/1.1\r\n"], HandshakeCode.NOT_CRDT_SYNC),
        ([b"\xc7"], HandshakeCode.MALFORMED),
        ([b"\xc7\x01\x00\x00"], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x02"], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00" + bytes(61)], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b""], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x09"], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x01" + bytes(300)], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x01\x02" + bytes(96)], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x01\x00" + bytes(95)], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\xc7\x00\x00\x00"], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x02" + bytes(64)], HandshakeCode.UNEXPECTED_MESSAGE),
        ([b"\xc7\x00\x00\x00", b"\x03"], HandshakeCode.MALFORMED),
        ([b"\xc7\x00\x00\x00", b"\x03\x06"], HandshakeCode.WRONG_SPACE),
        ([b"\xc7\x00\x00\x00", b"\x03\x63"], HandshakeCode.UNSPECIFIED),
    ],
)
def test_what_is_wrong_gets_its_code(messages: list[bytes], code: HandshakeCode) -> None:
    end = bob()
    end.start()
    for data in messages:
        end.receive(data)
    assert end.failed is code


def test_a_hello_that_comes_twice() -> None:
    one, other = alice(), bob()
    sent = meet(one, other)[one]
    end = bob()
    end.start()
    for data in (sent[0], sent[1], sent[1]):
        end.receive(data)
    assert end.failed is HandshakeCode.UNEXPECTED_MESSAGE


def test_a_message_after_the_end_is_no_session_message() -> None:
    one, other = alice(), bob()
    meet(one, other)
    assert one.receive(b"anything") == []
    assert one.failed is HandshakeCode.UNEXPECTED_MESSAGE
    assert one.peer is None


def test_a_failure_is_final_and_told_once() -> None:
    end = bob()
    end.start()
    assert end.receive(b"junk") == [bytes((3, 1))]
    assert end.receive(bytes((0xC7, 0, 0, 0))) == []
    assert end.failed is HandshakeCode.NOT_CRDT_SYNC


FRAGMENTS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda low, high, role: bytes((0xC7, low, high, role)), *[st.integers(0, 3)] * 3),
    st.builds(
        lambda role, body: bytes((1, role)) + body + SPACE, st.integers(0, 2), st.binary(min_size=64, max_size=64)
    ),
    st.builds(lambda body: b"\x02" + body, st.binary(min_size=63, max_size=65)),
    st.builds(lambda code: bytes((3, code)), st.integers(0, 255)),
)  # fmt: skip


@given(messages=st.lists(FRAGMENTS, max_size=6), initiator=st.booleans())
def test_any_bytes_give_a_code_and_never_an_exception_or_a_peer(messages: list[bytes], initiator: bool) -> None:
    end = alice() if initiator else bob()
    sent = end.start()
    for data in messages:
        failed_before = end.failed
        sent += end.receive(data)
        assert end.peer is None  # nobody can sign without a key
        if failed_before is not None:
            assert end.failed is failed_before
    # Of any three messages in a row, one is wrong or unproven.
    assert end.failed is not None or len(messages) < HANDSHAKE_MESSAGES_MAX
    assert len(sent) <= HANDSHAKE_MESSAGES_MAX
    assert repr(end)


def test_our_own_mistakes_are_told_to_us() -> None:
    end = alice()
    with pytest.raises(LocalProtocolError):
        end.receive(b"")
    with pytest.raises(LocalProtocolError):
        end.error()
    end.start()
    with pytest.raises(LocalProtocolError):
        end.start()
    with pytest.raises(ValueError, match="32 bytes"):
        alice(space=b"short")
    with pytest.raises(ValueError, match="secret of a connection has 32 bytes"):
        Handshake(initiator=True, key=ALICE, space=SPACE, secret=b"short")
    with pytest.raises(ValueError, match="speaks"):
        Handshake(initiator=True, key=ALICE, space=SPACE, secret=bytes(32), versions=VersionRange(lowest=0, highest=1))
    for lowest, highest in ((1, 0), (-1, 0), (0, 256)):
        with pytest.raises(ValueError, match="no range"):
            VersionRange(lowest=lowest, highest=highest)


def test_a_failure_as_an_error_says_what_and_what_to_do() -> None:
    one, other = alice(), bob()
    one.start()
    other.start()
    one.receive(b"junk")
    error = one.error()
    assert isinstance(error, HandshakeError)
    assert error.code == "not_crdt_sync"
    assert "address" in error.hint
    other.receive(bytes((0xC7, 0, 0, 0)))
    other.receive(bytes((3, 6)))
    assert other.failed_by_peer
    assert "as the peer reports" in str(other.error())


def test_every_code_has_a_number_an_explanation_and_a_place_in_the_specification() -> None:
    text = (ROOT / "docs/spec/handshake.md").read_text(encoding="utf-8")
    documented = {
        name: int(number) for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, flags=re.MULTILINE)
    }
    assert documented == {code.value: module._CODE_NUMBERS[code] for code in HandshakeCode}
    assert set(module._EXPLANATIONS) == set(HandshakeCode)


def test_the_example_in_the_specification_is_what_is_sent() -> None:
    text = (ROOT / "docs/spec/handshake.md").read_text(encoding="utf-8")
    example = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert example is not None
    lines = [line.split() for line in example.group(1).splitlines() if line]
    one, other = alice(), bob()
    sent = meet(one, other)
    told = {"initiator": [data.hex() for data in sent[one]], "responder": [data.hex() for data in sent[other]]}
    documented: dict[str, list[str]] = {"initiator": [], "responder": []}
    for role, what, data in lines[:6]:
        assert what in {"PREAMBLE", "HELLO", "PROOF"}
        documented[role].append(data)
    assert documented == told
    hashed = transcript(sent[one][:2], sent[other][:2])
    shared = Ephemeral(bytes([1]) * 32).agree(sent[other][1][2:34])
    assert shared is not None
    keys = channel_keys(shared, transcript=hashed)
    sealed = [one.channel.seal(b"first"), one.channel.seal(b"second"), other.channel.seal(b"first")]
    assert [line[-1] for line in lines[6:]] == [item.hex() for item in (hashed, shared, *keys, *sealed)]
    assert VersionRange(lowest=0, highest=0) == SUPPORTED_VERSIONS
