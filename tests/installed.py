"""An environment in which the package is installed, as far as its entry points go: a checkout alone has none."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "crdt_sync/testing/pytest_plugin"


def pytest_entry_points() -> dict[str, str]:
    """Name → module of the pytest plugins of the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    points: dict[str, str] = settings["project"]["entry-points"]["pytest11"]
    return points


def install(folder: Path) -> str:
    """Write metadata into an empty folder; the search path with which Python finds them, and the code."""
    metadata = folder / "crdt_sync_kit-0.dist-info"
    metadata.mkdir(parents=True)
    lines = [f"{name} = {module}" for name, module in pytest_entry_points().items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]), encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: crdt-sync-kit\nVersion: 0\n", encoding="utf-8")
    return os.pathsep.join((str(ROOT), str(PLUGIN), str(folder)))
