"""Which numbers of a document are read: those that can be written back as the same value."""

from __future__ import annotations

import decimal
import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storewriter.codecs import DecodeError, JsonCodec

CODEC = JsonCodec()
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


def written_back(text: str) -> str:
    return CODEC.encode(CODEC.decode(text.encode())).decode().rstrip("\n")


@pytest.mark.parametrize(
    "text",
    [
        "1e-400",
        "-1e-400",
        "1e-99999999999999999999999",
        "0.12345678901234567890",
        "12345678901234567890.123",
        "9007199254740993.0",
        "9.007199254740993e15",
        "3.0000000000000000000001",
        "0.10000000000000000001",
        "3.141592653589793238462643383279",
        "1.7976931348623159e308",
        "1e99999999999999999999999",
        "2.4703282292062328e-324",
        "0." + "3" * 5000,
    ],
)
@pytest.mark.parametrize("around", ["{}", "[1, {}]", '{{"a": {{"b": {}}}}}'])
def test_a_number_that_could_not_be_written_back_is_refused_with_its_place(text: str, around: str) -> None:
    document = around.format(text)
    with pytest.raises(DecodeError, match="the number") as caught:
        CODEC.decode(document.encode())
    assert caught.value.position == document.index(text)
    assert caught.value.line == 1
    assert len(caught.value.reason) < 200


@pytest.mark.parametrize(
    "text",
    ["0.1", "1.50", "1.0e2", "1E5", "100e-2", "0.0", "-0.0", "0e5", "0.000e-9999", "1e22", "1e23", "5e-324", "0.30"],
)
def test_a_number_in_another_spelling_keeps_its_value(text: str) -> None:
    assert Decimal(written_back(text)) == Decimal(text)


@given(value=DOUBLES)
@example(value=5e-324)
@example(value=2.0**-44)
@example(value=9007199254740992.0)
@example(value=0.1)
def test_every_spelling_of_a_double_that_programs_use_is_read_as_it(value: float) -> None:
    for text in (repr(value), f"{value:.17g}", f"{value:.16e}", format(Decimal(value), "f"), json.dumps(value)):
        assert CODEC.decode(f"[{text}]".encode()) == [value]


@given(
    sign=st.sampled_from(["", "-"]),
    digits=st.integers(0, 10**21).map(str),
    point=st.integers(1, 22),
    exponent=st.integers(-330, 310),
)
def test_whatever_is_read_was_the_value_of_the_text_or_a_spelling_of_the_double(
    sign: str, digits: str, point: int, exponent: int
) -> None:
    text = f"{sign}{digits[:point]}.{digits[point:] or '0'}e{exponent}"
    if digits[0] == "0":
        text = f"{sign}0.{digits[1:] or '0'}e{exponent}"
    try:
        value = CODEC.decode(text.encode())
    except DecodeError as error:
        assert "the number" in error.reason
        assert Decimal(repr(float(text))) != Decimal(text)  # nothing that could be written back is refused
        return
    assert Decimal(text) in (Decimal(repr(value)), Decimal(f"{value:.16e}"), Decimal(value))


def test_fifteen_digits_always_come_back() -> None:
    for text in ("123456789.012345", "0.123456789012345", "999999999999999.0", "1.00000000000001"):
        assert Decimal(written_back(text)) == Decimal(text)


def test_the_callers_decimal_context_changes_nothing() -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.FloatOperation] = True
        context.traps[decimal.Inexact] = True
        assert CODEC.decode(b"[1.2345678e2]") == [123.45678]
        with pytest.raises(DecodeError):
            CODEC.decode(b"[0.10000000000000000001]")
