# racy: property path
import json
from pathlib import Path


class Registry:
    def __init__(self, root):
        self.root = Path(root)

    @property
    def index_path(self):
        return self.root / "index.json"

    def publish(self, package):
        index = json.loads(self.index_path.read_text())
        index["packages"][package.name] = package.version
        data = json.dumps(index, indent=1)
        self.index_path.write_text(data)
