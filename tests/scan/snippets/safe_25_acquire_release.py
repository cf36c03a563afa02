# safe: acquire release
import json
import threading

mutex = threading.Lock()


def put(path, key, value):
    mutex.acquire()
    try:
        with open(path) as f:
            data = json.load(f)
        data[key] = value
        with open(path, "w") as f:
            json.dump(data, f)
    finally:
        mutex.release()
