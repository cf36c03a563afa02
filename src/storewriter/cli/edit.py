"""`storewriter edit`: a document in an editor, outside the lock, and then compare-and-swap."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator

import click

from storewriter import Store, VersionConflict
from storewriter.cli.access import Access, access_options
from storewriter.cli.base.options import STORE_PATH, exit_codes, say
from storewriter.cli.base.program import DONE, NEGATIVE
from storewriter.cli.children import NOT_EXECUTABLE, NOT_FOUND, CommandNotExecutable, CommandNotFound, exit_code_of
from storewriter.cli.commit import dry_run_option
from storewriter.cli.documents import decoded, show_difference

__all__ = ["edit"]

_EPILOG = """\b
Examples:
  storewriter edit settings.json
  EDITOR='code --wait' storewriter edit settings.json

""" + exit_codes(
    {
        NEGATIVE: "the text is no document, the editor failed, or a conflict",
        NOT_EXECUTABLE: "the editor cannot be executed",
        NOT_FOUND: "there is no such editor",
    }
)


@click.command(epilog=_EPILOG, short_help="Edit a document in your editor.")
@click.argument("store", type=STORE_PATH)
@dry_run_option
@access_options
def edit(store: str, access: Access, dry_run: bool) -> int:
    """Open the document of STORE in $VISUAL or $EDITOR (otherwise vi), and commit the edited text.

    No lock is held while you edit. The text is committed only if the document is still the one that you have edited;
    otherwise both changes are shown. A text that is not committed is kept in a file. The layout is that of your text.
    """
    target = access.store(store)
    before, version = target.read_versioned()
    original = bytes(access.codec.encode({})) if before is None else before
    text = _file_for(target.path, original)
    try:
        after = _edited(access, text, original)
    except click.ClickException as error:
        raise _kept(text, original, type(error), error.message) from None
    if after is None or after == before:
        os.unlink(text)
        say("nothing has changed; nothing was written")
        return DONE
    if dry_run:
        show_difference(before, after, (target.path, f"{target.path} (edited)"))
        os.unlink(text)
        return DONE
    _commit(target, access, before, after, version, text)
    return DONE


def _file_for(path: str, data: bytes) -> str:
    stem, ending = os.path.splitext(os.path.basename(path))
    fd, name = tempfile.mkstemp(prefix=f"{stem}.", suffix=ending)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return name


def _edited(access: Access, name: str, original: bytes) -> bytes | None:
    """The edited text, which is a document; None if it was left as it was. Raises click.ClickException."""
    while True:
        code = exit_code_of(_run_editor(name))
        text = _text_in(name)
        if code:
            raise click.ClickException(f"the editor ended with exit code {code}. Nothing was written")
        if text == original:
            return None
        try:
            decoded(access.codec, text, "the edited text")
        except click.ClickException as error:
            if not _wants_to_go_on(error.message):
                raise click.ClickException(f"{error.message} Nothing was written") from None
        else:
            return text


def _text_in(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        reason = f"{name} cannot be read any more: {error.strerror}"
        raise click.ClickException(f"the editor left no text: {reason}. Nothing was written") from error


def _wants_to_go_on(problem: str) -> bool:
    """Ask whether to edit again; without a terminal the answer is no."""
    if not (sys.stdin is not None and sys.stdin.isatty()):
        return False
    say(problem)
    return click.confirm("Edit again?", default=True, err=True)


def _run_editor(name: str) -> int:
    command = [*_editor(), name]
    try:
        with _interrupts_are_the_editors():
            return subprocess.run(command, check=False).returncode
    except FileNotFoundError as error:
        raise CommandNotFound(f"the editor {command[0]!r} cannot be started: there is no such command") from error
    except OSError as error:
        raise CommandNotExecutable(f"the editor {command[0]!r} cannot be started: {error.strerror}") from error


def _editor() -> list[str]:
    given = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip() or "vi"
    try:
        return shlex.split(given)
    except ValueError as error:
        raise click.UsageError(f"the editor {given!r} cannot be understood: {error}.") from None


def _leave_it(number: int, frame: object) -> None:
    """A handler, and not SIG_IGN, which the editor would inherit."""


@contextlib.contextmanager
def _interrupts_are_the_editors() -> Generator[None]:
    """Ctrl-C in an editor is for the editor, which is in the same group of processes."""
    before = {number: signal.signal(number, _leave_it) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _commit(
    target: Store[bytes | None], access: Access, before: bytes | None, after: bytes, version: str, text: str
) -> None:
    try:
        target.transform(lambda _: after, label=access.label, expect=version)
    except VersionConflict:
        theirs = target.read()
        show_difference(before, theirs, (target.path, f"{target.path} (committed meanwhile)"), err=True)
        show_difference(before, after, (target.path, f"{target.path} (your text)"), err=True)
        message = f"{target.path} was changed while you edited it; both changes are shown above. Nothing was written"
        raise _kept(text, None, click.ClickException, message) from None
    except BaseException:
        say(f"your text is kept in {text}")
        raise
    os.unlink(text)


def _kept(text: str, original: bytes | None, kind: type[click.ClickException], message: str) -> click.ClickException:
    """The error that says where the text is; one that was not edited is removed."""
    try:
        with open(text, "rb") as file:
            is_edited = file.read() != original
    except OSError:  # the editor removed it
        return kind(f"{message.rstrip('.')}.")
    if not is_edited:
        os.unlink(text)
    where = f"; your text is kept in {text}" if is_edited else ""
    return kind(f"{message.rstrip('.')}{where or '.'}")
