# safe: temporary directory
import json
import tempfile
from pathlib import Path


def build(template):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(template)
        data = json.loads(manifest.read_text())
        data["built"] = True
        manifest.write_text(json.dumps(data))
        return pack(folder)


def pack(folder):
    return sorted(Path(folder).iterdir())
