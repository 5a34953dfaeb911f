"""Random histories: what users do on two to five replicas, sessions that lose, repeat and break off, and re-openings;
stores that are put back from a backup, and ones that are damaged.

A law is a `Law`: what must hold after each step and at the end. `machine_of` makes the state machine that looks for a
history in which a law does not hold.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from random import Random
from typing import Any, cast

from hypothesis import reject
from hypothesis import seed as use_seed
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from crdt_sync.testing.exchange import ExchangeReport
from crdt_sync.transport.memory import Fate
from tests.laws import filling, tally
from tests.laws.models import ASKING, ELEMENTS, ENTRIES, GIVEN, REGISTERS, SLUGS, VALUES, Page, Task
from tests.laws.world import EPOCH_MS, Device, Rollback, World

INDEX = st.integers(0, 11)
"""Stands for one of whatever there is, modulo how many there are."""

SKEW_MAX_MS = 200_000
"""Clocks differ by less than what replicas follow; law 4 is about those that differ by more."""

RECORD = st.sampled_from((0, 0, 0, 1, 1, 2, 3))
"""Stands for a record; most is done to the first, which everybody knows."""

LONG_TITLE = "long " * 3_500
LONG_TEXT_CHARS = 5_000
"""Each makes a document of more than 16 KiB. No character of a text may be used twice: so there is one in a history."""

RECORDS_MAX = 3
STEPS = 30
THOROUGH = 1_000
"""A profile with so many examples is out for what is rare."""

WRITES = st.one_of(*(st.tuples(st.just(name), st.sampled_from(values)) for name, values in VALUES.items()))

FIELDS = st.lists(st.sampled_from(REGISTERS), min_size=1, max_size=2, unique=True)

FAULTS: st.SearchStrategy[dict[int, Fate]] = st.one_of(
    st.just({}),
    st.dictionaries(st.integers(1, 24), st.sampled_from((Fate.CUT, Fate.CUT_AND_LOSE)), min_size=1, max_size=1),
    st.dictionaries(st.integers(1, 24), st.sampled_from((Fate.DROP, Fate.DUPLICATE, Fate.CUT)), max_size=3),
)

CREATIONS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from(values) for name, values in (*VALUES.items(), *GIVEN.items())},
        "votes": st.integers(-2, 2),
        "tags": st.sets(st.sampled_from(ELEMENTS)),
        "notes": st.integers(0, 3),
    },
)

GIFTS = st.one_of(*(st.tuples(st.just(name), st.sampled_from(values)) for name, values in GIVEN.items()))

CHANGES = st.one_of(
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("count"), st.integers(-2, 3)),
    st.tuples(st.just("tag"), st.tuples(st.sampled_from(ELEMENTS), st.booleans())),
    st.tuples(st.just("retag"), st.sets(st.sampled_from(ELEMENTS))),
    st.tuples(st.just("splice"), st.tuples(INDEX, st.integers(0, 3), st.integers(0, 3))),
    st.tuples(st.just("retype"), st.tuples(st.integers(1, 3), st.integers(0, 3))),
    st.tuples(st.just("insert"), INDEX),
    st.tuples(st.just("element"), st.tuples(st.sampled_from(("set", "remove")), INDEX)),
    st.tuples(st.just("move"), st.tuples(INDEX, INDEX)),
    st.tuples(st.just("put"), st.tuples(st.sampled_from(ENTRIES), st.sampled_from((1, 2, None)))),
    st.tuples(st.just("give"), GIFTS),
    st.tuples(st.just("dress"), st.tuples(INDEX, st.sampled_from((1, 2, None)))),
    st.tuples(st.just("delete"), st.none()),
    st.tuples(st.just("restore"), st.none()),
)

REARRANGEMENTS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("move"), st.tuples(st.just(0), st.integers(1, 2))),
    st.tuples(st.just("element"), st.tuples(st.sampled_from(("set", "remove")), st.just(0))),
    st.tuples(st.just("put"), st.tuples(st.just(ENTRIES[-1]), st.sampled_from((1, 3, None)))),
    st.tuples(st.just("tag"), st.tuples(st.just(ELEMENTS[0]), st.booleans())),
    st.tuples(st.just("give"), st.tuples(st.just("best"), st.integers(1, 3))),
)


class LawBrokenError(AssertionError):
    """What a law forbids has happened; the text begins with the law's name."""


@contextmanager
def under(law: Law) -> Iterator[None]:
    """What fails inside is the law, and says so; a law that calls for another one's look is not blamed for it."""
    try:
        yield
    except LawBrokenError:
        raise
    except AssertionError as error:
        raise LawBrokenError(f"{type(law).__name__}: {error}") from error


def happening(**choices: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule of the state machine. Where only laws are looked for, what else fails ends its history quietly."""

    def decorate(step: Callable[..., None]) -> Callable[..., None]:
        @wraps(step)
        def run(self: Histories, *args: Any, **given: Any) -> None:
            with self.only_looking_for_laws():
                step(self, *args, **given)

        return cast("Callable[..., None]", rule(**choices)(run))  # type: ignore[no-untyped-call]  # for a plain callable

    return decorate


class Law:
    """What must hold in every history; a law overrides the moments at which it looks."""

    def after_change(self, world: World, device: Device, record: str) -> None:
        """A user of one replica did something to one record."""

    def after_session(self, left: Device, right: Device, report: ExchangeReport) -> None:
        """A session between two replicas met no faults."""

    def after_meeting(self, world: World, left: Device, right: Device) -> None:
        """A session between two replicas ended, one way or another."""

    def after_opening(self, world: World, device: Device, before: Any) -> None:
        """A replica was closed or killed, and opened again; ``before`` is what `before_opening` gave."""

    def before_opening(self, world: World, device: Device) -> Any:
        """A replica is about to be closed or killed."""

    def while_apart(self, world: World) -> None:
        """The history is over; replicas still hold different parts of it."""

    def at_end(self, world: World) -> None:
        """All replicas hold everything."""


class Histories(RuleBasedStateMachine):
    """All that can happen; subclasses name the laws that are held against it."""

    laws: tuple[Law, ...] = ()
    first: type[Task] = Task
    """The model of the record to which most is done."""
    only_laws: bool = False
    """Whether nothing but a law may fail: a planted bug shows in other places too, and says nothing there."""
    torn: bool = False
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="laws-"))

    @initialize(
        kinds=st.lists(st.sampled_from((False, False, True)), min_size=2, max_size=5),
        skews=st.lists(INDEX, max_size=5),
        seed=st.integers(0, 2**16),
        values=CREATIONS,
    )
    def begin(self, kinds: list[bool], skews: list[int], seed: int, values: dict[str, Any]) -> None:
        tally.note(", ".join(type(law).__name__ for law in self.laws))
        self.world = World(self.folder, tuple(kinds), random=Random(seed), after_session=self._after_session)
        for device, skew in zip(self.world.devices, skews, strict=False):
            device.now_ms += skew * 50
        self._create(self.world.devices[0], self.first, None, values)
        self.meet_all()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world") and not self.torn:
                with self.only_looking_for_laws():
                    self._look(lambda law: law.while_apart(self.world))
                    self.world.converge()
                    self._look(lambda law: law.at_end(self.world))
        finally:
            if hasattr(self, "world"):
                self.world.abandon()
            shutil.rmtree(self.folder)

    @happening(at=INDEX, slug=st.sampled_from((*SLUGS, None)), values=CREATIONS)
    def create(self, at: int, slug: str | None, values: dict[str, Any]) -> None:
        if slug is not None or len(self.world.reference.records()) < RECORDS_MAX:
            self._create(self._device(at), Task if slug is None else Page, slug, values)

    @happening(at=INDEX, of=RECORD, change=CHANGES)
    def change(self, at: int, of: int, change: tuple[str, Any]) -> None:
        device, record = self._device(at), self._record(of)
        self._change(device, record, change)
        self._changed(device, record)

    @happening(of=RECORD, changes=st.lists(st.tuples(INDEX, CHANGES), min_size=2, max_size=4), meet=st.booleans())
    def race(self, of: int, changes: list[tuple[int, tuple[str, Any]]], meet: bool) -> None:
        """Several change one record, each knowing of the record but not of the others' changes."""
        for at, change in changes:
            self.change(at, of, change)
        if meet:
            self.meet_all()

    @happening(of=RECORD, at=INDEX, fields=FIELDS, picks=st.lists(INDEX, min_size=2, max_size=3), turned=st.booleans())
    def disagree(self, of: int, at: int, fields: list[str], picks: list[int], turned: bool) -> None:
        """Several write some registers, in one order of the devices or the other, and hear of each other."""
        changes = [
            (at + n, ("write", (field, VALUES[field][pick % len(VALUES[field])])))
            for field in fields
            for n, pick in enumerate(picks)
        ]
        self.race(of, changes[::-1] if turned else changes, True)

    @happening(
        of=RECORD, at=INDEX, changes=st.lists(st.tuples(st.integers(0, 1), REARRANGEMENTS), min_size=2, max_size=4)
    )
    def rearrange(self, of: int, at: int, changes: list[tuple[int, tuple[str, Any]]]) -> None:
        """Two do several things to one element of a list or set and to one entry of a map, and hear of each other."""
        self.change(at, of, ("tag", (ELEMENTS[0], True)))
        for number in (1, 2):
            self.change(at, of, ("insert", 0))
            self.change(at, of, ("put", (ENTRIES[-1], number)))
        self.meet_all()
        self.race(of, [(at + offset, change) for offset, change in changes], True)

    @happening(of=RECORD, at=INDEX, others=st.lists(CHANGES, max_size=1))
    def delete_at_once(self, of: int, at: int, others: list[tuple[str, Any]]) -> None:
        """Two delete a record, and perhaps a third goes on with it."""
        deletions = [(at, ("delete", None)), (at + 1, ("delete", None))]
        self.race(of, [*deletions, *((at + 2, change) for change in others)], True)

    @happening(of=RECORD, field=st.sampled_from(ASKING), at=INDEX, choice=st.one_of(st.none(), INDEX))
    def resolve_late(self, of: int, field: str, at: int, choice: int | None) -> None:
        """A third value arrives between looking at a conflict and settling it."""
        first, second, third = (self._device(at + offset) for offset in range(3))
        if first is third:
            return
        for n, device in enumerate((first, second, third)):
            self._change(device, self._record(of), ("write", (field, VALUES[field][n])))
        self.world.meet(first, second)
        self.world.look(first)
        self.world.meet(first, third)
        for conflict in first.stale[-1:]:
            self.world.resolve(first, conflict, choice)
            self._changed(first, f"{conflict.model} {conflict.record_id}")

    @happening(
        at=INDEX, of=RECORD, changes=st.lists(st.tuples(st.integers(0, 1), CHANGES), min_size=2, max_size=4), fail=INDEX
    )
    def together(self, at: int, of: int, changes: list[tuple[int, tuple[str, Any]]], fail: int) -> None:
        """Several changes as one transaction, which now and then fails at its end."""
        device = self._device(at)
        try:
            with self.world.transaction(device):
                for offset, change in changes:
                    self._change(device, self._record(of + offset), change)
                if fail > 8:
                    raise Rollback
        except Rollback:
            pass
        for record in self.world.reference.records():
            self._changed(device, record)

    @happening(at=INDEX, of=INDEX, choice=st.one_of(st.none(), INDEX))
    def resolve(self, at: int, of: int, choice: int | None) -> None:
        """Settle a conflict that somebody has on the screen, perhaps for long."""
        device = self._device(at)
        if not device.stale:
            self.world.look(device)
        if device.stale:
            conflict = device.stale[of % len(device.stale)]
            self.world.resolve(device, conflict, choice)
            self._changed(device, f"{conflict.model} {conflict.record_id}")

    @happening(at=INDEX, offset=INDEX, faults=FAULTS)
    def meet(self, at: int, offset: int, faults: dict[int, Fate]) -> None:
        left = self._device(at)
        right = self._other(left, offset)
        self.world.meet(left, right, faults)
        self._met(left, right)

    @happening()
    def meet_all(self) -> None:
        self.world.converge()
        for device in self.world.devices:
            self._met(self.world.devices[0], device)

    @happening(at=INDEX, kill=st.booleans())
    def reopen(self, at: int, kill: bool) -> None:
        device = self._on_disk(at)
        if device is None:
            return
        before = [law.before_opening(self.world, device) for law in self.laws]
        if kill:
            device.kill()
        else:
            device.close()
        for law, held in zip(self.laws, before, strict=True):
            with under(law):
                law.after_opening(self.world, device, held)

    @happening(at=INDEX, of=RECORD, text=st.sampled_from((False, False, False, True)))
    def outgrow(self, at: int, of: int, text: bool) -> None:
        """A record gets so large that it is kept as snapshot and tail, and goes on from there."""
        device, record = self._device(at), self._record(of)
        if text and self.world.characters < LONG_TEXT_CHARS:
            self.world.splice(device, record, at=1, removed=0, inserted=LONG_TEXT_CHARS)
        else:
            self.world.write(device, record, title=LONG_TITLE)
        self._changed(device, record)

    @happening(at=INDEX)
    def back_up(self, at: int) -> None:
        """A copy of a store is put aside, and of what the machine keeps beside it."""
        device = self._on_disk(at)
        if device is not None:
            device.back_up()

    @happening(at=INDEX, offset=INDEX, machine=st.booleans(), changes=st.lists(st.tuples(RECORD, CHANGES), max_size=3))
    def put_back(self, at: int, offset: int, machine: bool, changes: list[tuple[int, tuple[str, Any]]]) -> None:
        """A backup is restored after everybody had heard of everything; its owner goes on, and meets somebody.

        With ``machine`` all that the machine keeps is taken back with it, so nothing can tell before the next meeting,
        and what is written until then makes a fork.
        """
        backed_up = [device for device in self.world.devices if device.backed_up]
        if not backed_up:
            return
        device = backed_up[at % len(backed_up)]
        other = self._other(device, offset)
        self.world.converge()
        self.world.put_back(device, machine=machine)
        for of, change in changes:
            self._change(device, self._record(of), change)
        self.world.settle(device, other)
        self._met(device, other)

    @happening(at=INDEX, offset=INDEX, of=RECORD, lost=st.integers(0, 3))
    def damage(self, at: int, offset: int, of: int, lost: int) -> None:
        """A replica's document is damaged while both sides know the same; the next session repairs it by content."""
        device = self._device(at)
        other = self._other(device, offset)
        self.world.converge()
        if self.world.damage(device, self._record(of), lost=lost):
            self.world.meet(device, other)
            self._met(device, other)

    @happening(at=INDEX, ms=st.sampled_from((-5_000, -1, 1, 700, 100_000)))
    def pass_time(self, at: int, ms: int) -> None:
        """A clock goes on, or is set; somebody looks at the conflicts."""
        device = self._device(at)
        device.now_ms = min(max(device.now_ms + ms, EPOCH_MS), EPOCH_MS + SKEW_MAX_MS)
        self.world.look(device)

    @contextmanager
    def only_looking_for_laws(self) -> Iterator[None]:
        """Where that is so, have Hypothesis try another history in place of one that fails otherwise."""
        try:
            yield
        except (LawBrokenError, UnsatisfiedAssumption, KeyboardInterrupt):
            raise
        except BaseException:  # the engine's panics and pytest's failures are no Exceptions
            if not self.only_laws:
                raise
            self.torn = True
            reject()

    def _after_session(self, left: Device, right: Device, report: ExchangeReport) -> None:
        self._look(lambda law: law.after_session(left, right, report))

    def _met(self, left: Device, right: Device) -> None:
        self._look(lambda law: law.after_meeting(self.world, left, right))

    def _look(self, look: Callable[[Law], None]) -> None:
        """Each law looks, under its own name."""
        for law in self.laws:
            with under(law):
                look(law)

    def _on_disk(self, at: int) -> Device | None:
        """One of those whose store is a file, if there are any."""
        on_disk = [device for device in self.world.devices if device.path is not None]
        return on_disk[at % len(on_disk)] if on_disk else None

    def _other(self, device: Device, offset: int) -> Device:
        devices = self.world.devices
        return devices[(device.index + 1 + offset % (len(devices) - 1)) % len(devices)]

    def _device(self, at: int) -> Device:
        return self.world.devices[at % len(self.world.devices)]

    def _create(self, device: Device, model: type[Task], slug: str | None, values: dict[str, Any]) -> None:
        named = {} if slug is None else {"slug": slug}
        self._changed(device, self.world.create(device, model, **named, **self._with_text(values)))

    def _record(self, of: int) -> str:
        records = self.world.reference.records()
        return records[of % len(records)]

    def _with_text(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "notes": self.world.new_text(values["notes"])} if "notes" in values else values

    def _change(self, device: Device, record: str, change: tuple[str, Any]) -> None:
        world = self.world
        match change:
            case ("write", (name, value)):
                world.write(device, record, **{name: value})
            case ("count", step):
                world.count(device, record, step)
            case ("tag", (element, add)):
                world.tag(device, record, element, add=add)
            case ("retag", elements):
                world.retag(device, record, elements)
            case ("splice", (place, removed, inserted)):
                world.splice(device, record, at=place, removed=removed, inserted=inserted)
            case ("retype", (keep, inserted)):
                world.retype(device, record, keep=keep, inserted=inserted)
            case (("insert" | "element" | "move" | "put" | "give" | "dress"), _):
                filling.change(world, device, record, change)
            case ("delete", _):
                world.delete(device, record)
            case ("restore", _):
                world.restore(device, record)
            case unknown:
                raise ValueError(unknown)

    def _changed(self, device: Device, record: str | None) -> None:
        if record is not None:
            self._look(lambda law: law.after_change(self.world, device, record))


def many(*, share: int = 1) -> Settings:
    """How many histories there are, which is up to the profile (tests/conftest.py).

    A history costs as much as a dozen other examples, so there are fewer of them, unless it is to be thorough.

    Args:
        share: one of so many tests that share a law's histories where there are many.
    """
    examples = Settings().max_examples
    if examples < THOROUGH:
        return Settings(max_examples=max(5, examples // 6), stateful_step_count=STEPS)
    return Settings(max_examples=-(-examples // share), stateful_step_count=STEPS)


def hold(
    law: Law,
    *,
    first: type[Task] = Task,
    settings: Settings | None = None,
    only_law: bool = False,
    share: int = 1,
    seed: int | None = None,
) -> None:
    """Hold a law against random histories.

    Args:
        law: what must hold.
        first: the model of the record to which most is done.
        settings: in place of the profile's.
        only_law: pass over histories in which something else fails first.
        share: as in `many`.
        seed: draws them; None leaves it to the profile.
    """
    machine = type("Histories", (Histories,), {"laws": (law,), "first": first, "only_laws": only_law})
    if seed is not None:
        machine = use_seed(seed)(machine)
    run_state_machine_as_test(machine, settings=settings or many(share=share))
