"""Models out of a user's Python file or package, imported only where the user names it, or out of a TOML file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from crdt_sync.cli.model_toml import load_toml
from crdt_sync.core.model import Model
from crdt_sync.errors import CRDTSyncError, InputError

_HINT = (
    "Give a Python file (models.py) or a module (package.module) that declares subclasses of crdt_sync.Model, "
    "or a TOML file (models.toml)."
)


def load_models(source: str) -> tuple[type[Model], ...]:
    """All models that a Python file or module declares or imports, in order of declaration. Runs its code.

    Args:
        source: ``path/to/file.py`` or ``package.module``; or ``path/to/file.toml``, of which no code is run.

    Raises:
        InputError: it cannot be imported or read, or has no models.
        SchemaError: a declaration in it cannot work.
    """
    if source.endswith(".toml"):
        return load_toml(Path(source))
    is_file = source.endswith(".py") or Path(source).is_file()
    try:
        with _importable(Path(source).resolve().parent if is_file else Path.cwd()):
            module = _import_file(Path(source)) if is_file else importlib.import_module(source)
    except CRDTSyncError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InputError(f"{source} cannot be imported: {type(error).__name__}: {error}", hint=_HINT) from error
    models = tuple(
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Model) and value is not Model and not name.startswith("_")
    )
    if not models:
        raise InputError(f"{source} declares no models", hint=_HINT)
    return tuple(dict.fromkeys(models))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path}", hint=_HINT)
    name = f"crdt_sync_models_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file", hint=_HINT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks annotations up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's code import what lies beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
