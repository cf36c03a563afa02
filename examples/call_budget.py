"""A store of your own: how many calls each API key may still make today, shared by every process that makes some.

Run it as `python call_budget.py STORE KEY`: it exits with 0 and takes one call, or with 1 if none is left.
"""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

from storewriter import Store


class CallBudget:
    def __init__(self, path: str, per_day: int = 100) -> None:
        self._store = Store(path)  # a JSON object; {} as long as there is no file
        self._per_day = per_day

    def take(self, key: str, day: str) -> bool:
        def take_one(calls: dict[str, Any]) -> bool:  # may run again: it does nothing except change the state
            made: int = calls.setdefault(day, {}).get(key, 0)
            if made < self._per_day:
                calls[day][key] = made + 1
            return made < self._per_day

        return self._store.update(take_one, label=f"a call of {key}")


if __name__ == "__main__":
    sys.exit(0 if CallBudget(sys.argv[1]).take(sys.argv[2], date.today().isoformat()) else 1)
