# racy: class load save
import json
import os


class TokenCache:
    def __init__(self, directory):
        self.path = os.path.join(directory, "tokens.json")

    def _load(self):
        if not os.path.exists(self.path):
            return {}
        with open(self.path) as f:
            return json.load(f)

    def _save(self, tokens):
        with open(self.path, "w") as f:
            json.dump(tokens, f)

    def put(self, account, token):
        tokens = self._load()
        tokens[account] = token
        self._save(tokens)

    def forget(self, account):
        tokens = self._load()
        tokens.pop(account, None)
        self._save(tokens)
