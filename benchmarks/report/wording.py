"""Numbers as people read them, and who is who."""

from collections.abc import Mapping
from typing import Any

from storewriter.cli.bench.strategies import PREFIX

OURS = f"{PREFIX}flock"
"""The default strategy."""

FORMER = "former"
"""A former version of storewriter, where one was measured in the same rounds."""

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def duration(seconds: float) -> str:
    """Such as `1.2 s`, `34 ms`, `5.6 µs`."""
    for unit, name in UNITS:
        if abs(seconds) >= 0.9995 * unit:
            return f"{three_digits(seconds / unit)} {name}"
    return f"{three_digits(seconds * 1e6)} µs"


def three_digits(value: float) -> str:
    """Such as `1,234`, `123`, `12.3`, `1.23`: as many digits as a benchmark can be trusted with."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0").rstrip(".") if size >= 0.095 else f"{value:.2g}"


def ratio(value: float) -> str:
    return f"{three_digits(value)}x"


def count(value: float) -> str:
    return f"{value:,.0f}"


def size(number: float) -> str:
    """Bytes, such as `546 B` or `2.9 KiB`."""
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if abs(number) >= unit:
            return f"{three_digits(number / unit)} {name}"
    return f"{number:.0f} B"


def rounds(settings: Mapping[str, Any]) -> str:
    """Such as `3 interleaved rounds (5 for the ratios of promises)`."""
    number, paired = settings["rounds"], settings.get("paired", 0)
    more = f" ({paired} for the ratios of promises)" if paired > number else ""
    return (
        f"{number} interleaved round{'s' if number > 1 else ''}{more}{' of a quick run' if settings['quick'] else ''}"
    )


def kind(contender: str) -> str:
    """Who is who: `ours`, a `limit` that gives up guarantees, or a `peer`."""
    if contender.startswith(PREFIX):
        return "ours"
    if contender.startswith("bare-") or contender == "flock-batched":
        return "limit"
    return "peer"
