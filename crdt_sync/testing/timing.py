"""Calls a function of the app's within bounds of lines and of time, for tests."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, Final

MEASURED: Final = 3
"""Calls of which the least time counts, so that a busy machine makes no quick function a slow one."""
GIVEN_UP: Final = 20
"""A call that runs for so many times its bound is ended at its next line."""


class TooManyLinesError(BaseException):
    """Thrown into a function that does not come to an end; no `except Exception` of its own may catch it."""


class TooSlowError(BaseException):
    """Calls took too long. Hypothesis lets it pass at once: it would call a slow function over and over again."""


class _GivenUpError(BaseException):
    """Thrown into a call that has run for too long."""


class Stopwatch:
    """Calls one function, and measures it.

    Args:
        lines_max: lines of Python that one call may run.
        call_max_s: seconds that one call may take.
        run_max_s: seconds that all calls together may take.
        clock: seconds, from any start on.
    """

    def __init__(self, *, lines_max: int, call_max_s: float, run_max_s: float, clock: Callable[[], float]) -> None:
        self._lines_max = lines_max
        self._call_max_s = call_max_s
        self._run_max_s = run_max_s
        self._clock = clock
        self._calls = 0
        self._spent_s = 0.0

    def call(
        self, function: Callable[..., Any], given: tuple[Any, ...], *, again: Callable[[], tuple[Any, ...]]
    ) -> Any:
        """What a function gives.

        Args:
            function: what is called.
            given: its arguments.
            again: makes equal ones, for calls that only measure.

        Raises:
            TooManyLinesError: it ran more lines than it may.
            TooSlowError: each of three calls took longer than one may, or all took longer than all may.
        """
        took_s: list[float] = []
        answer = self._counted(function, given, took_s, again=again)
        while took_s[-1] > self._call_max_s:  # lines take longer while they are counted
            fresh, start = again(), self._clock()
            function(*fresh)
            self._note(took_s, start)
        return answer

    def _counted(
        self,
        function: Callable[..., Any],
        given: tuple[Any, ...],
        took_s: list[float],
        *,
        again: Callable[[], tuple[Any, ...]],
    ) -> Any:
        """What a function gives, with its lines counted; again where it was given up."""
        while True:
            start = self._clock()
            try:
                with self._watched(until=start + GIVEN_UP * self._call_max_s):
                    answer = function(*given)
            except _GivenUpError:
                self._note(took_s, start)
                given = again()
            else:
                self._note(took_s, start)
                return answer

    def _note(self, took_s: list[float], start: float) -> None:
        took_s.append(self._clock() - start)
        self._calls += 1
        self._spent_s += took_s[-1]
        if len(took_s) > MEASURED and min(took_s[1:]) > self._call_max_s:
            raise TooSlowError(f"is slow: a call took {min(took_s) * 1000:.0f} ms, the least of {len(took_s)}")
        if self._spent_s > self._run_max_s:
            raise TooSlowError(f"is slow: {self._calls} calls took {self._spent_s:.0f} s")

    @contextmanager
    def _watched(self, *, until: float) -> Iterator[None]:
        """Stop what runs for too long; whoever traced before, such as a debugger, goes on afterwards."""
        left = self._lines_max

        def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
            nonlocal left
            if event == "call" and _jumps_to_itself(frame.f_code):
                frame.f_trace_opcodes = True
            if event == "line" or (event == "opcode" and frame.f_lasti in _jumps_to_itself(frame.f_code)):
                left -= 1
                if left < 0:
                    raise TooManyLinesError
                if self._clock() > until:
                    raise _GivenUpError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)


@lru_cache(maxsize=1024)
def _jumps_to_itself(code: CodeType) -> frozenset[int]:
    """Where a code has an instruction that is a loop by itself, as of `while True: pass`.

    Python 3.11 tells a trace of no line there.
    """
    found = (each for each in dis.get_instructions(code) if "JUMP" in each.opname)
    return frozenset(each.offset for each in found if each.argval == each.offset)
