"""For tests of an app: whether a merge function is one that every device can call on reading.

It is run over examples that Hypothesis makes, and what is found is told by a small one. What differs between processes,
such as the order of a set of texts, cannot be seen from within one, so some are asked in a second process, too.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice, permutations
from time import perf_counter
from typing import Any, NoReturn

from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException
from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.kinds import ASK, MapKind, MergeWithRegister
from crdt_sync.core.kinds.merge_with import MergeFunction, function_name
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import CRDTSyncError, LimitError, SchemaError, UnrepresentableValueError
from crdt_sync.testing.elsewhere import (
    ASKED,
    NotAskedElsewhereError,
    NotAskedElsewhereWarning,
    answers_elsewhere,
)
from crdt_sync.testing.keeping import lost_elements
from crdt_sync.testing.purity import read_by
from crdt_sync.testing.timing import Stopwatch, TooManyLinesError, TooSlowError

EXAMPLES = 200
"""How many examples are tried, unless the test says otherwise."""
STEPS_MAX = 20_000
"""Lines of Python that one call may run. Steps are the same on every machine, seconds are not."""
CALL_MAX_S = 0.05
"""Seconds that one call may take, the least of several, whatever it does; ..."""
RUN_MAX_S = 60.0
"""... and all calls of one function together."""
CANDIDATES_MAX = 4
"""Concurrent values in an example ..."""
ORDERS_MAX = 24
"""... and orders in which they are given."""
ASKED_AGAIN = 50
"""Examples that are asked once more when all others were."""

LOOKED_AT = 20
"""Examples of which it is looked at what the function reads."""

ELSEWHERE_MAX_S = 60.0
"""Seconds that a second process may take, with its start and the import of the app."""


class FaultError(Exception):
    """What is wrong with a function, by one example."""


class EndlessError(FaultError):
    """A function came to no end; called without a watch, it would run for ever."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a function is asked, as value bytes, so that it can spoil nothing."""

    base: bytes | None
    candidates: tuple[bytes, ...]

    def __str__(self) -> str:
        base = "UNKNOWN" if self.base is None else repr(codec.decode(self.base))
        return f"base {base}, candidates {[codec.decode(item) for item in self.candidates]!r}"

    def size(self) -> tuple[int, int, bytes]:
        """What makes one example smaller than another."""
        parts = (self.base or b"", *self.candidates)
        return len(self.candidates), sum(map(len, parts)), b"".join(parts)


def check_merge(
    function: MergeFunction,
    values: st.SearchStrategy[Any],
    /,
    *,
    annotation: Any = Any,
    keep_elements: bool = False,
    examples: int = EXAMPLES,
    steps_max: int = STEPS_MAX,
    call_max_s: float = CALL_MAX_S,
    run_max_s: float = RUN_MAX_S,
    clock: Callable[[], float] = perf_counter,
) -> None:
    """Check that a function for `merge_with` is pure, indifferent to order, quick, and gives what its field can hold.

    Args:
        function: takes a base and a list of candidates.
        values: makes values of the field, whatever devices may write into it.
        annotation: the field's type, which answers must have.
        keep_elements: also ask that no element of lists, tuples and dicts is lost that somebody added or all kept.
        examples: how many are tried.
        steps_max: lines of Python that one call may run.
        call_max_s: seconds that one call may take: where one takes longer, the least of three more counts. What a slow
            function is first called with ends the check. A loop in Python is ended; a call into C that never comes
            back is not, nor is a loop that catches every exception.
        run_max_s: seconds that all calls may take.
        clock: tells seconds.

    Raises:
        SchemaError: it raises, changes its arguments, runs on for too long, or gives what the field cannot hold;
            or answers differ: between two calls, later on, in another process, or with the order of the candidates.
            It tells for which base and candidates.

    Warns:
        NotAskedElsewhereWarning: pickle cannot name the function to another process (a lambda, or one of the program
            that runs itself), where some examples are asked once more, with texts that hash otherwise.
    """
    register = MergeWithRegister("value", FieldInfo.from_annotation(annotation), function)
    stopwatch = Stopwatch(lines_max=steps_max, call_max_s=call_max_s, run_max_s=run_max_s, clock=clock)
    trial = Trial(register, stopwatch, lines_max=steps_max, keep_elements=keep_elements)
    _check(trial, values, where="", examples=examples)


def check_model(
    model: type[Model],
    /,
    *,
    values: Mapping[str, st.SearchStrategy[Any]] | None = None,
    keep_elements: Collection[str] = (),
    examples: int = EXAMPLES,
    steps_max: int = STEPS_MAX,
    call_max_s: float = CALL_MAX_S,
    run_max_s: float = RUN_MAX_S,
    clock: Callable[[], float] = perf_counter,
) -> None:
    """Check the function of every `merge_with` field of a model, those of `Map` entries too, as `check_merge` does.

    Args:
        model: the model.
        values: for some of these fields what makes their values; for the others it follows from their types.
        keep_elements: fields of which it is also asked that no element is lost, as in `check_merge`.
        examples: how many are tried for each field.
        steps_max: lines of Python that one call may run.
        call_max_s: seconds that one call may take, as there.
        run_max_s: seconds that all calls of one function may take.
        clock: tells seconds.

    Raises:
        SchemaError: a function is at fault; the model has none; or ``values`` lacks a field of whose type Hypothesis
            knows no values, or names another field.
    """
    spec, given_ = spec_of(model), dict(values or {})
    found = {name: kind.entry if isinstance(kind, MapKind) else kind for name, kind in spec.fields.items()}
    registers = {name: item for name, item in found.items() if isinstance(item, MergeWithRegister)}
    strays = sorted(given_.keys() - registers.keys())
    if strays or not registers:
        problem = f"{strays[0]!r} is no field with a merge function" if strays else "it has no merge function"
        raise SchemaError(f"model {spec.name!r}: {problem}")
    for name, register in registers.items():
        where = f"model {spec.name!r}, field {name!r}: "
        strategy = given_[name] if name in given_ else _values_of(register, where=where)
        stopwatch = Stopwatch(lines_max=steps_max, call_max_s=call_max_s, run_max_s=run_max_s, clock=clock)
        trial = Trial(register, stopwatch, lines_max=steps_max, keep_elements=name in keep_elements)
        is_entry = isinstance(spec.fields[name], MapKind)
        _check(trial, strategy, where=where, examples=examples, is_entry=is_entry)


def _values_of(register: MergeWithRegister, *, where: str) -> st.SearchStrategy[Any]:
    hint = f"Give values={{{register.name!r}: …}}, a Hypothesis strategy."
    try:
        strategy = st.from_type(register.info.annotation)  # type: ignore[arg-type]  # it takes any annotation
        strategy.validate()
    except (HypothesisException, TypeError) as error:
        raise SchemaError(f"{where}Hypothesis makes no values of its type: {error}", hint=hint) from None
    return strategy


def _check(trial: Trial, values: st.SearchStrategy[Any], *, where: str, examples: int, is_entry: bool = False) -> None:
    stored = values.map(trial.stored).filter(lambda data: data is not None)
    bases = st.none() | st.just(codec.encode(None)) | stored if is_entry else st.none() | stored

    @Settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(base=bases, candidates=st.lists(stored, min_size=2, max_size=CANDIDATES_MAX))
    def run(base: bytes | None, candidates: list[bytes]) -> None:
        trial.ask(Example(base, tuple(candidates)))

    try:
        run()
        trial.ask_again()
        trial.ask_elsewhere()
    except (FaultError, Flaky, TooSlowError) as error:
        name = function_name(trial.function)
        raise SchemaError(f"{where}merge function {name} {trial.told or error}") from None
    except NotAskedElsewhereError as error:
        name = function_name(trial.function)
        what = f"{where}merge function {name} was not asked in a second process, where texts hash otherwise: {error}"
        warnings.warn(what, NotAskedElsewhereWarning, stacklevel=3)


class Trial:
    """One function before the examples.

    Args:
        register: the field.
        stopwatch: makes the calls.
        lines_max: how many lines it allows for.
        keep_elements: whether it may lose no element.
    """

    def __init__(
        self, register: MergeWithRegister, stopwatch: Stopwatch, *, lines_max: int, keep_elements: bool = False
    ) -> None:
        self.function = register.function
        self._register = register
        self._keep_elements = keep_elements
        self._stopwatch = stopwatch
        self._lines_max = lines_max
        self._answers: dict[Example, bytes] = {}
        self._smallest = (sys.maxsize, 0, b"")
        self.told = ""
        """The fault with the smallest example, also of a function that does not make it again."""

    def stored(self, value: Any) -> bytes | None:
        """Value bytes; None of what no field can hold."""
        try:
            return codec.encode(self._register.validate(value))
        except (UnrepresentableValueError, LimitError):
            return None

    def ask(self, example: Example) -> None:
        """Try one example, in all orders."""
        first = self._call(example)
        if self._call(example) != first:
            self._blame(example, "gives another answer each time")
        for order in islice(permutations(example.candidates), 1, ORDERS_MAX):
            other = self._call(Example(example.base, order))
            if other != first:
                turned = f"{_told(first)}, but {_told(other)} for {[codec.decode(item) for item in order]!r}"
                self._blame(example, "depends on the order of the candidates", detail=f" gives {turned}")
        if len(self._answers) < LOOKED_AT and (read := read_by(self.function, self._given(example))):
            self._blame(example, f"calls {read}, which may give another device another answer")
        lost = self._lost(example, first) if self._keep_elements else []
        if lost:
            self._blame(example, "loses elements", detail=f" gives {_told(first)}, without {lost!r}")
        if len(self._answers) < ASKED_AGAIN:
            self._answers[example] = first

    def ask_again(self) -> None:
        """Try the first examples once more, after all others."""
        for example, answer in self._answers.items():
            if self._call(example) != answer:
                self._blame(example, "gives another answer later on")

    def _lost(self, example: Example, answer: bytes) -> list[Any]:
        if answer == ASKED:
            return []
        base = UNKNOWN if example.base is None else codec.decode(example.base)
        return lost_elements(base, [codec.decode(item) for item in example.candidates], codec.decode(answer))

    def ask_elsewhere(self) -> None:
        """Try the first examples in another process, where texts hash otherwise."""
        asked = [(example.base, example.candidates) for example in self._answers]
        answers = answers_elsewhere(self._register, asked, timeout_s=ELSEWHERE_MAX_S)
        for (example, answer), other in sorted(
            zip(self._answers.items(), answers, strict=True), key=lambda item: item[0][0].size()
        ):
            if other != answer:
                told = other if isinstance(other, str) else _told(other)
                detail = f" gives {_told(answer)}, but {told} there; what goes by hash() of a text, or by a set, may"
                self._blame(example, "gives another answer in another process", detail=detail)

    def _call(self, example: Example) -> bytes:
        """Value bytes of the answer."""
        base, candidates = self._given(example)
        before = _picture(base, candidates)
        try:
            answer = self._stopwatch.call(self.function, (base, candidates), again=lambda: self._given(example))
        except TooManyLinesError:
            self._blame(example, f"is slow: it ran more than {self._lines_max} lines", error=EndlessError)
        except TooSlowError as error:
            self.told = f"{error}: {example}"
            raise
        except Exception as error:  # noqa: BLE001  whatever an app's function raises is told
            self._blame(example, f"raised {type(error).__name__}: {error}")
        if before is None or _picture(base, candidates) != before:
            self._blame(example, "changes what it is given")
        if answer is ASK:
            return ASKED
        try:
            return self._register.stored_answer(answer)
        except CRDTSyncError:
            self._blame(example, f"gives {answer!r}, which the field cannot hold")

    def _given(self, example: Example) -> tuple[Any, list[Any]]:
        base = UNKNOWN if example.base is None else self._register.decode(example.base)
        return base, [self._register.decode(item) for item in example.candidates]

    def _blame(
        self, example: Example, what: str, *, detail: str = "", error: type[FaultError] = FaultError
    ) -> NoReturn:
        if example.size() <= self._smallest:
            self._smallest, self.told = example.size(), f"{what}: {example}{detail}"
        raise error(what)


def _told(answer: bytes) -> str:
    return "ASK" if answer == ASKED else repr(codec.decode(answer))


def _picture(base: Any, candidates: list[Any]) -> list[bytes] | None:
    """What a function is given, as bytes; None where that is no value any more."""
    try:
        return [b"" if base is UNKNOWN else codec.encode(base), *(codec.encode(item) for item in candidates)]
    except (CRDTSyncError, TypeError):
        return None
