"""What can be seen from outside: names, signatures, options, values."""

from __future__ import annotations

import inspect
import math
import pickle
import subprocess
import sys
from typing import Any

import attrs
import pytest

import persistent_dedupe
from persistent_dedupe import AsyncPersistentDedupe, CheckResult, ClaimReleased, DedupeOptions, PersistentDedupe

MEMBERS = [name for name in dir(PersistentDedupe) if not name.startswith("_")]


@pytest.mark.parametrize("name", MEMBERS)
def test_the_two_faces_have_the_same_members_with_the_same_signatures(name: str) -> None:
    plain, awaited = getattr(PersistentDedupe, name), getattr(AsyncPersistentDedupe, name)
    if not callable(plain):
        assert type(plain) is type(awaited)
        return
    plain_parameters = list(inspect.signature(plain).parameters.values())
    assert plain_parameters == list(inspect.signature(awaited).parameters.values())
    assert plain.__doc__
    assert awaited.__doc__


def test_the_async_face_adds_nothing() -> None:
    assert [name for name in dir(AsyncPersistentDedupe) if not name.startswith("_")] == MEMBERS


@pytest.mark.parametrize("name", persistent_dedupe.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    assert getattr(persistent_dedupe, name).__doc__


def test_importing_the_package_loads_neither_the_command_line_nor_trio_and_starts_no_thread() -> None:
    code = (
        "import sys, threading, persistent_dedupe;"
        "print([name for name in ('click', 'rich', 'trio') if name in sys.modules], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("ttl", True, "finite number"),
        ("ttl", "60", "finite number"),
        ("future_tolerance", -1, "'future_tolerance' must be >= 0: -1"),
        ("future_tolerance", math.nan, "finite number"),
        ("claim_limit", 0, "'claim_limit' must be > 0: 0"),
        ("claim_limit", math.inf, "finite number"),
        ("timeout", -1, "'timeout' must be >= 0: -1"),
        ("failure", "ajar", "failure"),
        ("bad_file", "delete", "bad_file"),
        ("blank_key", "skip", "blank_key"),
        ("durability", "none", "durability"),
    ],
)
def test_an_option_out_of_range_is_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DedupeOptions(**{"ttl": 60, option: value})


@pytest.mark.parametrize(
    ("given", "ttl", "memory", "file"),
    [
        ({"ttl": 1.5}, 1500, 1_000, 10_000),
        ({"ttl": 0.0019, "memory_max_size": 2.9, "file_max_entries": 3.9}, 1, 2, 3),
        ({"ttl": -5, "memory_max_size": -1, "file_max_entries": -1}, 0, 0, 1),
        ({"ttl": 0, "memory_max_size": 0, "file_max_entries": 0}, 0, 0, 1),
    ],
)
def test_numbers_are_rounded_down_to_what_they_can_mean(
    given: dict[str, float], ttl: int, memory: int, file: int
) -> None:
    options = DedupeOptions(**given)  # type: ignore[arg-type]
    assert (options.window.ttl_ms, options.memory_limit, options.file_limit) == (ttl, memory, file)


def test_what_happens_to_a_bad_file_follows_from_how_checks_fail() -> None:
    assert DedupeOptions(ttl=1).on_bad_file == "start-empty"
    assert DedupeOptions(ttl=1, failure="closed").on_bad_file == "leave"
    assert DedupeOptions(ttl=1, failure="closed", bad_file="raise").on_bad_file == "raise"


def test_options_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DedupeOptions(ttl=1).ttl = 2  # type: ignore[misc]


def test_a_result_is_true_if_the_key_is_new() -> None:
    assert CheckResult(is_new=True, recorded=False)
    assert not CheckResult(is_new=False, recorded=False)


def test_a_released_claim_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ClaimReleased("it is over", namespace="n", key="k")))
    assert (str(error), error.namespace, error.key) == ("it is over", "n", "k")


def test_an_object_says_where_it_keeps_its_keys() -> None:
    assert repr(PersistentDedupe("store", DedupeOptions(ttl=1))) == "PersistentDedupe('store')"
    assert repr(AsyncPersistentDedupe(None, DedupeOptions(ttl=1))) == "AsyncPersistentDedupe(None)"
