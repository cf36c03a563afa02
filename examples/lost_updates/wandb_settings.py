"""wandb: two jobs change different settings in one settings file, and one of them is lost.

    pip install wandb==0.31.0 storewriter
    python wandb_settings.py

https://github.com/wandb/wandb/issues/637 reports what simultaneous jobs do to this file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from wandb.sdk.lib.settings_file import SettingsFiles

from storewriter.testing import race


def set_project(path: str) -> None:
    """Set the project, as `wandb init` does."""
    settings = SettingsFiles(global_settings=None, local_settings=Path(path))
    settings.set("project", "alpha")
    settings.save()


def set_entity(path: str) -> None:
    """Set the entity."""
    settings = SettingsFiles(global_settings=None, local_settings=Path(path))
    settings.set("entity", "team")
    settings.save()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "settings")
        file.write_text("[default]\nbase_url = https://api.example.org\n")
        print(race(set_project, set_entity, path=file))
        print("in turns:", race(set_project, set_entity, path=file, in_turns=True))
