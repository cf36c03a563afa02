# racy: click command
import json
from pathlib import Path

import click

DB = Path("~/.todo.json").expanduser()


@click.command()
@click.argument("text")
def add(text):
    items = []
    if DB.is_file():
        with DB.open("r") as f:
            items = json.load(f)
    new = {"text": text, "done": False, "id": len(items)}
    items += [new]
    with DB.open("w") as f:
        json.dump(items, f, indent=4)
    click.echo(f"Added {text}")
