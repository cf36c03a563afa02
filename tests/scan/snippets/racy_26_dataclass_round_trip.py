# racy: dataclass round trip
import dataclasses
import json
import os


@dataclasses.dataclass
class Profile:
    name: str
    visits: int = 0


def load(path):
    with open(path) as f:
        return Profile(**json.load(f))


def store(profile, path):
    temporary = path + ".new"
    with open(temporary, "w") as f:
        json.dump(dataclasses.asdict(profile), f)
    os.rename(temporary, path)


def visit(path):
    profile = load(path)
    profile.visits += 1
    store(profile, path)
