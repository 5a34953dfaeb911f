"""Every relative link in every Markdown file leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for top in ("docs", "benchmarks", "tests") for page in (ROOT / top).rglob("*.md"))]
)
SITE_ONLY = {"docs/index.md", "docs/readme.md", "docs/benchmarks.md"}
"""Pages that stand for others on the documentation site, whose own build finds pages that nothing leads to."""


def prose(page: Path) -> str:
    """The page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where Markdown is shown."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    found: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.is_relative_to(ROOT) or not place.exists() or (anchor and anchor not in anchors(place)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        links = re.findall(r"\]\((?![a-z]+:)([^)\s#]+)", prose(page))
        waiting += [(page.parent / link).resolve() for link in links if link.endswith(".md")]
    assert {page.relative_to(ROOT).as_posix() for page in PAGES if page not in reached} == SITE_ONLY


@pytest.mark.parametrize(
    ("text", "links"), [("[a](b.md) `[x](no)` [c](http://d)", ["b.md"]), ("[a](#none)", ["#none"])]
)
def test_broken_links_are_found(tmp_path: Path, text: str, links: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_links.ROOT", tmp_path.resolve())
    page = tmp_path.resolve() / "page.md"
    page.write_text(text, encoding="utf-8")
    assert broken(page) == links
