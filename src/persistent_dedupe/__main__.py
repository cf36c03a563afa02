"""`persistent-dedupe` and `python -m persistent_dedupe`."""

from __future__ import annotations

from storewriter.cli.base.program import Program

__all__ = ["main", "run"]

_PROGRAM = Program("persistent-dedupe", "persistent_dedupe.cli.commands:persistent_dedupe")
main, run = _PROGRAM.main, _PROGRAM.run

if __name__ == "__main__":
    main()
