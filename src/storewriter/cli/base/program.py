"""Run one command line: errors become one line on the error stream and an exit code, never a traceback.

Promise    `Program.run` returns an exit code of `EXIT_CODES`, or one that the command documents itself.
How        The click command is imported and invoked here; its return value, if an int, is the exit code.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from storewriter._platform.secrets import without_passwords
from storewriter.cli.base.text import safe_text
from storewriter.errors import LockTimeout, StoreWriterError, StrategyMismatch

if TYPE_CHECKING:
    import click

__all__ = [
    "DONE",
    "EXIT_CODES",
    "INTERRUPTED",
    "LOCK",
    "NEGATIVE",
    "STORE",
    "UNREAD",
    "USAGE",
    "Program",
    "without_warnings",
]

DONE: Final = 0
NEGATIVE: Final = 1
USAGE: Final = 2
STORE: Final = 3
LOCK: Final = 4
INTERRUPTED: Final = 130
UNREAD: Final = 141

EXIT_CODES: Final[Mapping[int, str]] = {
    DONE: "done",
    NEGATIVE: "negative result",
    USAGE: "wrong usage, or the extra `cli` is missing",
    STORE: "a store cannot be read or written; it is as it was",
    LOCK: "the lock was not obtained; nothing was written",
    INTERRUPTED: "interrupted (Ctrl-C)",
    UNREAD: "the reader of the output has closed it (`| head`)",
}
"""Every exit code with its meaning. A command says in its help what its own 1 means."""

_NEEDED = ("click", "rich", "jsonpatch", "jsonpointer")
"""What the extra `cli` brings; the library itself does without."""


@attrs.frozen
class Program:
    """A command-line program by its name, and where its click command is."""

    name: str
    """The name that users type. It begins every line that the program writes to the error stream."""
    command: str
    """`module:name` of the click command; imported when the program runs."""

    def main(self) -> NoReturn:
        """Run the arguments of this process, and exit with the code."""
        try:
            code = self.run(sys.argv[1:])
        except KeyboardInterrupt:  # a second one, while the first is handled
            code = INTERRUPTED
        sys.exit(code)

    def run(self, arguments: Sequence[str]) -> int:
        """Run one command line and return its exit code. Prints errors and the library's warnings, raises neither."""
        for stream in (sys.stdout, sys.stderr):
            # Characters that the terminal's encoding lacks are shown as escapes.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        if not all(importlib.util.find_spec(name) for name in _NEEDED):
            return self._end(USAGE, "the command line is not installed; run: pip install 'storewriter[cli]'")
        try:
            with _warnings_shown(self):
                return self._run(list(arguments))
        except KeyboardInterrupt as interrupt:
            _drop(interrupt)
            return INTERRUPTED
        except BrokenPipeError:
            return _unread()
        except SystemExit as end:
            # This is how rich ends when the reader of the output has closed it.
            if isinstance(end.__context__, BrokenPipeError):
                return _unread()
            raise

    def _run(self, arguments: list[str]) -> int:
        import click

        try:
            return self._invoke(arguments)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.Abort as abort:
            # A question that was interrupted, or that was answered with no.
            return INTERRUPTED if isinstance(abort.__context__, KeyboardInterrupt) else NEGATIVE
        except click.ClickException as error:
            return self._end(error.exit_code, _advice(self.name, error))
        except (LockTimeout, StrategyMismatch) as error:
            return self._end(LOCK, str(error))
        except BrokenPipeError:
            raise
        except (StoreWriterError, OSError) as error:
            return self._end(STORE, str(error))

    def _invoke(self, arguments: list[str]) -> int:
        module, _, name = self.command.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        variable = f"_{self.name.replace('-', '_').upper()}_COMPLETE"
        if instruction := os.environ.get(variable):
            from click.shell_completion import shell_complete

            return shell_complete(command, {}, self.name, variable, instruction)
        # Not `command.main(...)`: it prints a line after an interrupt, and exits by itself if the output is closed.
        with command.make_context(self.name, arguments) as context:
            code = command.invoke(context)
        if sys.stdout is not None:  # it is None if the caller has closed it (`>&-`)
            sys.stdout.flush()
        return code if isinstance(code, int) else DONE

    def _end(self, code: int, message: str) -> int:
        self.say(message)
        return code

    def say(self, message: str) -> None:
        """Write one line to the error stream, without the password of a URL that a message quotes."""
        print(f"{self.name}: {safe_text(without_passwords(message))}", file=sys.stderr)


def _advice(program: str, error: click.ClickException) -> str:
    """Return what click says, on one line; after wrong usage, with the help to ask for."""
    import click

    message = " ".join(error.format_message().split())
    if not isinstance(error, click.UsageError):
        return message
    end = "" if message.endswith((".", "?", "!", ")")) else "."
    return f"{message}{end} Try '{program if error.ctx is None else error.ctx.command_path} --help'."


class _Warnings(logging.Handler):
    """Shows warnings, such as which process holds the lock. What is logged as an error is raised as well."""

    def __init__(self, program: Program) -> None:
        super().__init__(logging.WARNING)
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            self._program.say(record.getMessage())


@contextlib.contextmanager
def _warnings_shown(program: Program) -> Generator[None]:
    handler = _Warnings(program)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def without_warnings() -> Generator[None]:
    """While the block runs, the library logs errors only: for what the command says itself, or brings about."""
    log = logging.getLogger("storewriter")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _unread() -> int:
    """Point the output elsewhere: Python flushes it at exit, and would report the same error there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


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
