# racy: lock around the save only
import json

from filelock import FileLock


def vote(path, choice):
    with open(path) as f:
        votes = json.load(f)
    votes[choice] = votes.get(choice, 0) + 1
    with FileLock(path + ".lock"):
        with open(path, "w") as f:
            json.dump(votes, f)
