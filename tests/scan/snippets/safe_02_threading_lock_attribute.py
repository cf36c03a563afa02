# safe: threading lock attribute
import json
import threading


class Cache:
    def __init__(self, path):
        self._path = path
        self._lock = threading.RLock()

    def put(self, key, value):
        with self._lock:
            with open(self._path) as f:
                data = json.load(f)
            data[key] = value
            with open(self._path, "w") as f:
                json.dump(data, f)
