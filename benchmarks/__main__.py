"""Command line of the benchmarks: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.churn import CHURN
from benchmarks.documents import DOCUMENT
from benchmarks.durable import DURABLE
from benchmarks.first_sync import FIRST_SYNC
from benchmarks.harness import Row, Settings, Workload, run
from benchmarks.profiling import PROFILES
from benchmarks.report import heading, table, to_json
from benchmarks.write import WRITE

WORKLOADS = {workload.name: workload for workload in (WRITE, DOCUMENT, FIRST_SYNC, CHURN, DURABLE)}
QUICK_RECORDS, QUICK_ROUNDS = 1_000, 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for, and print it."""
    asked = parser().parse_args(arguments)
    default = Settings()
    settings = Settings(
        records=asked.records or (QUICK_RECORDS if asked.quick else default.records),
        rounds=asked.rounds or (QUICK_ROUNDS if asked.quick else default.rounds),
        seed=asked.seed,
    )
    print(heading(settings))
    if asked.profile:
        print(PROFILES[asked.profile](settings))
        return
    results: list[tuple[Workload, list[Row]]] = []
    for name in asked.workload or WORKLOADS:
        rows = run(WORKLOADS[name], settings, tell=lambda line: print(line, file=sys.stderr, flush=True))
        results.append((WORKLOADS[name], rows))
        print(table(WORKLOADS[name], rows), flush=True)
    if asked.json:
        asked.json.write_text(to_json(settings, results), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures crdt_sync against floors.")
    made.add_argument("--workload", action="append", choices=sorted(WORKLOADS), help="only this one; may be repeated")
    made.add_argument("--rounds", type=positive, help="rounds that count, after a warm-up (default 5)")
    made.add_argument("--records", type=positive, help="records in each workload (default 10000)")
    made.add_argument("--seed", type=int, default=1, help="of the generator (default 1)")
    made.add_argument("--quick", action="store_true", help="1000 records and one round: to see that it runs")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write the results as JSON")
    made.add_argument("--profile", choices=sorted(PROFILES), help="print where the time of a workload goes, instead")
    return made


def positive(text: str) -> int:
    """A number above 0.

    Raises:
        ValueError: anything else.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()
