# safe: own temporary file
import json
import os
import subprocess
import tempfile


def edit(document):
    fd, path = tempfile.mkstemp(suffix=".json")
    with os.fdopen(fd, "w") as f:
        json.dump(document, f)
    subprocess.run([os.environ["EDITOR"], path], check=True)
    with open(path) as f:
        edited = json.load(f)
    with open(path, "w") as f:
        json.dump(edited, f, indent=2)
    return edited
