"""A process that updates one store for ever and says which update was acknowledged last."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from storewriter import Store


def count(state: dict[str, Any]) -> int:
    number = int(state.get("n", 0)) + 1
    # Of changing length, and different in every block, so that no mixture of two documents passes for a third.
    state.update(n=number, text=f"{number} " * (500 + 300 * (number % 7)))
    return number


def main() -> None:
    store = Store[Any](sys.argv[1], **json.loads(sys.argv[2]))
    while True:
        os.write(1, b"%d\n" % store.update(count))


if __name__ == "__main__":
    main()
