"""Print one of the quick start's commands exactly as README.md has it, so that what people are told is what runs here.

Usage: readme_commands.py demo|tests [README]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

COMMANDS = ("demo", "tests")
README = Path(__file__).resolve().parent.parent / "README.md"


def quick_start_blocks(readme: str) -> list[str]:
    """The fenced ``sh`` blocks of the section "Quick start", in order."""
    section = re.search(r"^## Quick start$(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    if section is None:
        return []
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)]


def main(arguments: list[str]) -> int:
    """Print the command; 2 where there is none."""
    if not 1 <= len(arguments) <= 2 or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[1]) if len(arguments) > 1 else README
    blocks = quick_start_blocks(path.read_text(encoding="utf-8"))
    position = COMMANDS.index(arguments[0])
    if position >= len(blocks):
        print(f"{path} has no command for {arguments[0]}", file=sys.stderr)
        return 2
    print(blocks[position])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
