"""traitlets: two updates of one section of the configuration, and one of them is lost.

    pip install traitlets==5.16.1 storewriter
    python traitlets_json_config.py

Reported in https://github.com/spectrochempy/spectrochempy/issues/1487, explained in
https://github.com/spectrochempy/spectrochempy/pull/1488.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from traitlets.config.manager import BaseJSONConfigManager

from storewriter.testing import race


def set_tolerance(path: str) -> None:
    """Change one option of a section."""
    folder, name = os.path.split(path)
    BaseJSONConfigManager(config_dir=folder).update(name.removesuffix(".json"), {"fit": {"tolerance": 0.1}})


def set_iterations(path: str) -> None:
    """Change another one."""
    folder, name = os.path.split(path)
    BaseJSONConfigManager(config_dir=folder).update(name.removesuffix(".json"), {"fit": {"iterations": 50}})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "analysis.json")
        file.write_text('{"fit": {"solver": "newton"}}')
        print(race(set_tolerance, set_iterations, path=file))
        print("in turns:", race(set_tolerance, set_iterations, path=file, in_turns=True))
