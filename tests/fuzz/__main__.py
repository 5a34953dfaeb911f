"""Feeds targets with inputs that reach code which none has reached before.

``python -m tests.fuzz updates rows --seconds 60``; without a target, all of them, each so long. It needs the extra
``fuzz``. What breaks a target is written to the folder of findings, as small as it gets, with a traceback beside it;
moved to `tests/fuzz/corpus/TARGET` it is a test. Exit code 1 where there is one, 2 where nothing could run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from crdt_sync.errors import InputError
from tests.fuzz.targets import TARGETS

INPUT_S_MAX: Final = 20
"""One input that takes longer is a finding, ..."""
MEMORY_MB_MAX: Final = 2_048
"""... and so is one with which the process takes more."""
_PROGRESS_S: Final = 5.0
_PULSE: Final = re.compile(r"#(\d+)\s.*?cov: (\d+)")
_TOTAL: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one target went through.

    Args:
        target: its name.
        seconds: how long it ran.
        inputs: how many it was given.
        coverage: branches of the package that they reached, as the fuzzer counts.
        findings: files with inputs that broke it.
    """

    target: str
    seconds: float
    inputs: int
    coverage: int
    findings: tuple[str, ...]


def fuzz(name: str, *, seconds: int, into: Path, keep: Path | None, seed: int) -> Outcome:
    """Run one target for a while.

    Args:
        name: the target's.
        seconds: for how long.
        into: where findings are written.
        keep: where inputs that reached something new are kept, and taken up again; None keeps them for this run.
        seed: of the fuzzer's dice; 0 for another one at each run.
    """
    into.mkdir(parents=True, exist_ok=True)
    before = set(into.iterdir())
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        seeds, grown = place / "seeds", keep / name if keep else place / "grown"
        for made in (seeds, grown):
            made.mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={seconds}", f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}"]
        options += [f"-artifact_prefix={into}/{name}-", f"-seed={seed}", "-print_final_stats=1", "-close_fd_mask=1"]
        command = [sys.executable, "-m", "tests.fuzz.worker", name, *map(str, (into, seeds, grown, seeds)), *options]
        started = time.monotonic()
        inputs, coverage, last = _followed(name, command)
        took_s = round(time.monotonic() - started, 1)
    found = sorted(path for path in set(into.iterdir()) - before if path.suffix != ".txt")
    if not inputs and not found:
        raise InputError(
            f"the target {name} could not run: {last}", hint="Run `python -m tests.fuzz.worker` by itself."
        )
    return Outcome(target=name, seconds=took_s, inputs=inputs, coverage=coverage, findings=tuple(map(str, found)))


def _followed(name: str, command: Sequence[str]) -> tuple[int, int, str]:
    """Run the worker and say how far it is; gives the number of inputs, what they reached, and its last line."""
    inputs = coverage = 0
    told_s, last = time.monotonic(), ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr or ():
            last = line.strip() or last
            if pulse := _PULSE.match(line):
                inputs, coverage = int(pulse[1]), int(pulse[2])
            if total := _TOTAL.match(line):
                inputs = int(total[1])
            if time.monotonic() - told_s > _PROGRESS_S:
                told_s = time.monotonic()
                _say(f"{name}: {inputs:,} inputs, {coverage:,} branches")
    return inputs, coverage, last


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  a command prints


def _check_possible(names: Sequence[str]) -> None:
    """Raise where nothing can run."""
    for name in names:
        if name not in TARGETS:
            raise InputError(f"there is no target {name!r}", hint=f"Targets: {', '.join(TARGETS)}.")
    if find_spec("atheris") is None:
        raise InputError(
            "the fuzzer atheris is not installed",
            hint="Run `pip install -e '.[fuzz]'` on Linux or macOS; `pytest tests/fuzz` needs no atheris.",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--into", type=Path, default=Path("fuzz-findings"), help="folder of findings")
    parser.add_argument("--keep", type=Path, help="folder of inputs that reached something new, for the next run")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzer (default: another one at each run)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args(arguments)
    names, outcomes = asked.targets or list(TARGETS), []
    try:
        _check_possible(names)
        for name in names:
            outcomes.append(fuzz(name, seconds=asked.seconds, into=asked.into, keep=asked.keep, seed=asked.seed))
            if not asked.json:
                print(_line(outcomes[-1]), flush=True)  # noqa: T201  as above
    except InputError as error:
        if asked.json:
            print(json.dumps({"error": error.message, "hint": error.hint}))  # noqa: T201  as above
        else:
            _say(f"{error.message}\nhint: {error.hint}")
        return error.exit_code
    if asked.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))  # noqa: T201  as above
    return 1 if any(outcome.findings for outcome in outcomes) else 0


def _line(outcome: Outcome) -> str:
    found = ", ".join(outcome.findings) or "nothing found"
    ran = f"{outcome.inputs:,} inputs in {outcome.seconds:,.0f} s, {outcome.coverage:,} branches"
    return f"{outcome.target}: {ran}: {found}"


if __name__ == "__main__":
    sys.exit(main())
