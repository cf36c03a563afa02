# safe: fasteners decorator
import json

import fasteners


@fasteners.interprocess_locked("/tmp/state.lock")
def set_state(path, key, value):
    with open(path) as f:
        state = json.load(f)
    state[key] = value
    with open(path, "w") as f:
        json.dump(state, f)
