"""Never run: read by mypy and pyright, which must find every type as it stands here."""

from __future__ import annotations

from typing import Any, assert_type

import attrs

from storewriter import (
    AsyncStore,
    Backoff,
    LockTimeout,
    Owner,
    PerStoreWriterQueue,
    Store,
    StoreCorrupt,
    Turn,
    run_exclusive,
)
from storewriter.codecs import Codec, JsonCodec, UpdateCodec
from storewriter.locks import Lease


@attrs.frozen
class Settings:
    volume: int = 5


@attrs.frozen
class SettingsCodec:
    def encode(self, state: Settings) -> bytes:
        return str(state.volume).encode()

    def decode(self, data: bytes) -> Settings:
        return Settings(int(data))


def make_list() -> list[int]:
    return []


def count(state: list[int]) -> int:
    return len(state)


async def count_slowly(state: list[int]) -> int:
    return len(state)


def louder(state: Settings) -> Settings:
    return attrs.evolve(state, volume=state.volume + 1)


def turns() -> None:
    queue = PerStoreWriterQueue("flock", backoff=Backoff(minimum=0.01), timeout=None, max_pending=3, warn_after=None)
    with queue.turn("a", b"b", label="why", timeout=1.0) as turn:
        assert_type(turn, Turn)
        assert_type(turn.paths, tuple[str, ...])
        assert_type(turn.path, str)
    assert_type(queue.pending("a"), int)
    assert_type(queue.owner("a"), Owner | None)


async def async_turns(queue: PerStoreWriterQueue) -> None:
    async with queue.turn("a") as turn:
        assert_type(turn, Turn)
    assert_type(await queue.run_exclusive("a", lambda: 1), int)
    assert_type(await run_exclusive("a", make_list), list[int])


def stores() -> None:
    codec: Codec[Settings] = SettingsCodec()
    settings = Store("settings", default=Settings, codec=codec)
    assert_type(settings, Store[Settings])
    assert_type(settings.read(), Settings)
    assert_type(settings.transform(louder), Settings)
    assert_type(settings.read_versioned(), tuple[Settings, str])
    numbers = Store("numbers", default=make_list)
    assert_type(numbers, Store[list[int]])
    assert_type(numbers.update(count), int)
    assert_type(Store("leased", default=make_list, lock="lease"), Store[list[int]])
    assert_type(AsyncStore("leased", default=make_list, lock=Lease(stale=30.0)), AsyncStore[list[int]])
    with numbers.transaction() as tx:
        assert_type(tx.state, list[int])
        tx.state = [1]
    plain: Store[dict[str, Any]] = Store("plain", codec=JsonCodec(shape=dict, indent=2))
    layouts = [JsonCodec(indent="keep"), JsonCodec(indent=None), JsonCodec(indent=4), JsonCodec(indent="\t")]
    layouts[0].decode(b"{}")
    updating: UpdateCodec[Any] = JsonCodec()
    updating.decode_for_update(b"{}")[1]({})
    assert_type(plain.read(), dict[str, Any])


async def async_stores() -> None:
    numbers = AsyncStore("numbers", default=make_list)
    assert_type(await numbers.read(), list[int])
    assert_type(await numbers.update(count), int)
    assert_type(await numbers.update(count_slowly), int)
    async with numbers.transaction(timeout=None) as tx:
        assert_type(tx.state, list[int])


def facts(timeout: LockTimeout, corrupt: StoreCorrupt) -> None:
    assert_type(timeout.waited, float)
    assert_type(timeout.owner, Owner | None)
    assert_type(corrupt.line, int | None)
