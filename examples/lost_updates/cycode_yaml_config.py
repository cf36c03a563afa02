"""cycode: one call saves an exclusion, another one the installation's identifier, and one of them is lost.

    pip install cycode==3.26.0 storewriter
    python cycode_yaml_config.py

https://github.com/cycodehq/cycode-cli/pull/522 made the writes atomic and says that updates can still get lost.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cycode.cli.user_settings.config_file_manager import ConfigFileManager

from storewriter.testing import race


class _ManagerOfCopy(ConfigFileManager):
    """The same manager, on the file that `race` gives."""

    def __init__(self, path: str) -> None:
        super().__init__(Path(path).parent)
        self._file = path

    def get_filename(self) -> str:
        return self._file


def add_exclusion(path: str) -> None:
    """Exclude a path from scans."""
    _ManagerOfCopy(path).add_exclusion("secret", "paths", "/srv/vendor")


def set_identifier(path: str) -> None:
    """Save the identifier of this installation."""
    _ManagerOfCopy(path).update_installation_id("7d1c")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "config.yaml")
        file.write_text("environment:\n  cycode_api_url: https://api.example.org\n")
        print(race(add_exclusion, set_identifier, path=file))
        print("in turns:", race(add_exclusion, set_identifier, path=file, in_turns=True))
