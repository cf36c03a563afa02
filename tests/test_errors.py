"""Errors: one base, the right neighbours, facts as attributes, and alive after a journey to another process."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

import storewriter
from helpers.children import child
from helpers.lines import held
from storewriter import (
    LockTimeout,
    NotARegularFile,
    Owner,
    PerStoreWriterQueue,
    ReadOnlyStore,
    Store,
    StoreCorrupt,
    StoreWriterError,
    errors,
)

OF_CODECS: dict[type, dict[str, Any]] = {errors.EncodeError: {"path": ("a", 1), "objection": "is a set"}}
for kind in (errors.DecodeError, errors.UnknownVersion, errors.TooDeep):
    OF_CODECS[kind] = {"path": ("a", 1), "line": 3, "may_be_intact": True}
KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, StoreWriterError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_public_documented_and_of_one_family(kind: type[StoreWriterError]) -> None:
    assert getattr(storewriter, kind.__name__) is kind
    assert kind.__name__ in storewriter.__all__
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_every_error_survives_a_journey_with_all_its_facts(kind: type[StoreWriterError], travel: Any) -> None:
    facts = OF_CODECS.get(kind, {"path": "/x/y.json", "owner": Owner(pid=1, host="h"), "line": 3})
    error = kind("what happened", **facts)
    if isinstance(error, OSError):
        error.errno = 21
    error.add_note("a note")
    twin = travel(error)
    assert type(twin) is kind
    assert twin is not error
    assert str(twin) == "what happened"
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert twin.__notes__ == ["a note"]
    if isinstance(error, OSError):
        assert twin.errno == 21  # type: ignore[attr-defined]


def test_the_neighbours_are_right() -> None:
    assert issubclass(errors.LockTimeout, TimeoutError)
    assert issubclass(errors.ReadOnlyStore, PermissionError)
    assert issubclass(errors.DecodeError, ValueError)
    assert issubclass(errors.EncodeError, ValueError)
    assert issubclass(errors.ReturnedAwaitable, TypeError)
    assert issubclass(errors.NotARegularFile, OSError)
    assert not issubclass(errors.LockLost, TimeoutError)
    assert not issubclass(errors.StoreCorrupt, ValueError)


def test_real_errors_travel_too(queue: PerStoreWriterQueue, path: Path) -> None:
    caught: list[BaseException] = []

    def catch(call: Any) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it has to travel
            caught.append(error)

    with held(queue, path, label="busy"):
        catch(lambda: Store(path, queue=queue, timeout=0).update(lambda state: None))
    path.write_bytes(b'{"a":')
    catch(Store(path).read)
    path.write_bytes(b"{}")
    path.chmod(0o400)
    catch(lambda: Store(path).update(lambda state: state.update(a=1)))
    catch(lambda: Store(path.parent).read())
    assert [type(error) for error in caught] == [LockTimeout, StoreCorrupt, ReadOnlyStore, NotARegularFile]
    for error in caught:
        twin = pickle.loads(pickle.dumps(error))
        assert (str(twin), vars(twin)) == (str(error), vars(error))
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)
        assert str(path.parent) in str(twin)


def test_they_arrive_from_another_process(path: Path) -> None:
    code = """
import pickle
try:
    Store(path).read()
except StoreCorrupt as error:
    say(pickle.dumps(error).hex())
"""
    path.write_bytes(b"[1,")
    with child(code, path) as process:
        error = pickle.loads(bytes.fromhex(process.hear()))
        process.finish()
    assert isinstance(error, StoreCorrupt)
    assert (error.path, error.line) == (str(path), 1)


def test_an_owner_is_a_line_for_people() -> None:
    owner = Owner(pid=812, host="host-a", command="python daemon.py", since=0.0, label="nightly")
    text = str(owner)
    for part in ("pid 812", "host-a", "python daemon.py", "nightly", "1970"):
        assert part in text
    assert str(Owner()) == "an unknown process"
    assert owner.held_for(now=-5.0) == 0.0
    assert Owner.from_record(owner.to_record()) == owner
    for junk in (b"", b"[]", b"{", b"null", b'{"pid":-1}', b'{"pid":"1"}', b'{"pid":true}', b"\xff" * 100, b"[" * 5000):
        assert Owner.from_record(junk) is None
