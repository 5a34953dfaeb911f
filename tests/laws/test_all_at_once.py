"""Laws 1, 2, 3, 6 and 7 over histories in which everything happens at once: see `mixing`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from crdt_sync.transport.memory import Fate
from tests.laws import tally
from tests.laws.apps import APPS, SET
from tests.laws.histories import FAULTS, INDEX, many
from tests.laws.mixing import CHANGES, Mix
from tests.laws.world import EPOCH_MS, Device

APP = st.integers(0, len(APPS) - 1)
CHANGE = st.sampled_from(("write", "write", "type", "type", "cut", "count", "count", "fill", "fill", "delete"))
VALUES = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SET.items()})


class EverythingAtOnce(RuleBasedStateMachine):
    """Each step is one thing that a user, a network or a machine does."""

    mix: Mix

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="laws-"))

    @initialize(apps=st.lists(APP, min_size=2, max_size=4), seed=st.integers(0, 2**16), values=VALUES)
    def begin(self, apps: list[int], seed: int, values: dict[str, Any]) -> None:
        tally.note(type(self).__name__)
        self.mix = Mix(self.folder, apps, Random(seed))
        for _ in range(3):
            self.mix.create(self.mix.devices[0], values)
        self.mix.converge()

    def teardown(self) -> None:
        try:
            if hasattr(self, "mix"):
                self.mix.finish()
        finally:
            if hasattr(self, "mix"):
                self.mix.abandon()
            shutil.rmtree(self.folder)

    @rule(at=INDEX, values=VALUES)
    def create(self, at: int, values: dict[str, Any]) -> None:
        self.mix.create(self._device(at), values)

    @rule(at=INDEX, count=st.integers(2, 3), values=VALUES, changes=st.lists(st.tuples(INDEX, CHANGE), max_size=3))
    def create_twins(self, at: int, count: int, values: dict[str, Any], changes: list[tuple[int, str]]) -> None:
        """Several create what is one, and go on with what they have before they meet."""
        code = str(len(self.mix.made))
        for offset in range(count):
            self.mix.create(self._device(at + offset), values | {"code": code}, model="Item")
        self.change(changes=changes, meet=True)

    @rule(changes=st.lists(st.tuples(INDEX, CHANGE), min_size=1, max_size=5), meet=st.booleans())
    def change(self, changes: list[tuple[int, str]], meet: bool) -> None:
        for at, change in changes:
            self.mix.change(self._device(at), CHANGES[change])
        if meet:
            self.mix.converge()

    @rule(at=INDEX, changes=st.lists(CHANGE, min_size=2, max_size=3))
    def together(self, at: int, changes: list[str]) -> None:
        device = self._device(at)
        with self.mix.acting(device), device.replica.transaction():
            for change in changes:
                for record in self.mix.records(device)[:1]:
                    CHANGES[change](self.mix, device, record)

    @rule(at=INDEX, how=st.integers(0, 3))
    def settle(self, at: int, how: int) -> None:
        self.mix.settle(self._device(at), how)

    @rule(at=INDEX, redo=st.booleans())
    def take_back(self, at: int, redo: bool) -> None:
        self.mix.take_back(self._device(at), redo=redo)

    @rule(at=INDEX, offset=INDEX, faults=FAULTS)
    def meet(self, at: int, offset: int, faults: dict[int, Fate]) -> None:
        left = self._device(at)
        right = self.mix.devices[(left.index + 1 + offset % (len(self.mix.devices) - 1)) % len(self.mix.devices)]
        self.mix.meet(left, right, faults)
        for device in (left, right):
            self.mix.check(device)

    @rule()
    def meet_all(self) -> None:
        self.mix.converge()

    @rule(at=INDEX)
    def compact(self, at: int) -> None:
        self.mix.compact(self._device(at))

    @rule(at=INDEX, kill=st.booleans(), app=st.one_of(st.none(), APP))
    def reopen(self, at: int, kill: bool, app: int | None) -> None:
        self.mix.reopen(self._device(at), kill=kill, app=app)

    @rule(at=INDEX)
    def copy(self, at: int) -> None:
        self.mix.copy(self._device(at))

    @rule(at=INDEX, ms=st.sampled_from((1, 700, 100_000)))
    def pass_time(self, at: int, ms: int) -> None:
        device = self._device(at)
        device.now_ms = min(device.now_ms + ms, EPOCH_MS + 200_000)

    def _device(self, at: int) -> Device:
        return self.mix.devices[at % len(self.mix.devices)]


def test_laws_hold_with_everything_at_once() -> None:
    """States: with versions of the app mixed, records created twice, undo, compaction, copied stores and all kinds,
    who holds the same shows the same, nothing typed or counted is lost, settled conflicts stay settled, the earliest of
    twins survives, and opening, deriving anew, compacting and coming late show nothing new.
    """
    run_state_machine_as_test(EverythingAtOnce, settings=many())
