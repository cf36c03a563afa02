# racy: tomlkit pathlib
from pathlib import Path

import tomlkit

PYPROJECT = Path("pyproject.toml")


def add_dependency(name: str) -> None:
    document = tomlkit.parse(PYPROJECT.read_text())
    document["project"]["dependencies"].append(name)
    PYPROJECT.write_text(tomlkit.dumps(document))
