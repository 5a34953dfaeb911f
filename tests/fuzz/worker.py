"""The process that runs one target under atheris: `python -m tests.fuzz.worker TARGET FINDINGS SEEDS OPTION…`.

A process of its own, because the fuzzer ends its process, and because the package must be imported under its eyes.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Run a target; what else is given goes to libFuzzer."""
    name, into, seeds, *options = arguments
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["crdt_sync"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        samples = importlib.import_module("tests.fuzz.samples").samples(name)
    logging.disable()
    target = targets[name]
    for number, data in enumerate(samples.values()):
        if len(data) <= target.bytes_max:
            (Path(seeds) / f"{number}").write_bytes(data)
    if target.words:
        words = Path(seeds).with_name("words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        options.append(f"-dict={words}")
    findings = importlib.import_module("tests.fuzz.findings").Findings(target, Path(into))
    atheris.Setup([sys.argv[0], *options, f"-max_len={target.bytes_max}"], findings.run)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    """A word as a line of libFuzzer's dictionaries has it."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
