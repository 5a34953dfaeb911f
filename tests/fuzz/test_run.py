"""The command that looks for new inputs: what it says where it cannot run, and what becomes of a finding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.findings import Findings
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
