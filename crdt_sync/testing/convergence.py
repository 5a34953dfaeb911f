"""A state machine that looks for a history in which an app's own models do not hold what they must."""

from __future__ import annotations

import shutil
import unittest
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from secrets import randbits
from typing import Any, ClassVar, cast

from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as with_seed
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from crdt_sync.core import codec
from crdt_sync.core.kinds import PlainRegister
from crdt_sync.core.kinds.merge_with import MergeFunction, function_name
from crdt_sync.core.model import Model, spec_of
from crdt_sync.core.upgrade import upgrades
from crdt_sync.errors import InputError, SchemaError
from crdt_sync.testing.arguments import checked_by_name, whole
from crdt_sync.testing.field_values import by_model
from crdt_sync.testing.laws import LawBrokenError
from crdt_sync.testing.merges import EXAMPLES, check_model
from crdt_sync.testing.playing import Players, World, scratch_folder
from crdt_sync.testing.steps import Create, Step
from crdt_sync.testing.strategies import Own, beginnings, records, spread, steps_by_name
from crdt_sync.testing.upgrades import check_upgrade
from crdt_sync.testing.watching import merge_registers, replaced

STEPS = 20
"""Steps of a history, unless the settings say otherwise."""
REPLICAS = 3
SEED_BITS = 32
SEED_WHERE_ALL_REPEATS = 0
"""The seed under a profile of Hypothesis that is to try the same each time."""

Older = Mapping[type[Model], Iterable[Mapping[str, Any]]]
"""Stored values of records as older versions of the app wrote them."""


class Found(Enum):
    """Where a law was broken first. All later histories are judged alike, or Hypothesis takes the failure for flaky."""

    NOWHERE = auto()
    IN_A_STEP = auto()
    AT_THE_END = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is tried.

    Args:
        models: the app's, with the functions that are to be tried in them.
        values: the app's own strategies.
        may_drop: merge functions that may lose elements.
        older: what older versions wrote.
        seed: which histories are drawn; None draws others each time.
    """

    models: tuple[type[Model], ...]
    values: Own
    may_drop: Collection[str]
    older: Older
    seed: int | None


class ConvergenceMachine(RuleBasedStateMachine):
    """Users of an app edit on several replicas, which meet, lose connections, and are closed and killed.

    `for_models` makes one for an app's models; its ``TestCase`` runs under pytest and unittest. The laws that it holds
    are listed in docs/reference/testing.md.
    """

    players: ClassVar[Players]
    replicas: ClassVar[int]
    found: ClassVar[Found] = Found.NOWHERE
    """Where a law was broken first."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = scratch_folder()
        self._over = True
        self.world = World(self.players, self._folder)

    @classmethod
    def for_models(
        cls,
        models: Sequence[type[Model]],
        /,
        *,
        merge_functions: Mapping[str, MergeFunction] | None = None,
        values: Own | None = None,
        may_drop: Collection[str] = (),
        older: Older | None = None,
        replicas: int = REPLICAS,
        seed: int | None = None,
    ) -> type[ConvergenceMachine]:
        """A state machine for an app's models.

        Args:
            models: of the app; what they refer to need not be among them.
            merge_functions: ``"Model.field"`` → a function to try in place of what the field is declared with.
            values: ``"Model.field"`` → a Hypothesis strategy, where the types say too little.
            may_drop: ``"Model.field"`` of merge functions that are meant to lose elements of lists, tuples and dicts.
            older: for models with an upgrade function, stored values as older versions wrote them.
            replicas: how many, from 2 to 8.
            seed: which histories are drawn; None draws others each time, unless Hypothesis' profile is derandomized.

        Raises:
            SchemaError, InputError: Hypothesis knows no values of a field and ``values`` has none; a name that is no
                field; a number that cannot be.
        """
        checked_by_name(merge_functions, what="merge_functions")
        checked_by_name(values, what="values")
        checked_by_name(older, what="older")
        if seed is not None:
            whole(seed, what="a seed", least=0)
        functions, own = merge_functions or {}, values or {}
        tried = by_model(models, functions)
        subject = Subject(
            models=tuple(replaced(model, tried.get(spec_of(model).name, {})) for model in models),
            values=own,
            may_drop=may_drop,
            older=older or {},
            seed=seed,
        )
        space: dict[str, Any] = {
            name: rule(step=steps)(_doing(name)) for name, steps in steps_by_name(models, replicas, values=own).items()
        }
        space["begin"] = initialize(created=beginnings(models, values=own))(_begin)
        space["players"] = Players(models, replicas, merge_functions=functions, may_drop=may_drop)
        space["replicas"] = replicas
        for model in older or {}:
            if not upgrades(model):
                problem = f"model {spec_of(model).name!r} is in older, and has no upgrade function"
                raise InputError(problem, hint="Override the classmethod `__upgrade__`, or leave it out.")
        name = _spelled(models, functions, replicas=replicas)
        machine = cast("type[ConvergenceMachine]", type(name, (cls,), {"__module__": cls.__module__, **space}))
        machine.TestCase = _test_case(machine, subject)  # type: ignore[assignment]  # a property of Hypothesis' own
        return machine

    def do(self, step: Step) -> None:
        """One step, which a rule drew."""
        self._over = True
        try:
            self.world.do(step)
        except LawBrokenError:
            self._note(Found.IN_A_STEP)
            raise
        self._over = False

    def teardown(self) -> None:
        """Hold the laws that are about the whole history, unless there was none, or one was broken in it.

        Where a step was the first to break one, the way there is being shortened, and what comes after steps is left
        out: it takes half of the time.
        """
        try:
            if not self._over and self.found is not Found.IN_A_STEP:
                self.world.finish()
        except LawBrokenError:
            self._note(Found.AT_THE_END)
            raise
        finally:
            self.world.abandon()
            shutil.rmtree(self._folder)

    def _note(self, where: Found) -> None:
        if self.found is Found.NOWHERE:
            type(self).found = where


def _doing(name: str) -> Callable[[ConvergenceMachine, Step], None]:
    """A rule's function, of a name of its own: failures print it."""

    def do(self: ConvergenceMachine, step: Step) -> None:
        self.do(step)

    do.__name__ = do.__qualname__ = name
    return do


def _begin(self: ConvergenceMachine, created: tuple[Create, ...]) -> None:
    """Everybody starts with a record of each model."""
    steps: tuple[Step, ...] = (*created, *spread(self.replicas))
    for step in steps:
        self.do(step)


_begin.__name__ = _begin.__qualname__ = "begin"


def _spelled(models: Sequence[type[Model]], functions: Mapping[str, MergeFunction], *, replicas: int) -> str:
    """How a machine is made, for the program that Hypothesis prints."""
    parts = [f"[{', '.join(spec_of(model).name for model in models)}]"]
    if functions:
        spelled = (f"{name!r}: {function_name(function)}" for name, function in functions.items())
        parts.append(f"merge_functions={{{', '.join(spelled)}}}")
    if replicas != REPLICAS:
        parts.append(f"replicas={replicas}")
    return f"ConvergenceMachine.for_models({', '.join(parts)})"


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class ConvergenceTestCase(unittest.TestCase):
    """What a machine's ``TestCase`` is.

    ``settings`` may be assigned, as with any state machine of Hypothesis. ``crdt_seed`` and ``crdt_examples`` are what
    the options ``--crdt-seed`` and ``--crdt-examples`` say.
    """

    machine: ClassVar[type[ConvergenceMachine]]
    subject: ClassVar[Subject]
    settings: ClassVar[Settings]
    crdt_seed: ClassVar[int | None] = None
    crdt_examples: ClassVar[int | None] = None

    def run_seeded(self, run: Callable[[int, Settings], None]) -> None:
        """Run something by seed and settings; where it fails, say how to have it fail again."""
        settings, seed = type(self).settings, self.crdt_seed
        if self.crdt_examples is not None:
            settings = Settings(settings, max_examples=self.crdt_examples)
        if seed is None:
            seed = self.subject.seed
        if seed is None:
            seed = SEED_WHERE_ALL_REPEATS if settings.derandomize else randbits(SEED_BITS)
        settings = Settings(settings, derandomize=False, database=None)
        try:
            run(seed, settings)
        except Exception as error:
            options = f"--crdt-seed={seed} --crdt-examples={settings.max_examples}"
            error.add_note(f"For this failure again, give the same command these options: {options}")
            if isinstance(error, LawBrokenError | SchemaError):  # its text says it all; where we raised it says nothing
                raise error.with_traceback(None) from None
            raise


def _test_case(machine: type[ConvergenceMachine], subject: Subject) -> type[ConvergenceTestCase]:
    """The tests that there are for some models."""
    space: dict[str, Any] = {"machine": machine, "subject": subject, "settings": _settings()}
    space["test_histories"] = _test_histories
    if any(map(merge_registers, subject.models)):
        space["test_merge_functions"] = _test_merge_functions
    if any(map(upgrades, subject.models)):
        space["test_upgrade_functions"] = _test_upgrade_functions
    return cast("type[ConvergenceTestCase]", type(f"{machine.__name__}.TestCase", (ConvergenceTestCase,), space))


def _settings() -> Settings:
    """Those of the profile; a history is long, and the phase that explains failures would run it hundreds of times."""
    return Settings(
        deadline=None,
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Settings().phases if phase is not Phase.explain],
        report_multiple_bugs=False,
        print_blob=False,
    )


def _test_histories(self: ConvergenceTestCase) -> None:
    """All laws hold in histories."""

    def run(seed: int, settings: Settings) -> None:
        machine = type(self.machine.__name__, (self.machine,), {"__module__": self.machine.__module__})
        run_state_machine_as_test(with_seed(seed)(machine), settings=settings)

    self.run_seeded(run)


def _test_merge_functions(self: ConvergenceTestCase) -> None:
    """Merge functions are pure, indifferent to order, quick, and keep elements."""
    dropping = by_model(self.subject.models, dict.fromkeys(self.subject.may_drop))
    own = by_model(self.subject.models, self.subject.values)
    for model in self.subject.models:
        name, registers = spec_of(model).name, merge_registers(model)
        if registers:
            check_model(
                model,
                values={field: values for field, values in own.get(name, {}).items() if field in registers},
                keep_elements=registers.keys() - dropping.get(name, {}).keys(),
                examples=self.crdt_examples or EXAMPLES,
            )


def _test_upgrade_functions(self: ConvergenceTestCase) -> None:
    """Upgrade functions are pure, and leave as it is what they have given."""
    for model in filter(upgrades, self.subject.models):
        name = spec_of(model).name
        older = [item for of, items in self.subject.older.items() if spec_of(of).name == name for item in items]
        check_upgrade(model, older)
        own = by_model(self.subject.models, self.subject.values).get(name, {})
        self.run_seeded(partial(_try_upgrade, model, own))


def _try_upgrade(model: type[Model], own: Own, seed: int, settings: Settings) -> None:
    kinds = spec_of(model).fields

    @with_seed(seed)
    @settings
    @given(records(model, values=own))
    def run(values: dict[str, Any]) -> None:
        stored = {
            kinds[name].stored: codec.decode(codec.encode(value))
            for name, value in values.items()
            if isinstance(kinds[name], PlainRegister)
        }
        check_upgrade(model, [stored])

    run()
