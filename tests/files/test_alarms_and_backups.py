"""An error of a signal handler in the middle of a commit with backups: it comes out, and no backup is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storewriter import Store
from storewriter.testing import Fault, intercepted


class Alarm(Exception):
    """An ordinary error out of a signal handler."""


@pytest.mark.parametrize("error", [Alarm(), TimeoutError("a time limit")])
def test_an_alarm_after_the_rename_costs_no_backup(path: Path, error: Exception) -> None:
    Store(path, backups=2).update(lambda state: state.update(n=1))
    alarm = Fault(error, name="rename", late=True)
    store: Store[Any] = Store(path, backups=2, system=intercepted(alarm))
    with pytest.raises(type(error)):
        store.update(lambda state: state.update(n=2))
    assert store.read() == {"n": 2}
    store.update(lambda state: state.update(n=3))
    kept = [path.with_name(f".{path.name}.backup-{number}").read_bytes() for number in (1, 2)]
    assert [Store(path)._codec.decode(data)["n"] for data in kept] == [2, 1]


@pytest.mark.parametrize("name", ["rename", "link"])
def test_a_time_limit_that_is_an_oserror_is_not_swallowed(path: Path, name: str) -> None:
    for skip in range(12):
        for n in range(3):
            Store(path, backups=2).update(lambda state, n=n: state.update(n=n))
        alarm = Fault(TimeoutError("a time limit"), name=name, skip=skip, late=True)
        try:
            Store(path, backups=2, system=intercepted(alarm)).update(lambda state: state.update(n="last"))
        except TimeoutError:
            continue
        assert alarm.struck is None, alarm.struck
