# safe: asyncio lock
import asyncio
import json

import aiofiles

lock = asyncio.Lock()


async def remember(path, key, value):
    async with lock:
        async with aiofiles.open(path) as f:
            data = json.loads(await f.read())
        data[key] = value
        async with aiofiles.open(path, "w") as f:
            await f.write(json.dumps(data))
