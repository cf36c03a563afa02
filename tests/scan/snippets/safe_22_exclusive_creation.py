# safe: exclusive creation
import json


def claim(path, owner):
    try:
        with open(path) as f:
            previous = json.load(f)
    except FileNotFoundError:
        previous = None
    with open(path, "x") as f:
        json.dump({"owner": owner, "previous": previous}, f)
