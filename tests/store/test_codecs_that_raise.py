"""Whatever a codec raises for a document is StoreCorrupt; what comes from outside while it decodes is not."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import marshal
import pickle
import signal
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from storewriter import AsyncStore, RecoveryRefused, Store, StoreCorrupt, events
from storewriter.codecs import DecodeError, FunctionCodec


class Odd(Exception):
    """No ValueError, and without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raises(error: Exception) -> Callable[[bytes], Any]:
    """A decoder that takes `good` documents, and raises this for others."""

    def decode(data: bytes) -> Any:
        if not data.startswith(b"good"):
            raise error
        return {"text": data.decode()}

    return decode


def written(state: Any) -> bytes:
    return str(state["text"]).encode()


DAMAGE: dict[str, Exception] = {
    "KeyError": KeyError("a"),
    "EOFError": EOFError(),
    "TypeError": TypeError("no"),
    "IndexError": IndexError("no"),
    "AssertionError": AssertionError(),
    "StopIteration": StopIteration(),
    "TimeoutError": TimeoutError("no document"),
    "RuntimeError": RuntimeError("no"),
    "Exception": Exception("no"),
    "ValueError": ValueError("no"),
    "DecodeError": DecodeError("no"),
    "BadGzipFile": gzip.BadGzipFile("no"),
    "PickleError": pickle.UnpicklingError("no"),
    "YAMLError": YAMLError("no"),
    "Odd": Odd(),
}
UNKNOWN: dict[str, Exception] = {
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError("maximum recursion depth exceeded"),
    "ImportError": ModuleNotFoundError("No module named 'theirs'"),
    "OSError": FileNotFoundError(errno.ENOENT, "No such file or directory", "key.pem"),
}
"""They say nothing of the document."""


def put(path: Path, *older: bytes) -> None:
    """A document that is bad, and its backups, the newest first."""
    path.write_bytes(b"bad")
    for number, content in enumerate(older, 1):
        (path.parent / f".{path.name}.backup-{number}").write_bytes(content)


@pytest.mark.parametrize("name", [*DAMAGE, *UNKNOWN])
def test_it_is_store_corrupt_with_the_path_the_cause_and_an_event(path: Path, name: str, run: Any) -> None:
    error = {**DAMAGE, **UNKNOWN}[name]
    put(path)
    codec = FunctionCodec(written, raises(error))
    store: Store[Any] = Store(path, codec=codec)
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)

    async def in_tasks() -> None:
        tasks: AsyncStore[Any] = AsyncStore(path, codec=codec)
        with pytest.raises(StoreCorrupt):
            await tasks.read()
        with pytest.raises(StoreCorrupt):
            await tasks.update(lambda state: None)

    try:
        for attempt in (store.read, lambda: store.update(lambda state: None), store.transaction().__enter__):
            with pytest.raises(StoreCorrupt) as caught:
                attempt()
            assert caught.value.path == str(path)
            assert str(path) in str(caught.value)
            assert caught.value.__cause__ is error
            assert caught.value.may_be_intact is (name in UNKNOWN)
        run(in_tasks)
    finally:
        unsubscribe()
    corrupt = [event for event in seen if isinstance(event, events.CorruptStore)]
    assert len(corrupt) == 5
    assert {event.path for event in corrupt} == {str(path)}
    assert path.read_bytes() == b"bad"


@pytest.mark.parametrize("name", DAMAGE)
def test_good_backups_are_reached_past_bad_ones(path: Path, name: str) -> None:
    put(path, b"bad too", b"good")
    store: Store[Any] = Store(path, codec=FunctionCodec(written, raises(DAMAGE[name])))
    report = store.recover()
    assert report.outcome == "restored"
    assert report.restored_from == f"{path.parent}/.{path.name}.backup-2"
    assert report.rejected == (f"{path.parent}/.{path.name}.backup-1",)
    assert Path(f"{path}.corrupt-1").read_bytes() == b"bad"
    assert store.read() == {"text": "good"}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_says_nothing_of_the_document_costs_no_document(path: Path, name: str) -> None:
    put(path, b"good")
    codec = FunctionCodec(written, raises(UNKNOWN[name]))
    with pytest.raises(RecoveryRefused):
        Store[Any](path, codec=codec).recover()
    with pytest.raises(StoreCorrupt):
        Store[Any](path, codec=codec, on_corrupt="restore").read()
    assert path.read_bytes() == b"bad"


REAL: dict[str, tuple[FunctionCodec[Any], bytes, int | None]] = {
    "json": (FunctionCodec(lambda state: json.dumps(state).encode(), json.loads), b'{"a": 1,\n x}', 2),
    "yaml": (FunctionCodec(lambda state: b"", YAML(typ="safe").load), b"a: 1\nb: [1\n", 3),
    "toml": (FunctionCodec(lambda state: b"", lambda data: tomllib.loads(data.decode())), b"a = ", None),
    "pickle": (FunctionCodec(pickle.dumps, pickle.loads), pickle.dumps({"a": 1})[:-3], None),
    "marshal": (FunctionCodec(marshal.dumps, marshal.loads), marshal.dumps({"a": 1})[:-2], None),
    "gzip": (FunctionCodec(lambda state: b"", lambda data: json.loads(gzip.decompress(data))), b"\x1f\x8b\x08x", None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_codecs(path: Path, name: str) -> None:
    codec, damaged, line = REAL[name]
    path.write_bytes(damaged)
    with pytest.raises(StoreCorrupt) as caught:
        Store[Any](path, codec=codec).read()
    assert caught.value.line == line
    assert "\n" not in caught.value.reason
    assert Store[Any](path, codec=codec).recover().outcome == "reset"


class JobTimeout(Exception):
    """What a time limit raises, in whatever runs."""


@contextmanager
def alarms() -> Iterator[None]:
    def handler(number: int, frame: Any) -> None:
        raise JobTimeout

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def alarmed_once(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The alarm comes while the first document is decoded."""
    left = iter([None])

    def decode_under_an_alarm(data: bytes) -> Any:
        if next(left, 0) is None:
            signal.raise_signal(signal.SIGUSR1)
        return decode(data)

    return decode_under_an_alarm


@pytest.mark.parametrize("document", [b"good", b"bad"])
@pytest.mark.parametrize("how", ["read", "update", "recover"])
def test_the_exception_of_a_signal_handler_is_raised_as_it_is(
    path: Path, document: bytes, how: str, caplog: Any
) -> None:
    path.write_bytes(document)
    codec = FunctionCodec(written, alarmed_once(raises(KeyError("a"))))
    store: Store[Any] = Store(path, codec=codec, on_corrupt="restore")
    caplog.set_level(logging.ERROR, logger="storewriter")
    calls: dict[str, Callable[[], Any]] = {
        "read": store.read,
        "update": lambda: store.update(lambda state: None),
        "recover": store.recover,
    }
    with alarms(), pytest.raises(JobTimeout):
        calls[how]()
    assert path.read_bytes() == document
    assert not caplog.records
    if document == b"good":
        assert store.read() == {"text": "good"}
    else:
        with pytest.raises(StoreCorrupt):
            store.read()


def test_an_alarm_while_the_fault_is_confirmed_is_raised_too(path: Path) -> None:
    path.write_bytes(b"bad")
    calls = iter(range(10))

    def decode(data: bytes) -> Any:
        if next(calls) == 1:
            signal.raise_signal(signal.SIGUSR1)
        raise KeyError("a")

    with alarms(), pytest.raises(JobTimeout):
        Store[Any](path, codec=FunctionCodec(written, decode)).read()


def test_a_second_alarm_while_the_first_is_looked_into_changes_nothing(path: Path) -> None:
    path.write_bytes(b"good")
    first = JobTimeout("first")
    came: Iterator[Exception | None] = iter([first, None, JobTimeout("second")])

    def decode(data: bytes) -> Any:
        error = next(came)
        if error is not None:
            raise error
        return {}

    with pytest.raises(JobTimeout) as caught:
        Store[Any](path, codec=FunctionCodec(written, decode)).read()
    assert caught.value is first


def test_ctrl_c_is_never_a_corrupt_document(path: Path) -> None:
    path.write_bytes(b"bad")

    def decode(data: bytes) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store[Any](path, codec=FunctionCodec(written, decode)).read()


def test_what_a_codec_reads_and_would_not_write_can_be_put_right(path: Path) -> None:
    """The old document cannot be compared with the new one then, which is written all the same."""

    def encode(state: Any) -> bytes:
        if state["n"] < 0:
            raise ValueError("no negative numbers")
        return json.dumps(state).encode()

    path.write_text('{"n": -1}')
    Store(path, codec=FunctionCodec(encode, json.loads)).update(lambda state: state.update(n=1))
    assert json.loads(path.read_text()) == {"n": 1}


def test_a_watch_gives_every_codec_a_moment(path: Path) -> None:
    """A half-written document of any codec is not told, if it is whole a moment later."""
    path.write_bytes(b"good 1")
    decode = raises(YAMLError("half"))
    is_half = threading.Event()

    def decode_and_go_on(data: bytes) -> Any:
        if data == b"half":
            is_half.set()
            path.write_bytes(b"good 2")  # the writer goes on
        return decode(data)

    with Store[Any](path, codec=FunctionCodec(written, decode_and_go_on)).watch() as states:
        assert next(states) == {"text": "good 1"}
        path.write_bytes(b"half")
        assert next(states) == {"text": "good 2"}
    assert is_half.is_set()
