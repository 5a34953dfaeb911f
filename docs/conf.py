"""Configuration of the documentation site: ``sphinx-build -W --keep-going docs SITE`` makes it in the folder SITE."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "crdt_sync"
copyright = "crdt_sync contributors"  # noqa: A001  the name that Sphinx reads
release = tomllib.loads(Path(__file__).parent.with_name("pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
"""Headings down to this level can be linked to, as on the pages of a code host."""
nitpicky = True

html_theme = "furo"
html_title = f"crdt_sync {release}"
html_copy_source = False

_OUTSIDE = {"README.md": "readme.md", "benchmarks/README.md": "benchmarks.md", "LICENSE": "index.md"}
"""Files beside this folder → the pages here that stand for them."""


def _link_inside(text: str, *, up: str) -> str:
    """Let links to files beside this folder, which is ``up`` from the text, lead to the site's own pages."""
    for outside, inside in _OUTSIDE.items():
        text = re.sub(rf"\]\({re.escape(up + outside)}(?=[)#])", f"]({up.removeprefix('../')}{inside}", text)
    return text


def _read_page(_app: Sphinx, page: str, text: list[str]) -> None:
    text[0] = _link_inside(text[0], up="../" + "../" * page.count("/"))


def _read_included(_app: Sphinx, _path: Path, _page: str, text: list[str]) -> None:
    text[0] = _link_inside(text[0], up="")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_included)
