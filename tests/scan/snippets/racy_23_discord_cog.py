# racy: discord cog
import json
import random


class Levels:
    def __init__(self, bot):
        self.bot = bot

    async def on_message(self, message):
        if message.author.bot:
            return
        with open("data/levels.json", "r") as f:
            users = json.load(f)
        await self.update(users, message.author)
        users[str(message.author.id)]["xp"] += random.randint(1, 5)
        with open("data/levels.json", "w") as f:
            json.dump(users, f)

    async def update(self, users, author):
        users.setdefault(str(author.id), {"xp": 0})
