"""`storewriter` and `python -m storewriter`: the command line, if its extra is installed."""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("click", "rich")
"""What the extra `cli` brings; the library itself does without."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        print("storewriter: the command line is not installed; run: pip install 'storewriter[cli]'", file=sys.stderr)
        sys.exit(2)
    try:
        from storewriter.cli import run

        sys.exit(run())
    except KeyboardInterrupt:  # while the commands are imported, or while an interrupt is dealt with
        sys.exit(130)


if __name__ == "__main__":
    main()
