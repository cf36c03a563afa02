# racy: ruamel
from pathlib import Path

from ruamel.yaml import YAML


def set_version(root: Path, version: str) -> None:
    yaml = YAML()
    manifest = root / "galaxy.yml"
    document = yaml.load(manifest)
    document["version"] = version
    yaml.dump(document, manifest)
