"""The `commitments` command: errors become messages and exit codes here, `commitments.cli` does the work.

Exit codes, the same as of `storewriter` and `persistent-dedupe`: 0 done; 1 negative result (some ids were not
changed); 2 wrong usage; 3 the store cannot be read or written; 4 the lock was not obtained; 130 interrupted; 141 the
reader of the output has closed it. Never a traceback.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence

from commitments.terminal import safe_text

USAGE, UNREADABLE, LOCKED, INTERRUPTED, UNREAD = 2, 3, 4, 130, 141

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
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        return _end(USAGE, f"the command line needs the package {missing!r}: pip install 'storewriter[cli]'")
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

    from commitments.cli import commitments
    from storewriter import LockTimeout, StoreWriterError, StrategyMismatch

    notices = _Notices(logging.WARNING)
    logging.getLogger().addHandler(notices)
    try:
        # Not `commitments.main(...)`: it ends the process by itself when the output is closed.
        with commitments.make_context("commitments", list(arguments)) as context:
            code = commitments.invoke(context)
        if sys.stdout is not None:  # it is None if the caller has closed it (`>&-`)
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _end(USAGE, f"{error.format_message()} Try 'commitments --help'.")
    except (LockTimeout, StrategyMismatch) as error:
        return _end(LOCKED, f"{error} Nothing was written.")
    except BrokenPipeError:
        raise
    except (StoreWriterError, OSError) as error:
        return _end(UNREADABLE, str(error))
    finally:
        logging.getLogger().removeHandler(notices)
    return int(code or 0)


def _end(code: int, message: str) -> int:
    _say(message)
    return code


def _say(message: str) -> None:
    print(f"commitments: {safe_text(message)}", file=sys.stderr)


if __name__ == "__main__":
    main()
