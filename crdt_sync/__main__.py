"""`python -m crdt_sync` is `crdt-sync`."""

from __future__ import annotations

import sys

from crdt_sync.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
