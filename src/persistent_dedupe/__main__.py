"""The `persistent-dedupe` command: errors become messages and exit codes here, `persistent_dedupe.cli` does the work.

Exit codes, the same as of `storewriter` and `commitments`: 0 done, or new; 1 negative result (seen before, or not
there); 2 wrong usage; 3 the store cannot be read or written; 4 the lock was not obtained; 130 interrupted; 141 the
reader of the output has closed it. Never a traceback.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence

from persistent_dedupe.terminal import safe_text

__all__ = ["main", "run"]

USAGE, UNUSABLE, LOCKED, INTERRUPTED, UNREAD = 2, 3, 4, 130, 141

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line of this process, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks are shown as escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        return _end(USAGE, f"the command line needs the package {error.name!r}: pip install 'storewriter[cli]'")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes at exit, and would report the same error there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


class _Notices(logging.Handler):
    """Shows warnings, such as which process holds the lock. Errors are raised as well, and shown by `_run`."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            _say(record.getMessage())


def _run(arguments: Sequence[str]) -> int:
    import click

    from persistent_dedupe.cli import persistent_dedupe
    from storewriter import LockTimeout, StoreWriterError, StrategyMismatch

    notices = _Notices(logging.WARNING)
    logging.getLogger().addHandler(notices)
    try:
        # Not `main()`: it ends the process by itself after an interrupt, or when the output is closed.
        with persistent_dedupe.make_context("persistent-dedupe", list(arguments)) as context:
            code = persistent_dedupe.invoke(context)
        if sys.stdout is not None:  # it is None if the caller has closed it (`>&-`)
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _end(USAGE, f"{error.format_message()} Try 'persistent-dedupe --help'.")
    except (LockTimeout, StrategyMismatch) as error:
        return _end(LOCKED, str(error))
    except BrokenPipeError:
        raise
    except (StoreWriterError, OSError) as error:
        return _end(UNUSABLE, str(error))
    finally:
        logging.getLogger().removeHandler(notices)
    return int(code or 0)


def _end(code: int, message: str) -> int:
    _say(message)
    return code


def _say(message: str) -> None:
    print(f"persistent-dedupe: {safe_text(message)}", file=sys.stderr)


if __name__ == "__main__":
    main()
