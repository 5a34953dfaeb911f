"""The command that looks for new inputs: what it says where it cannot run, and what becomes of a finding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.findings import Findings
from tests.fuzz.memory import INPUT_MB_MAX, peak_mb, taken_mb
from tests.fuzz.targets import Target


def planted(data: bytes) -> None:
    if b"x" in data:
        raise ValueError("an x")
    if b"yz" in data:
        raise LookupError("y, then z")


def test_a_finding_is_made_small_and_written_once(tmp_path: Path) -> None:
    findings = Findings(Target(name="planted", run=planted), tmp_path)
    for data in (b"all is well", b"some bytes with an x in them", b"xx", b"0123456yz89"):
        findings.run(data)
    written = {path.read_bytes(): path for path in tmp_path.iterdir() if not path.suffix}
    assert written.keys() == {b"x", b"yz"}
    told = written[b"x"].with_name(written[b"x"].name + ".txt").read_text()
    assert "ValueError: an x" in told


def test_an_input_that_takes_much_memory_is_a_finding(tmp_path: Path) -> None:
    def greedy(data: bytes) -> None:
        if data == b"much":
            bytearray(b"x") * (int(peak_mb() + INPUT_MB_MAX) * 2**20)

    def take() -> None:
        bytearray(b"x") * 2**26

    assert taken_mb(take) > 50
    findings = Findings(Target(name="greedy", run=greedy), tmp_path)
    findings.run(b"little")
    assert not list(tmp_path.iterdir())
    findings.run(b"much")
    told, written = sorted(tmp_path.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert written.read_bytes() == b"much"
    assert "MemoryError: one input took" in told.read_text()


def test_an_unknown_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nothing"]) == 2
    assert "hint: Targets: frames, " in capsys.readouterr().err


def test_without_atheris_it_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["frames", "--json"]) == 2
    refused = json.loads(capsys.readouterr().out)
    assert "atheris" in refused["error"]
    assert "[fuzz]" in refused["hint"]


def test_it_runs_a_target(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra `fuzz` is not installed")
    assert command.main(["messages", "--seconds", "1", "--into", str(tmp_path), "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["inputs"] > 0
    assert outcome["findings"] == []
