# racy: script top level
import json
import sys

PATH = sys.argv[1]

with open(PATH) as f:
    inventory = json.load(f)

for item in inventory["items"]:
    item["price"] = round(item["price"] * 1.07, 2)

with open(PATH, "w") as f:
    json.dump(inventory, f)
