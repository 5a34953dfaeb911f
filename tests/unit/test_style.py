"""House rules that no linter knows, kept by reading the syntax trees of the package.

Each rule is a function from a parsed module to the places that break it, so that the rules themselves are tested below
on planted code.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utilities", "utils"})
BASES_WITHOUT_INTERFACE = frozenset({"Enum", "Exception", "Generic", "NamedTuple", "Protocol", "object", "str"})

LONG_MODULES_ALLOWED: dict[str, str] = {
    # module: why it is better whole. Looked at anew whenever it grows; an entry that is no longer needed is an error.
}
LONG_FUNCTIONS_ALLOWED: dict[str, str] = {
    # "module: function": why it is better whole.
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A source file: its path from the top of the project, its syntax tree, and what its folder documents.

    A method of one name that several classes of a folder implement is documented once, so the names are the folder's.
    """

    path: str
    source: str
    tree: ast.Module
    documented: frozenset[str] = frozenset()


Rule = Callable[[Module], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(path: str, source: str) -> Module:
    module = Module(path=path, source=source, tree=ast.parse(source, filename=path))
    return replace(module, documented=documented_names(module))


def modules() -> list[Module]:
    paths = [path for top in ("crdt_sync", "benchmarks") for path in sorted((ROOT / top).rglob("*.py"))]
    parsed = [parse(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    by_folder: dict[str, frozenset[str]] = {}
    for module in parsed:
        folder = module.path.rpartition("/")[0]
        by_folder[folder] = by_folder.get(folder, frozenset()) | module.documented
    return [replace(module, documented=by_folder[module.path.rpartition("/")[0]]) for module in parsed]


def documented_names(module: Module) -> frozenset[str]:
    return frozenset(function.name for function in functions(module) if ast.get_docstring(function))


def functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def is_test(function: Function) -> bool:
    """Tests of the public kit are called by pytest only, and their name says what they pin."""
    return function.name.startswith("test_")


def long_modules(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"{module.path}: {lines} lines"


def long_functions(module: Module) -> Iterator[str]:
    """Lines from ``def`` to the end, without the docstring: explaining must cost nothing."""
    for function in functions(module):
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        docstring_lines = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
        lines = (function.end_lineno or function.lineno) - function.lineno + 1 - docstring_lines
        if lines > FUNCTION_LINES_MAX:
            yield f"{module.path}: {function.name}: {lines} lines"


def vague_names(module: Module) -> Iterator[str]:
    parts = module.path.removesuffix(".py").split("/")
    if any(word in VAGUE_NAMES for part in parts for word in part.split("_")):
        yield module.path


def silent_excepts(module: Module) -> Iterator[str]:
    """Handlers that do nothing without a comment on why, and handlers of everything that do not raise again."""
    lines = module.source.splitlines()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        does_nothing = all(
            isinstance(statement, ast.Pass | ast.Continue)
            or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for statement in node.body
        )
        explained = any("#" in line for line in lines[node.lineno - 1 : node.end_lineno])
        catches_all = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "BaseException")
        raises = any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement))
        if (does_nothing and not explained) or (catches_all and not raises):
            yield f"{module.path}:{node.lineno}"


def suppressions(module: Module) -> Iterator[str]:
    """``contextlib.suppress`` is an except that says nothing either; it needs a comment on its line or above it."""
    lines = module.source.splitlines()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        named = getattr(node.func, "attr", getattr(node.func, "id", "")) == "suppress"
        if named and not any("#" in line for line in lines[max(0, node.lineno - 2) : node.lineno]):
            yield f"{module.path}:{node.lineno}"


def prints(module: Module) -> Iterator[str]:
    if module.path.startswith(("crdt_sync/cli/", "benchmarks/")):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.path}:{node.lineno}"


def asserts(module: Module) -> Iterator[str]:
    """Checks that ``python -O`` would drop; the public test kit asserts because that is what it is for."""
    if module.path.startswith(("crdt_sync/testing/", "benchmarks/")):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield f"{module.path}:{node.lineno}"


def unfinished(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), start=1):
        if any(mark in line for mark in ("TODO", "FIXME", "XXX")):
            yield f"{module.path}:{number}"


def positional_arguments(module: Module) -> Iterator[str]:
    """Public boolean arguments by position: a call ``f(x, True)`` tells nobody what is true."""
    if module.path.startswith("crdt_sync/cli/"):
        return
    for function in (function for function in functions(module) if not is_test(function)):
        for argument in (*function.args.posonlyargs, *function.args.args):
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "bool":
                yield f"{module.path}: {function.name}({argument.arg})"


def loose_dataclasses(module: Module) -> Iterator[str]:
    """``@dataclass`` without ``slots``; frozen ones, the values, also without ``kw_only`` unless they are pairs."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = call.func if call else decorator
            if not (isinstance(name, ast.Name) and name.id == "dataclass"):
                continue
            given = {word.arg for word in call.keywords} if call else set()
            fields = sum(isinstance(statement, ast.AnnAssign) for statement in node.body)
            if "slots" not in given or ("frozen" in given and fields > 2 and "kw_only" not in given):
                yield f"{module.path}: {node.name}"


def undocumented_methods(module: Module) -> Iterator[str]:
    """Public methods without a docstring, unless a base or a neighbour documents what they implement."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(ast.unparse(base).partition("[")[0] not in BASES_WITHOUT_INTERFACE for base in node.bases):
            continue
        for method in node.body:
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or method.name.startswith("_"):
                continue
            if method.name not in module.documented and not is_test(method):
                yield f"{module.path}: {node.name}.{method.name}"


def missing_futures(module: Module) -> Iterator[str]:
    """Every module with annotations starts with the same import, so that annotations cost nothing at run time."""
    imports = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.tree.body)
    if not imports and any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in module.tree.body):
        yield module.path


def test_modules_are_short() -> None:
    found = {place.partition(":")[0]: place for module in modules() for place in long_modules(module)}
    assert sorted(set(found.values()) - {found.get(path, "") for path in LONG_MODULES_ALLOWED}) == []
    assert sorted(LONG_MODULES_ALLOWED.keys() - found.keys()) == [], "these are short now; take them off the list"


def test_functions_are_short() -> None:
    found = {place.rpartition(":")[0]: place for module in modules() for place in long_functions(module)}
    assert sorted(place for name, place in found.items() if name not in LONG_FUNCTIONS_ALLOWED) == []
    assert sorted(LONG_FUNCTIONS_ALLOWED.keys() - found.keys()) == [], "these are short now; take them off the list"


RULES: list[Rule] = [
    vague_names,
    silent_excepts,
    suppressions,
    prints,
    asserts,
    unfinished,
    positional_arguments,
    loose_dataclasses,
    undocumented_methods,
    missing_futures,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Rule) -> None:
    assert [place for module in modules() for place in rule(module)] == []


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
DOCUMENTED_FUNCTION = 'def f():\n    """First.\n' + "\n" * FUNCTION_LINES_MAX + '    """\n    return 1\n'
CORE = "crdt_sync/core/planted.py"


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (long_modules, CORE, "x = 1\n" * (MODULE_LINES_MAX + 1)),
        (long_functions, CORE, LONG_FUNCTION),
        (long_functions, CORE, LONG_FUNCTION.replace("def", "async def")),
        (vague_names, "crdt_sync/core/utils.py", ""),
        (vague_names, "crdt_sync/common/wire.py", ""),
        (vague_names, "crdt_sync/core/text_helpers.py", ""),
        (silent_excepts, CORE, "try:\n    f()\nexcept ValueError:\n    pass\n"),
        (silent_excepts, CORE, "for x in y:\n    try:\n        f()\n    except ValueError:\n        continue\n"),
        (silent_excepts, CORE, "try:\n    f()\nexcept ValueError:\n    ...\n"),
        (silent_excepts, CORE, "try:\n    f()\nexcept:\n    g()\n"),
        (silent_excepts, CORE, "try:\n    f()\nexcept BaseException:\n    g()\n"),
        (suppressions, CORE, "with contextlib.suppress(ValueError):\n    f()\n"),
        (prints, CORE, "print(1)\n"),
        (asserts, CORE, "assert x\n"),
        (unfinished, CORE, "x = 1  # TO" + "DO later\n"),
        (positional_arguments, CORE, "def f(x: int, deep: bool) -> None: ...\n"),
        (loose_dataclasses, CORE, "@dataclass\nclass A: ...\n"),
        (
            loose_dataclasses,
            CORE,
            "@dataclass(frozen=True, slots=True)\nclass A:\n    a: int\n    b: int\n    c: int\n",
        ),
        (undocumented_methods, CORE, "class A:\n    def f(self) -> None: ...\n"),
        (undocumented_methods, CORE, "class A(Protocol[T]):\n    async def f(self) -> None: ...\n"),
        (missing_futures, CORE, "def f() -> None: ...\n"),
    ],
)
def test_rule_finds_what_breaks_it(rule: Rule, path: str, source: str) -> None:
    assert list(rule(parse(path, source)))


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (long_modules, CORE, "x = 1\n" * MODULE_LINES_MAX),
        (long_functions, CORE, DOCUMENTED_FUNCTION),
        (vague_names, "crdt_sync/core/commons_law.py", ""),
        (silent_excepts, CORE, "try:\n    f()\nexcept ValueError:\n    return None\n"),
        (silent_excepts, CORE, "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
        (silent_excepts, CORE, "try:\n    f()\nexcept ValueError:\n    pass  # as the caller asked\n"),
        (suppressions, CORE, "# closing twice is no error\nwith contextlib.suppress(ValueError):\n    f()\n"),
        (prints, "crdt_sync/cli/main.py", "print(1)\n"),
        (asserts, "crdt_sync/testing/stores.py", "assert x\n"),
        (positional_arguments, CORE, "def f(x: int, *, deep: bool) -> None: ...\n"),
        (positional_arguments, CORE, "def test_f(deep: bool) -> None: ...\n"),
        (loose_dataclasses, CORE, "@dataclass(frozen=True, slots=True)\nclass A:\n    a: int\n    b: int\n"),
        (undocumented_methods, CORE, "class A(B):\n    def f(self) -> None: ...\n"),
        (undocumented_methods, CORE, "class A:\n    def _f(self) -> None: ...\n"),
        (undocumented_methods, CORE, "class A:\n    def test_f(self) -> None: ...\n"),
        (
            undocumented_methods,
            CORE,
            'class A:\n    def f(self) -> None:\n        """Do."""\n\nclass B:\n    def f(self) -> None: ...\n',
        ),
        (missing_futures, CORE, '"""Only a docstring."""\n'),
    ],
)
def test_rule_leaves_alone_what_keeps_it(rule: Rule, path: str, source: str) -> None:
    assert list(rule(parse(path, source))) == []
