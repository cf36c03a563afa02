"""`commitments` and `python -m commitments`."""

from __future__ import annotations

from storewriter.cli.base.program import Program

__all__ = ["main", "run"]

_PROGRAM = Program("commitments", "commitments.cli.commands:commitments")
main, run = _PROGRAM.main, _PROGRAM.run

if __name__ == "__main__":
    main()
