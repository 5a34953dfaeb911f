"""What a peer says of our past holds back what we wrote since, for a while; nothing else, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.protocol.messages import Fork
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Position
from crdt_sync.replica.doubting import LOOK_MS_MAX
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import Dice, Task, memory, state_of
from tests.unit.replica.test_awaiting import taking
from tests.unit.replica.test_forks import author_of, device_of
from tests.unit.replica.test_set_aside import relay, titles


class World:
    """A replica with a peer that lies, one that does not, and a third device."""

    def __init__(self, stack: ExitStack) -> None:
        self.dice = Dice(1)
        self.replica = stack.enter_context(memory(1, dice=self.dice))
        self.liar, self.friend, self.third = (stack.enter_context(memory(seed)) for seed in (2, 3, 4))
        self.replica.create(Task, title="begins")
        for peer in (self.liar, self.friend, self.third):
            exchange(self.replica, peer)
        self.with_friend = Exchange(self.replica, self.friend)
        self.with_friend.settle()
        self.with_liar = Exchange(self.replica, self.liar)
        self.with_liar.settle()

    def claim(self, title: str) -> None:
        """The liar says that it holds another branch of ours, just as we write under it."""
        author = author_of(self.replica)
        position = Position(
            state_of(self.replica).ledger.end_of(DEFAULT_PARTITION, author).sequence + 1,
            ChainHash(bytes(WIRE_HASH_BYTES)),
        )
        session = self.with_liar.right.conversation.session
        assert session is not None
        session._standing._forks_to_tell.append(Fork(partition=DEFAULT_PARTITION, author=author, position=position))
        session.wake()
        self.with_liar.right.turn(self.with_liar.line)
        self.replica.create(Task, title=title)
        self.settle()

    def reconnect(self) -> None:
        self.with_liar.close()
        self.with_liar = Exchange(self.replica, self.liar)
        self.with_liar.settle()

    def settle(self) -> None:
        for _ in range(3):
            self.with_liar.settle()
            self.with_friend.settle()

    def tick(self) -> None:
        self.with_liar.left.conversation.tick()
        self.settle()


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        made = World(stack)
        yield made
        made.with_liar.close()
        made.with_friend.close()


def test_what_others_wrote_goes_on_while_a_claim_is_looked_into(world: World) -> None:
    world.claim("ours")
    world.third.create(Task, title="of a third device")
    relay(world.third, world.replica)
    world.settle()
    assert titles(world.friend) == {"begins", "of a third device"}


def test_a_claim_that_nothing_follows_holds_back_what_we_write_for_a_while_only(world: World) -> None:
    world.claim("ours")
    world.third.create(Task, title="of a third device")
    relay(world.third, world.replica)
    world.replica.create(Task, title="on top of it")
    world.tick()
    assert titles(world.friend) == {"begins", "of a third device"}
    world.dice.now_ms += LOOK_MS_MAX
    with taking(world.friend) as taken:
        world.tick()
    assert titles(world.friend) == titles(world.replica)
    assert len(taken) == len({*taken}), "once"
    assert world.with_friend.prove()
    world.replica.create(Task, title="later")
    world.settle()
    assert world.with_friend.prove()


def test_one_device_has_so_much_time_in_all(world: World) -> None:
    for number in range(4):
        world.claim(f"amid claim {number}")
        assert (titles(world.friend) != titles(world.replica)) is (number < 2)
        world.dice.now_ms += LOOK_MS_MAX // 2
        world.reconnect()
        world.settle()
        assert titles(world.friend) == titles(world.replica)
    world.claim("at once")
    assert titles(world.friend) == titles(world.replica)


def test_a_clock_that_is_put_back_makes_it_no_longer(world: World) -> None:
    world.claim("ours")
    world.dice.now_ms -= 10 * LOOK_MS_MAX
    world.tick()
    assert titles(world.friend) == {"begins", "ours"}


def test_what_two_devices_say_is_over_when_both_are_done(world: World) -> None:
    port = world.replica.port
    devices = [device_of(peer) for peer in (world.liar, world.third)]
    author = author_of(world.replica)
    world.claim("ours")
    assert port.own_fork(DEFAULT_PARTITION, author, device=devices[1])
    for device, waits in zip(devices, (True, False), strict=True):
        port.end_doubt(device)
        world.settle()
        assert (titles(world.friend) == {"begins"}) is waits
