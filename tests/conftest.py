"""What all tests share: how much Hypothesis tries, and a user's directories that are not the user's."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# `dev` and `ci` try the same examples on every run of one commit, so that a failure in CI is one on a desk; `ci` is the
# default. To look for new ones, set HYPOTHESIS_PROFILE=thorough. No deadlines: the machines are shared, and the time of
# one example says nothing. The phase that explains a failure runs a history hundreds of times more: it is left out.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
for name, examples, repeatable in (("dev", 15, True), ("ci", 100, True), ("thorough", 1_000, False)):
    settings.register_profile(
        name,
        deadline=None,
        derandomize=repeatable,
        database=None,
        max_examples=examples,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Stores of tests are synced some ten thousand times, and a disk takes a millisecond or more each time. What a process
# that is killed had written, memory keeps as a disk does; tests of a full disk bring their own. A TMPDIR that is set is
# left as it is. Programs of some tests lie there too, which not every machine lets run from memory.
MEMORY = Path("/dev/shm")  # noqa: S108  # pytest and tempfile make folders of their own in it
MEMORY_FREE_BYTES_MIN = 2 * 1024**3
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    and shutil.disk_usage(MEMORY).free >= MEMORY_FREE_BYTES_MIN
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

USER_DIRECTORIES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")


@pytest.fixture(scope="session", autouse=True)
def user_directories_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point the user's directories to a temporary one, in subprocesses too: device keys and fences live there."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in USER_DIRECTORIES:
            directory = home / name.lower()
            directory.mkdir(mode=0o700)
            patch.setenv(name, str(directory))
        yield


@pytest.fixture(scope="session", autouse=True)
def bytecode_kept_for_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where the environment wants no bytecode files, keep those of programs that tests start aside, not nowhere.

    Compiling the package anew takes each of them as long as everything else that they do to start.
    """
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ between processes: the workers of a parallel run would not agree on the tests."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"an address in a test's name, give it an id instead: {unstable[0]}")


def pytest_collection_finish() -> None:
    """Leave what is there by now out of every later search for garbage: it stays to the end."""
    gc.collect()
    gc.freeze()
