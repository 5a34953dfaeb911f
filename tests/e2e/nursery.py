"""Where processes that are to be killed begin: ``python -m tests.e2e.nursery``.

It has everything imported, takes a line of JSON for each life, and forks for it: so a life begins at once, and runs the
program's own code in a process of its own. It says how each life ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any

from crdt_sync.cli.main import main as crdt_sync
from tests.e2e.programs import say
from tests.e2e.writer import Orders, live


def run(what: Any) -> None:
    """A device, where it is orders; else arguments of the command line."""
    say(pid=os.getpid())
    if isinstance(what, dict):
        asyncio.run(live(Orders(**what)))
    else:
        crdt_sync(what)


def main() -> None:
    """Give a process to each life, one after the other."""
    say(ready=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(json.loads(line))
            finally:
                traceback.print_exc()  # nobody is to come here: a life has no end of its own
                os._exit(1)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
