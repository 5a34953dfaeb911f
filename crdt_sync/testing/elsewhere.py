"""Asks a merge function in a second process too, where Python hashes texts otherwise.

What goes by ``hash()`` of a text, or by the order of a set of them, is the same within one process and another thing in
the next. The function, and its field's type, are found there as pickle finds them: by the names of their modules.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgpack
from pydantic.fields import FieldInfo

from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.kinds import ASK, MergeWithRegister
from crdt_sync.errors import CRDTSyncError

ASKED: Final = b""
"""Stands for the answer `ASK`: no value has empty bytes."""
Example = tuple[bytes | None, Sequence[bytes]]
"""Value bytes of a base, None for `UNKNOWN`, and of candidates."""
_SEEDS: Final = ("1", "2")


class NotAskedElsewhereWarning(UserWarning):
    """A merge function could not be asked in a second process, so that what differs between two was not looked for."""


class NotAskedElsewhereError(Exception):
    """Why a function could not be asked in a second process."""


def answers_elsewhere(register: MergeWithRegister, examples: Sequence[Example], *, timeout_s: float) -> list[Any]:
    """What a function answers in another process: value bytes, or a text where it failed.

    Args:
        register: the field.
        examples: what is asked.
        timeout_s: for all of it, the start of Python included.

    Raises:
        NotAskedElsewhereError: it cannot be found there, or it took too long.
    """
    name = getattr(register.function, "__module__", type(register.function).__module__)
    if name == "__main__":
        raise NotAskedElsewhereError("it is in the program that runs, which no other process can import")
    try:
        given = pickle.dumps((register.function, register.info.annotation, [(base, *rest) for base, rest in examples]))
    except Exception as error:  # noqa: BLE001  pickle raises anything; why is told
        raise NotAskedElsewhereError(f"pickle cannot name it: {error}") from None
    seed = next(item for item in _SEEDS if item != os.environ.get("PYTHONHASHSEED"))
    path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from crdt_sync.testing import elsewhere; elsewhere.main()"],
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAskedElsewhereError(f"no answer: {error}") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotAskedElsewhereError(f"it cannot be imported there: {last}")
    answers: list[Any] = msgpack.unpackb(done.stdout)
    return answers


def main() -> None:
    """Answer what another process asks on standard input; run by `answers_elsewhere`."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever an app prints where it is imported
    function, annotation, examples = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    register = MergeWithRegister("value", FieldInfo.from_annotation(annotation), function)
    out.write(msgpack.packb([_answer(register, base, candidates) for base, *candidates in examples]))
    out.flush()


def _answer(register: MergeWithRegister, base: bytes | None, candidates: Sequence[bytes]) -> bytes | str:
    given = UNKNOWN if base is None else register.decode(base)
    try:
        answer = register.function(given, [register.decode(item) for item in candidates])
        return ASKED if answer is ASK else register.stored_answer(answer)
    except CRDTSyncError as error:
        return f"what the field cannot hold: {error}"
    except Exception as error:  # noqa: BLE001  whatever an app's function raises is told
        return f"raised {type(error).__name__}: {error}"
