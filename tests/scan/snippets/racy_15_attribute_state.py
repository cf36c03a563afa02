# racy: attribute state
import json


class Settings:
    def __init__(self, path):
        self.path = path
        self.data = {}

    def reload(self):
        with open(self.path) as f:
            self.data = json.load(f)

    def flush(self):
        with open(self.path, "w") as f:
            json.dump(self.data, f)

    def set(self, key, value):
        self.reload()
        self.data[key] = value
        self.flush()
