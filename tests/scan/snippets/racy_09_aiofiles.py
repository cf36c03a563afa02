# racy: aiofiles
import json

import aiofiles


async def remember(path, user_id, prefs):
    async with aiofiles.open(path) as f:
        data = json.loads(await f.read())
    data[str(user_id)] = prefs
    async with aiofiles.open(path, mode="w") as f:
        await f.write(json.dumps(data))
