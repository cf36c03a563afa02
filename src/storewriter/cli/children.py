"""Child processes of commands: started after `--`, given signals, and ended with the command.

Promise    A child does not outlive the command that started it: an error or an interrupt ends it (SIGTERM, then
           SIGKILL after a second), and on Linux the kernel kills it (PR_SET_PDEATHSIG) if the command itself is killed.
How        A child is a member of the command's process group if that is in the foreground of a terminal, because it may
           read from the terminal, and Ctrl-C reaches it there. Otherwise it has a group of its own, which is ended as
           a whole.
Does not   end processes that a child has put into other groups or sessions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, NoReturn

import click

__all__ = [
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "CommandNotExecutable",
    "CommandNotFound",
    "WithCommand",
    "become",
    "command_of",
    "exit_code_of",
    "output_of",
    "run_with_input",
    "run_with_signals",
]

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127

_GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL for a child that is to end."""

_COMMAND: Final = "storewriter.command"


class CommandNotFound(click.ClickException):
    """There is no command of that name. The exit code is that of a shell."""

    exit_code = NOT_FOUND


class CommandNotExecutable(click.ClickException):
    """The command cannot be executed. The exit code is that of a shell."""

    exit_code = NOT_EXECUTABLE


class WithCommand(click.Command):
    """A click command that takes another command after `--`; `command_of` returns it."""

    is_command_required = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows the first `--`, and parse the rest."""
        own, given = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        ctx.meta[_COMMAND] = tuple(given)
        rest = super().parse_args(ctx, own)
        if not given and not ctx.resilient_parsing and (self.is_command_required or "--" in args):
            raise click.UsageError(f"give a command after --: {ctx.command_path} STORE -- COMMAND", ctx)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line, with the command at its end."""
        end = "-- COMMAND [ARGUMENTS]" if self.is_command_required else "[-- COMMAND [ARGUMENTS]]"
        return [*super().collect_usage_pieces(ctx), end]


def command_of(ctx: click.Context) -> tuple[str, ...]:
    """The command after `--`, with its arguments; empty if there is none."""
    found: tuple[str, ...] = ctx.meta[_COMMAND]
    return found


def exit_code_of(returncode: int) -> int:
    """The exit code of a child as a shell gives it: 128 and the number of the signal that ended it."""
    return returncode if returncode >= 0 else 128 - returncode


def output_of(command: Sequence[str], data: bytes, environment: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Run a command with `data` as its input; returns its exit code and its output.

    Raises click.ClickException if it cannot be started.
    """
    with _started(command, environment, stdout=subprocess.PIPE) as child:
        output, _ = child.communicate(data)
    return exit_code_of(child.returncode), output


def run_with_input(command: Sequence[str], data: bytes, environment: Mapping[str, str]) -> int:
    """Run a command with `data` as its input; returns its exit code. Raises click.ClickException as `output_of`."""
    with _started(command, environment) as child:
        child.communicate(data)
    return exit_code_of(child.returncode)


@contextlib.contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str] | None, *, stdout: int | None = None
) -> Generator[subprocess.Popen[bytes]]:
    has_own_group = not is_in_foreground()
    env = None if environment is None else {**os.environ, **environment}
    child = _start(command, stdin=subprocess.PIPE, stdout=stdout, env=env, process_group=0 if has_own_group else None)
    try:
        yield child
    finally:
        if child.poll() is None:
            _end(child, has_own_group=has_own_group)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _start(
    command: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    env: Mapping[str, str] | None = None,
    process_group: int | None = None,
) -> subprocess.Popen[bytes]:
    if sys.stdout is not None:
        sys.stdout.flush()
    with _start_errors(command):
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            env=env,
            process_group=process_group,
            preexec_fn=_dies_with_parent(),
        )


@contextlib.contextmanager
def _start_errors(command: Sequence[str]) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CommandNotFound(f"{command[0]!r} cannot be started: there is no such command.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in an argument
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CommandNotExecutable(f"{command[0]!r} cannot be started: {reason}.") from error


_PR_SET_PDEATHSIG: Final = 1


def _dies_with_parent() -> Callable[[], None] | None:
    """What a child calls before it becomes the command; None where there is no such system call."""
    if sys.platform != "linux":
        return None
    # Looked up before the fork: in the child nothing is allocated or locked that another thread may be using.
    prctl = ctypes.CDLL(None).prctl
    parent, sigkill = os.getpid(), int(signal.SIGKILL)

    def set_up() -> None:
        prctl(_PR_SET_PDEATHSIG, sigkill)
        if os.getppid() != parent:
            os._exit(128 + sigkill)

    return set_up


def _end(child: subprocess.Popen[bytes], *, has_own_group: bool) -> None:
    """End a child and, if it has a group of its own, all that it has started there. Interrupts do not cut it short."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(child, number, has_own_group=has_own_group)
        deadline = time.monotonic() + _GRACE
        while child.poll() is None and (number is signal.SIGKILL or time.monotonic() < deadline):
            with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                child.wait(_GRACE)
    if has_own_group:
        _signal(child, signal.SIGKILL, has_own_group=True)  # what the child has left behind in its group


def _signal(child: subprocess.Popen[bytes], number: int, *, has_own_group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if has_own_group:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)


def is_in_foreground() -> bool:
    """Whether this process's group is in the foreground of a terminal: Ctrl-C there reaches all of its members."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def become(command: Sequence[str], descriptors: Sequence[int]) -> NoReturn:
    """Replace this process by a command that keeps these descriptors. Raises click.ClickException if it cannot."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a command must not inherit that
    try:
        with _start_errors(command):
            os.execvp(command[0], list(command))
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


# -- a child that gets the signals that its parent gets ----------------------------------------------------------------

_FORWARDED: Final = (
    *("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGTSTP", "SIGCONT"),
)
_STOP: Final = getattr(signal, "SIGTSTP", None)
_OF_A_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, getattr(signal, "SIGWINCH", None), _STOP)
"""A terminal sends these to all processes in its foreground."""

_PRESSES: Final = 3
_WITHIN: Final = 2.0
"""So many interrupts in so many seconds kill a child that goes on in spite of them."""


class _Forwarder:
    """Passes the signals of this process on to a child."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._interrupts: list[float] = []

    def handle(self, number: int, frame: object) -> None:
        if self.child is None:
            self._early.append(number)
        else:
            self._forward(self.child, number)

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        while self._early:
            self._forward(child, self._early.pop(0))

    def _forward(self, child: subprocess.Popen[bytes], number: int) -> None:
        if number == signal.SIGINT:
            now = time.monotonic()
            self._interrupts = [*(each for each in self._interrupts if now - each < _WITHIN), now]
            if len(self._interrupts) >= _PRESSES:
                child.kill()
                return
        if number not in _OF_A_TERMINAL or not is_in_foreground():
            child.send_signal(number)
        if number == _STOP:
            _stop_too(number)


def _stop_too(number: int) -> None:
    """Stop this process as SIGTSTP does by itself, until SIGCONT, which is passed on as well."""
    handler = signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    signal.signal(number, handler)


def run_with_signals(command: Sequence[str]) -> int:
    """Run a command in this process's group and with its signals; returns its exit code.

    Three interrupts within two seconds kill it. Raises click.ClickException if it cannot be started.
    """
    forwarder = _Forwarder()
    with _handled_by(forwarder):
        child = _start(command)
        forwarder.begin(child)
        try:
            return exit_code_of(child.wait())
        finally:
            if child.poll() is None:
                _end(child, has_own_group=False)


@contextlib.contextmanager
def _handled_by(forwarder: _Forwarder) -> Generator[None]:
    before: dict[int, Any] = {}
    try:
        for name in _FORWARDED:
            number = getattr(signal, name, None)
            # An ignored signal stays ignored (nohup, a background job of a script), and the child ignores it, too.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, forwarder.handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
