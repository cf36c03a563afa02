"""A server that loses the answer to a rename: whether the document has the name is not known then."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storewriter import CommitUncertain, Store
from storewriter.testing import Call, intercepted


class LosesAnswers:
    """The rename happens, and nothing is answered from then on."""

    def __init__(self) -> None:
        self.is_down = False

    def __call__(self, call: Call, proceed: Callable[[], Any]) -> Any:
        if self.is_down and call.name == "lstat":
            raise OSError(errno.EIO, "no answer")
        result = proceed()
        if call.name == "rename":
            self.is_down = True
            raise OSError(errno.EIO, "no answer")
        return result


def test_a_rename_and_a_look_without_an_answer_are_uncertain(path: Path) -> None:
    path.write_text("{}")
    with pytest.raises(CommitUncertain, match="may be"):
        Store(path, system=intercepted(LosesAnswers())).update(lambda state: state.update(n=1))
    assert Store(path).read() == {"n": 1}
