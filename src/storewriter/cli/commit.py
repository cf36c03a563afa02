"""How `update`, `pipe` and `edit` commit: one change from bytes to bytes, or its difference in a dry run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from storewriter import Store, VersionConflict
from storewriter.cli.access import Access
from storewriter.cli.base.text import json_text
from storewriter.cli.documents import show_difference

__all__ = ["commit_options", "committed", "dry_run_option", "is_another_version", "report", "require_version"]

F = TypeVar("F", bound=Callable[..., Any])


def dry_run_option(command: F) -> F:
    """Add `--dry-run`, passed as `dry_run`."""
    text = "Print the change as a unified diff, and write nothing."
    return click.option("--dry-run", is_flag=True, help=text)(command)


def commit_options(command: F) -> F:
    """Add `--dry-run` and `--version-is`, passed as `dry_run` and `version_is`."""
    option = click.option(
        "--version-is",
        metavar="VERSION",
        help="Write only if the document still has this version (get --version-only).",
    )
    return option(dry_run_option(command))


def committed(
    given: str,
    access: Access,
    change: Callable[[bytes | None], bytes],
    *,
    version_is: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Commit a change of a document, or print its difference, and report it."""
    store = access.store(given)
    if dry_run:
        before, version = store.read_versioned()
        require_version(store, version, version_is)
        show(store, before, change(before), as_json=as_json)
        return
    seen: list[bytes | None] = []

    def once(data: bytes | None) -> bytes:
        seen[:] = [data]
        return change(data)

    try:
        after = store.transform(once, label=access.label, expect=version_is)
    except VersionConflict as error:
        is_another_version(store, error.found, error.expected)
    report(store, seen[0], after, as_json=as_json)


def show(store: Store[Any], before: bytes | None, after: bytes, *, as_json: bool) -> None:
    """Print what a commit would change."""
    if as_json:
        click.echo(json_text({"path": store.path, "changed": before != after, "committed": False}, indent=None))
        return
    show_difference(before, after, (store.path, f"{store.path} (after the change)"))


def report(store: Store[Any], before: bytes | None, after: bytes | None, *, as_json: bool) -> None:
    """Print what a commit has changed, if JSON was asked for."""
    if as_json:
        click.echo(json_text({"path": store.path, "changed": before != after, "committed": True}, indent=None))


def require_version(store: Store[Any], found: str, expected: str | None) -> None:
    """Raise click.ClickException for another version than the expected one."""
    if expected is not None and found != expected:
        is_another_version(store, found, expected)


def is_another_version(store: Store[Any], found: str, expected: str) -> NoReturn:
    """Raise click.ClickException, which names both versions."""
    raise click.ClickException(f"{store.path} has the version {found}, not {expected}. Nothing was written.")
