"""Where the store is, and that its directory is private."""

from __future__ import annotations

import logging
import os
import stat

import attrs

from commitments.trimming import trim

_log = logging.getLogger("commitments")


def default_path() -> str:
    """Return the store of this user: under `$OPENCLAW_STATE_DIR`, or else `~/.openclaw`."""
    state_dir = trim(os.environ.get("OPENCLAW_STATE_DIR", "")) or "~/.openclaw"
    return os.path.join(_absolute(state_dir), "commitments", "commitments.json")


@attrs.frozen
class Location:
    """The file, and whether its directory is ours to keep private."""

    path: str
    """The absolute path of the file."""
    is_default: bool
    """Whether it is the store of this user, whose directory holds nothing else."""

    @classmethod
    def of(cls, path: str | os.PathLike[str] | None) -> Location:
        """Return what `path` means: trimmed, `~` expanded, made absolute; None or blank is the default."""
        given = "" if path is None else trim(os.fspath(path))
        if not given:
            return cls(default_path(), is_default=True)
        return cls(_absolute(given), is_default=False)

    def keep_private(self) -> None:
        """Remove the rights of group and others from the directory of the store of this user.

        A missing directory will be created private. A link, a directory of another user, and the directory of a
        path that was given (which may be anything, `/tmp` for one) are left alone. Where the file system does
        not allow it, a warning is logged.
        """
        directory = os.path.dirname(self.path)
        if not self.is_default or not _is_open_to_others(directory):
            return
        try:
            os.chmod(directory, 0o700)
        except OSError as error:
            _log.warning("others can look into %s, and its mode could not be changed: %s", directory, error)


def _is_open_to_others(directory: str) -> bool:
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and bool(found.st_mode & 0o077)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
