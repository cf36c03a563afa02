"""The `storewriter` command: a group of commands, each imported when it is asked for.

Promise    Errors are one message on the error stream, never a traceback, and an exit code that a script can rely on.
Exit codes 0 done; 1 negative result (see the command's help); 2 usage; 3 a store could not be read or written; 4 the
           lock was not obtained; 130 interrupted; 141 the reader of the output has closed it. `commitments` and
           `persistent-dedupe` end with the same ones.
"""

from __future__ import annotations

import gc
import importlib
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from storewriter.cli.text import printable
from storewriter.errors import LockTimeout, StoreWriterError, StrategyMismatch

__all__ = ["run", "storewriter"]

_COMMANDS = {
    "bench": "storewriter.cli.bench.command:bench",
    "demo": "storewriter.cli.demo:demo",
    "status": "storewriter.cli.status:status",
}
"""Where each command is, as `module:name`."""

# \b keeps click from filling the lines.
_EXIT_CODES = """\b
Exit codes:
  0    done
  1    negative result, see the command's help
  2    usage: an option or argument is wrong, or the extra `cli` is missing
  3    a store could not be read or written; it is as it was
  4    the lock was not obtained; nothing was written
  130  interrupted (Ctrl-C)
  141  the reader of the output has closed it (`storewriter demo | head`)
"""

EXIT_STORE = 3
EXIT_LOCK = 4
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141


class _LazyGroup(click.Group):
    """A group that imports a command only when it is run or listed, so that `--version` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=_LazyGroup,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(package_name="storewriter", prog_name="storewriter", message="%(prog)s %(version)s")
def storewriter() -> None:
    """Safe concurrent updates of small shared files: no lost updates, even if a process is killed."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (None: those of the process) and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks are shown as escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        outcome: Any = storewriter.main(args=arguments, prog_name="storewriter", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as interrupt:
        _drop(interrupt)
        return EXIT_INTERRUPTED
    except (LockTimeout, StrategyMismatch) as error:
        return _fail(error, EXIT_LOCK)
    except SystemExit as leaving:
        # How click and rich end when the reader of the output has closed it, which is no negative result.
        if isinstance(leaving.__context__, BrokenPipeError):
            return EXIT_UNREAD
        raise
    except (StoreWriterError, OSError) as error:
        return _fail(error, EXIT_STORE)
    return outcome if isinstance(outcome, int) else 0


def _drop(interrupt: BaseException) -> None:
    """Give up the work that was cut short, without asyncio's reports about event loops that were only half made."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interrupt.__traceback__ = interrupt.__context__ = interrupt.__cause__ = None
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _fail(error: Exception, code: int) -> int:
    click.echo(f"storewriter: {printable(str(error))}", err=True)
    return code
