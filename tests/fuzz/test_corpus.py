"""Every input of the corpus, and inputs like them, through their target; what atheris does more of is `tests.fuzz`."""

from __future__ import annotations

import logging
import time
import tracemalloc
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import replicas
from tests.fuzz.kept import kept
from tests.fuzz.memory import INPUT_MB_MAX, taken_mb
from tests.fuzz.refusing import Refused
from tests.fuzz.samples import samples
from tests.fuzz.targets import TARGETS

INPUT_S_MAX = 10.0
"""Of the processor, for one input. The slowest, of 1.4 MB, takes one."""

SLOW = ("rows", "damaged", "backups", "quarantined")
"""A whole store is checked for each input."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What a target refuses is logged, thousands of times."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@cache
def corpus(target: str) -> list[bytes]:
    return list(samples(target).values())


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_taken_or_refused_within_bounds(target: str) -> None:
    for name, data in samples(target).items():
        started = time.process_time()
        try:
            TARGETS[target].run(data)
        except BaseException as error:
            replicas.forget()
            error.add_note(name)
            raise
        assert time.process_time() - started < INPUT_S_MAX, name


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_takes_much_memory(target: str) -> None:
    largest = max(corpus(target), key=len)
    TARGETS[target].run(largest)  # what is made once is made
    tracemalloc.start()
    try:
        TARGETS[target].run(largest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < INPUT_MB_MAX * 2**20
    assert taken_mb(lambda: TARGETS[target].run(largest)) < INPUT_MB_MAX, "the engine's with it"


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_like_those_of_the_corpus_are_taken_or_refused(target: str) -> None:
    small = [data for data in corpus(target) if len(data) <= TARGETS[target].bytes_max]

    @settings(max_examples=max(5, settings().max_examples // (4 if target in SLOW else 1)))
    @given(st.sampled_from(small), st.sampled_from(small), st.lists(CHANGES, min_size=1, max_size=4))
    def run(data: bytes, other: bytes, changes: list[tuple[str, int, int]]) -> None:
        changed = mutated(data, other, changes)
        try:
            TARGETS[target].run(changed)
        except BaseException:
            replicas.forget()
            raise

    run()


CHANGES = st.tuples(
    st.sampled_from(("replace", "flip", "insert", "remove", "cut", "splice")), st.integers(0, 4095), st.integers(0, 255)
)


def mutated(data: bytes, other: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """An input with some bytes changed, gone or more, or with the end of another one."""
    changed = bytearray(data)
    for what, where, value in changes:
        at = where % (len(changed) + 1)
        match what:
            case "replace":
                changed[at : at + 1] = bytes((value,))
            case "flip":
                changed[at : at + 1] = bytes(byte ^ (1 << value % 8) for byte in changed[at : at + 1])
            case "insert":
                changed[at:at] = bytes((value,)) * (1 + value % 4)
            case "remove":
                del changed[at : at + 1 + value % 8]
            case "cut":
                del changed[at:]
            case _:
                changed[at:] = other[where % (len(other) + 1) :]
    return bytes(changed)


def test_the_known_hostile_updates_are_in_the_corpus() -> None:
    assert len(kept("updates", files="known.hex")) == 11
    assert {"20,000 nested arrays", "100,000 authors of one key"} < samples("updates").keys()


def test_a_refusal_without_a_hint_would_be_found() -> None:
    from crdt_sync.errors import InputError
    from tests.fuzz.refusing import attempt

    def refuse() -> None:
        raise InputError("no", hint="")

    with pytest.raises(AssertionError, match="without a hint"):
        attempt(refuse)
    assert not isinstance(attempt(lambda: 1), Refused)
