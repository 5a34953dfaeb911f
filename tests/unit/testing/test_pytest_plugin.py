"""The pytest plugin, in processes of its own, found by its entry point as in an app's environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import pytest

from tests.installed import PLUGIN, ROOT, install, pytest_entry_points

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]

WRONG = """
from hypothesis import Phase, settings

from crdt_sync import Model, merge_with
from crdt_sync.testing import ConvergenceMachine


def either(base, candidates):
    return candidates[0]


class Order(Model):
    state: int = merge_with(either, default=0)


TestOrder = ConvergenceMachine.for_models([Order]).TestCase
TestOrder.settings = settings(TestOrder.settings, phases=[Phase.generate])
"""
"""Without shrinking, which would take most of the time; a failure is shown as it was found."""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest where the package is installed, as far as its metadata go."""
    monkeypatch.setenv("PYTHONPATH", install(pytester.path / "installed"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return lambda *options: pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "ignore", *options)


@pytest.mark.slow
def test_a_failure_prints_a_seed_with_which_it_fails_again(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_order=WRONG)
    first = run("-k", "histories", "--crdt-examples=30")
    first.assert_outcomes(failed=1, deselected=1)
    pattern = r"give the same command these options: (--crdt-seed=\d+ --crdt-examples=30)$"
    (options,) = set(re.findall(pattern, *shown(first)))  # where CI is set, pytest's summary repeats the message
    again = run("-k", "histories", *options.split())
    assert lines(again) == lines(first)
    parallel = run("-k", "histories", *options.split(), "-n", "1")
    assert lines(parallel) == lines(first)


def shown(result: pytest.RunResult) -> tuple[str, int]:
    return "\n".join(result.outlines), re.MULTILINE


def lines(result: pytest.RunResult) -> list[str]:
    """What a failure says."""
    found = [line for line in result.outlines if line.startswith("E  ")]
    assert any("merge functions: merge function either" in line for line in found)
    assert any("state = ConvergenceMachine.for_models([Order])()" in line for line in found)
    return found


PLAIN = """
import pytest
from hypothesis import Phase, given, settings, strategies as st
from crdt_sync import Model
from crdt_sync.testing import edits, histories, records


class Order(Model):
    state: int = 0


@settings(deadline=None, phases=[Phase.generate])
@given({strategy})
def test_plain(drawn):
    assert len(repr(drawn)) < 60, repr(drawn)
"""
"""What fails shows what was drawn; long enough for nobody to draw it first."""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["histories([Order])", "st.tuples(records(Order), edits(Order), st.text())"])
def test_a_plain_test_that_draws_from_the_kit_fails_again_with_what_it_shows(
    run: Run, pytester: pytest.Pytester, strategy: str
) -> None:
    pytester.makepyfile(test_plain=PLAIN.format(strategy=strategy))
    first = run("--crdt-examples=40")
    (options,) = set(re.findall(r"^again with (--crdt-seed=\d+ --crdt-examples=40)$", *shown(first)))
    again = [run(*options.split()) for _ in range(2)]
    assert drawn(again[0]) == drawn(again[1]) == drawn(first)


def drawn(result: pytest.RunResult) -> list[str]:
    """What Hypothesis says that it drew."""
    result.assert_outcomes(failed=1)
    return [line for line in result.outlines if "drawn=" in line]


MARKED = """
import pytest
from hypothesis import given, settings, strategies as st

seen = set()


@pytest.mark.crdt_sync
@given(st.integers())
def test_marked(number):
    seen.add(number)
    assert len(seen) < 11


@given(st.integers())
def test_other(number):
    seen.add(number)
"""


def test_a_marked_test_takes_the_options_and_no_other(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_marked=MARKED)
    result = run("--strict-markers", "--crdt-examples=10")
    result.assert_outcomes(passed=2)
    result = run("--strict-markers", "--crdt-examples=90", "--crdt-seed=5")
    result.assert_outcomes(passed=1, failed=1)
    (options,) = set(re.findall(r"^again with (.*)$", *shown(result)))
    assert options == "--crdt-seed=5 --crdt-examples=90"


def test_whoever_has_another_seed_keeps_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_marked=MARKED.replace("@given", "@settings(max_examples=90)\n@given", 1))
    for option in ("--hypothesis-seed=3", "--crdt-seed=3"):
        result = run(option)
        result.assert_outcomes(passed=1, failed=1)
        assert ("again with" in result.stdout.str()) == option.startswith("--crdt")


def test_it_imports_nothing_of_the_package(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_other="""
        import sys

        def test_nothing_came(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("crdt_sync").__name__ == "_crdt_sync_pytest"
            assert not {"crdt_sync", "pydantic", "apsw", "hypothesis"} & set(sys.modules)
        """
    )
    run("-p", "no:hypothesispytest").assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["--crdt-seed=-1", "--crdt-seed=x", "--crdt-examples=0"])
def test_options_that_cannot_be_are_refused(run: Run, pytester: pytest.Pytester, option: str) -> None:
    result = run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*argument {option.partition('=')[0]}: invalid number from ? on value*"])


def test_the_fixture_gives_a_seed_and_a_failure_shows_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_seed="""
        def test_fails(crdt_seed):
            assert crdt_seed == -1
        """
    )
    (seed,) = re.findall(r"^again with --crdt-seed=(\d+)$", *shown(run()))
    assert f"assert {seed} == -1" in run(f"--crdt-seed={seed}").stdout.str()


def test_the_plugin_can_be_turned_off(run: Run, pytester: pytest.Pytester) -> None:
    assert run("-p", "no:crdt_sync", "--crdt-seed=1").ret == pytest.ExitCode.USAGE_ERROR


def test_the_wheel_holds_the_module() -> None:
    """The entry point names a module beside the package: building must not forget it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (module,) = pytest_entry_points().values()
    assert (PLUGIN / f"{module}.py").is_file()
    build = settings["tool"]["hatch"]["build"]
    folder = PLUGIN.relative_to(ROOT).as_posix()
    assert folder in build["dev-mode-dirs"]
    assert build["targets"]["wheel"]["sources"] == {folder: ""}
