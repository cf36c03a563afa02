"""Where the store is, that its directory is private, and whether OpenClaw still keeps its commitments there."""

from __future__ import annotations

import logging
import os
import re
import stat

import attrs

from commitments.record import trim
from storewriter import StoreWriterError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_log = logging.getLogger("commitments")


def default_path() -> str:
    """Return the store of this user: under `$OPENCLAW_STATE_DIR`, or else `~/.openclaw`."""
    state = trim(os.environ.get("OPENCLAW_STATE_DIR", "")) or "~/.openclaw"
    return os.path.join(_absolute(state), "commitments", "commitments.json")


@attrs.frozen
class Location:
    """The file, and what it is to OpenClaw."""

    path: str
    """The absolute path of the file, or the URL of a document that is no file."""
    is_default: bool
    """Whether no path was given, which means the store of this user."""
    is_openclaws: bool
    """Whether it is where an OpenClaw gateway of this user looks for it, by whatever spelling.

    Its directory holds nothing else.
    """
    is_file: bool = True
    """Whether there is a file; a URL is passed to storewriter as it is given."""

    @classmethod
    def of(cls, path: str | os.PathLike[str] | None) -> Location:
        """Return what `path` means: trimmed, `~` expanded, made absolute; None or blank is the default."""
        given = "" if path is None else trim(os.fspath(path))
        if not given:
            return cls(default_path(), is_default=True, is_openclaws=True)
        if isinstance(path, str) and _URL.match(given):
            return cls(given, is_default=False, is_openclaws=False, is_file=False)
        path = _absolute(given)
        is_openclaws = os.path.realpath(path) == os.path.realpath(default_path())
        return cls(path, is_default=False, is_openclaws=is_openclaws)

    @property
    def database(self) -> str | None:
        """OpenClaw's database, if there is one where it belongs to this store; it is the live store then."""
        is_beside_it = self.is_file and os.path.basename(os.path.dirname(self.path)) == "commitments"
        if not self.is_openclaws and not is_beside_it:
            return None
        path = os.path.join(os.path.dirname(os.path.dirname(self.path)), "state", "openclaw.sqlite")
        return path if os.path.exists(path) else None

    def warn_of_database(self) -> None:
        """Say that OpenClaw does not read this file any more, if that is so."""
        database = self.database
        if database is not None:
            _log.warning(
                "OpenClaw keeps its commitments in %s, not in %s (since its pull request #105780, 2026-07-13): what is "
                "changed here is not seen by the gateway", database, self.path,
            )  # fmt: skip

    def require_in_use(self) -> None:
        """Refuse to make a file that OpenClaw would take for an old one, import once and delete.

        Raises StoreWriterError if this is the store of this user by default, OpenClaw has its database, and there is
        no file yet.
        """
        database = self.database if self.is_default else None
        if database is None or os.path.lexists(self.path):
            return
        raise StoreWriterError(
            f"{self.path} does not exist, and OpenClaw keeps its commitments in {database} (since its pull request "
            f"#105780, 2026-07-13): nothing was written. Use the gateway's own commands, or name the path to make the "
            f"file all the same (--store PATH).",
            path=self.path,
        )

    def keep_private(self) -> None:
        """Remove the rights of group and others from the directory of OpenClaw's own path.

        A missing directory will be created private. A link, a directory of another user, and the directory of any
        other path (which may be `/tmp`) are left alone. Where the file system does not allow it, a warning is logged.
        """
        if not self.is_openclaws:
            return
        directory = os.path.dirname(self.path)
        try:
            found = os.lstat(directory)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
                os.chmod(directory, 0o700)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            _log.warning("others can look into %s, and its mode could not be changed: %s", directory, error)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
