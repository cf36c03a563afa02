"""A program's group of commands, and the options that mean the same in every program. Needs click."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from storewriter.cli.base.program import EXIT_CODES, NEGATIVE, USAGE, Program
from storewriter.cli.base.times import parse_duration, parse_wait

__all__ = [
    "DURATION",
    "STORE_PATH",
    "WAIT",
    "Group",
    "checked",
    "confirmed",
    "exit_codes",
    "group",
    "json_option",
    "neighbour_lock_option",
    "parsed",
    "say",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
P = ParamSpec("P")

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


def exit_codes(meanings: Mapping[int, str] | None = None, *, without: Collection[int] = ()) -> str:
    """Return the exit codes as an epilog for a command's help.

    Args:
        meanings: what a code means here, where that differs from `program.EXIT_CODES`; 1 is listed only if given.
        without: codes that this command never ends with.

    """
    found = {code: text for code, text in EXIT_CODES.items() if code != NEGATIVE} | dict(meanings or {})
    rows = [f"  {code:<4} {found[code]}" for code in sorted(found) if code not in without]
    return "\n".join(["\b", "Exit codes:", *rows])  # \b keeps click from filling the lines


def _completion(program: str) -> str:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return f'\b\nCompletion (bash_source, zsh_source or fish_source):\n  eval "$({variable}=bash_source {program})"'


class Group(click.Group):
    """A program's commands. Without arguments it prints its help to the error stream, which is wrong usage."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a command line without arguments."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those that are not imported yet included."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one of `lazy` is imported now."""
        if cmd_name in self._lazy:
            module, _, name = self._lazy[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)


def group(
    program: str,
    help_text: str,
    *,
    negative: str,
    lazy: Mapping[str, str] | None = None,
    cls: type[Group] = Group,
) -> Group:
    """Make the group of a program, with `--version`, and with exit codes and completion in its help.

    Args:
        program: the program's name, as users type it.
        help_text: the first paragraph of its help.
        negative: what exit code 1 means.
        lazy: commands that are imported only when they are run or listed: by name, `module:name`.
        cls: the class of the group.

    """
    made = cls(
        name=program,
        help=help_text,
        epilog=f"{exit_codes({NEGATIVE: f'negative result: {negative}'})}\n\n{_completion(program)}",
        context_settings=_CONTEXT,
        no_args_is_help=False,
        lazy=lazy,
    )
    return click.version_option(package_name="storewriter", prog_name=program, message="%(prog)s %(version)s")(made)


def parsed(metavar: str, parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return the type of an option whose text a function reads; its ValueError is wrong usage.

    Args:
        metavar: what the help shows, for example `DURATION`.
        parse: returns the value of a text. Raises ValueError with a message for users.

    """

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from None

    read.__name__ = metavar
    return read


if TYPE_CHECKING:
    _TextParameter = click.ParamType[str]
else:
    _TextParameter = click.ParamType  # click 8.1 has it without a parameter


class _StorePath(_TextParameter):
    """A store as it was given, completed by the shell as a file."""

    name = "PATH"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if "\0" in value or not value.replace("\ufeff", "").strip():
            self.fail(f"{value!r} names no store (an empty variable of a script?).", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


DURATION = parsed("DURATION", parse_duration)
"""A duration such as `90s` or `1d12h`, in seconds."""

WAIT = parsed("DURATION", parse_wait)
"""How long to wait, in seconds: `90s`, `1m30s`, or a plain number of seconds."""

STORE_PATH = _StorePath()
"""A store as it was given. A blank text, a script's empty variable, is refused: it must not mean a default."""


def json_option(command: F) -> F:
    """Add `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def neighbour_lock_option(default: str) -> Callable[[F], F]:
    """Add `--[no-]neighbour-lock`, passed as `neighbour_lock`, None if neither is given.

    Args:
        default: where the lock is taken then, as the help shows it.

    """
    return click.option(
        "--neighbour-lock/--no-neighbour-lock",
        default=None,
        help=f"Take OpenClaw's lock too, so that a gateway is excluded (default: {default}).",
    )


def checked(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function with what the command line says; its ValueError is wrong usage.

    So is an ImportError: a URL names an engine that is not installed.
    """
    try:
        return call(*args, **kwargs)
    except (ValueError, ImportError) as error:
        raise click.UsageError(f"{error}.") from None


def confirmed(question: str) -> bool:
    """Ask on the error stream. The answer is a line of the standard input; if there is none, it is no."""
    if sys.stdin is not None and sys.stdin.isatty():
        return click.confirm(question, default=False, err=True)
    try:
        answer = "" if sys.stdin is None else sys.stdin.readline()  # `echo y | ...`
    except (OSError, ValueError):  # closed, or text in another encoding
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def say(message: str) -> None:
    """Write one line to the error stream, after the name of the program that runs."""
    Program(click.get_current_context().find_root().info_name or "", "").say(message)
