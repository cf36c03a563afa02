# safe: branches
import json


def main(command, path, value):
    if command == "show":
        with open(path) as f:
            data = json.load(f)
        print(data)
    elif command == "write":
        data = {"value": value}
        with open(path, "w") as f:
            json.dump(data, f)
