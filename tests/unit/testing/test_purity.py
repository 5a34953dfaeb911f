from __future__ import annotations

import gc
import os
import random
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from crdt_sync.testing.purity import read_by


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (time.time, "time.time()"),
        (lambda: datetime.now(tz=UTC), "datetime.now()"),
        (date.today, "date.today()"),
        (random.random, "random.random()"),
        (lambda: random.choice([1, 2]), "random.getrandbits()"),
        (lambda: random.Random(1).choice([1, 2]), ""),
        (lambda: secrets.token_bytes(1), "posix.urandom()"),
        (uuid4, "posix.urandom()"),
        (lambda: os.getenv("HOME"), "os.environ.__getitem__()"),
        (lambda: os.environ.get("NOBODY_SETS_THIS"), "os.environ.__getitem__()"),
        (lambda: "HOME" in os.environ, "os.environ.__getitem__()"),
        (lambda: dict(os.environ), "os.environ."),
        (os.environ.copy, "os.environ."),
        (lambda: len(os.environ), "os.environ.__len__()"),
        (lambda: list(os.environ.items()), "os.environ."),
        (lambda: Path(__file__).read_text(encoding="utf-8"), "open()"),
        (lambda: id(object()), "builtins.id()"),
        (lambda: datetime(2020, 1, 1, tzinfo=UTC).isoformat(), ""),
        (lambda: datetime.strptime("2020-01-01 +0000", "%Y-%m-%d %z"), ""),
        (lambda: StringIO().write("a"), ""),
        (lambda: sorted({"b": 1, "a": 2}), ""),
        (lambda: 1 // 0, ""),
    ],
)
def test_what_differs_between_devices_is_named(function: Callable[[], Any], name: str) -> None:
    found = read_by(function, ())
    assert name in found
    assert bool(found) is bool(name)


def test_a_profiler_goes_on_afterwards() -> None:
    def profile(*_: Any) -> None: ...

    sys.setprofile(profile)
    try:
        read_by(len, ([],))
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)


def test_what_runs_beside_the_function_is_not_blamed_on_it() -> None:
    """Whoever watches the garbage collector, as Hypothesis does, reads a clock amid anybody's call."""

    def watch(phase: str, info: dict[str, int]) -> None:
        time.perf_counter()

    gc.callbacks.append(watch)
    try:
        assert not read_by(lambda: [[number] for number in range(5_000)], ())
    finally:
        gc.callbacks.remove(watch)
    assert gc.isenabled()
