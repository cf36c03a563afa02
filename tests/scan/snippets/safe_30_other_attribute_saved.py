# safe: other attribute saved
import json


class Session:
    def __init__(self, path):
        self.path = path
        self.settings = {}
        self.results = []

    def start(self):
        with open(self.path) as f:
            self.settings = json.load(f)

    def run(self, jobs):
        self.start()
        self.results = [job() for job in jobs]
        with open(self.path + ".results", "w") as f:
            json.dump(self.results, f)
