"""What is imported when: the kit's optional packages are needed by those who use them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.installed import ROOT

WITHOUT = "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
UNITTEST = """
import unittest
from crdt_sync import Model
from crdt_sync.testing import ConvergenceMachine

class Task(Model):
    title: str = ""

TestTask = ConvergenceMachine.for_models([Task], replicas=2, seed=1).TestCase
TestTask.crdt_examples = 2
unittest.main()
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_simulator_needs_neither_hypothesis_nor_pytest() -> None:
    assert run(WITHOUT + "from crdt_sync.testing import Simulation, replay").returncode == 0


@pytest.mark.parametrize("name", ["records", "ConvergenceMachine", "check_model"])
def test_what_needs_the_extra_says_so(name: str) -> None:
    done = run(WITHOUT + f"from crdt_sync.testing import {name}")
    assert done.returncode
    assert "pip install 'crdt-sync[testing]'" in done.stderr


def test_a_machine_runs_under_unittest() -> None:
    done = run(UNITTEST)
    assert "Ran 1 test" in done.stderr
    assert done.returncode == 0, done.stderr
