# safe: storewriter turn
import json

from storewriter import PerStoreWriterQueue

queue = PerStoreWriterQueue()


async def set_option(path, key, value):
    async with queue.turn(path):
        with open(path) as f:
            state = json.load(f)
        state[key] = value
        with open(path, "w") as f:
            json.dump(state, f)
