# safe: only reads
import json
from pathlib import Path


def get_option(key, default=None):
    path = Path.home() / ".tool.json"
    if not path.exists():
        return default
    return json.loads(path.read_text()).get(key, default)
