# racy: flask route
import json
import os

from flask import Flask, jsonify, request

app = Flask(__name__)
DATA_DIR = os.environ.get("DATA_DIR", "/var/lib/app")


def _read(name):
    return json.load(open(os.path.join(DATA_DIR, name)))


def _write(name, value):
    with open(os.path.join(DATA_DIR, name), "w") as f:
        f.write(json.dumps(value))


@app.post("/devices")
def create():
    devices = _read("devices.json")
    devices.append(request.get_json())
    _write("devices.json", devices)
    return jsonify(len(devices))
