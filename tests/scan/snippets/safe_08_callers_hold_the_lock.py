# safe: callers hold the lock
import json
import threading

_lock = threading.Lock()


def _change(path, key, value):
    with open(path) as f:
        state = json.load(f)
    state[key] = value
    with open(path, "w") as f:
        json.dump(state, f)


def set_value(path, key, value):
    with _lock:
        _change(path, key, value)


def clear(path, key):
    with _lock:
        _change(path, key, None)
