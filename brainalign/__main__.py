"""``python -m brainalign``: the same as the ``brainalign`` command."""

from __future__ import annotations

import sys

from brainalign.book.cli import main

if __name__ == "__main__":
    sys.exit(main())
