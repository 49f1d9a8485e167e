"""Byte ranges and conditions, against RFC 9110 spelled out."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.search.page.ranges import (
    Span,
    Unsatisfiable,
    Validators,
    asked_span,
    condition_status,
    range_holds,
)

NOW = 1_700_000_000.0
FILE = Validators('"abc"', NOW - 100.25)


def sent(value: str | None, size: int) -> bytes | None:
    """The bytes of a file that are sent; None where there is none of them."""
    content = bytes(n % 251 for n in range(size))
    try:
        span = asked_span(value, size)
    except Unsatisfiable:
        return None
    return content if span is None else content[span.first : span.last + 1]


@settings(max_examples=draws(60))
@given(
    st.integers(0, 40),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(0, 60)),
    st.sampled_from(["bytes", "Bytes", "BYTES"]),
    st.sampled_from(["", " ", "\t", ",", ", ,"]),
)
def test_one_range(size: int, first: int | None, last: int | None, unit: str, pad: str) -> None:
    text = f"{unit}={pad}{'' if first is None else first}-{'' if last is None else last}{pad}"
    content = bytes(n % 251 for n in range(size))
    wanted: bytes | None
    if first is None and last is None:
        wanted = content
    elif first is None:
        # An empty file has no part; without the field Content-Range there is the whole of it.
        wanted = content[-last:] if last else None
    elif last is not None and last < first:
        wanted = content
    else:
        wanted = content[first:] if last is None else content[first : last + 1]
        wanted = wanted or None
    assert sent(text, size) == wanted


@settings(max_examples=draws(60))
@given(st.text(alphabet="bytes=0123456789-, \tB٣²x", max_size=24), st.integers(0, 2**40))
def test_any_text_is_a_part_of_the_file_or_ignored(value: str, size: int) -> None:
    try:
        span = asked_span(value, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.first <= span.last < size


@pytest.mark.parametrize(
    "value",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,5-6", "items=0-1", "bytes=5-2"]
    + ["bytes=+1-2", "bytes=1-2-3", "bytes= 1 - 2", "bytes=--1", "bytes=٣-", "0-1"],
)
def test_what_is_ignored(value: str | None) -> None:
    assert asked_span(value, 10) is None


def test_numbers_of_any_length() -> None:
    long = "9" * 5000
    assert asked_span(f"bytes=2-{long}", 10) == Span(2, 9)
    assert asked_span(f"bytes=-{long}", 10) == Span(0, 9)
    assert asked_span(f"bytes={'0' * 5000}2-3", 10) == Span(2, 3)
    with pytest.raises(Unsatisfiable):
        asked_span(f"bytes={long}-", 10)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        *((None, True), ('"abc"', True), (' "abc" ', True), ('W/"abc"', False), ('"ab"', False)),
        *((FILE.date, True), (formatdate(NOW, usegmt=True), False), ("yesterday", False)),
    ],
)
def test_if_range(value: str | None, holds: bool) -> None:
    assert range_holds(value, FILE, NOW) is holds


def test_a_date_of_this_second_is_no_validator() -> None:
    new = Validators('"abc"', NOW + 0.5)
    assert not range_holds(new.date, new, NOW + 0.75)
    assert range_holds(new.date, new, NOW + 1.0)


EARLIER, LATER = (formatdate(NOW - 100 + step, usegmt=True) for step in (-60, 60))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"if-match": '"abc"'}, None),
        ({"if-match": "*"}, None),
        ({"if-match": '"x", "abc"'}, None),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-match": '"x"', "if-none-match": '"abc"'}, 412),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-unmodified-since": LATER}, None),
        ({"if-unmodified-since": EARLIER, "if-match": '"abc"'}, None),
        ({"if-none-match": '"abc"'}, 304),
        ({"if-none-match": 'W/"abc"'}, 304),
        ({"if-none-match": '"x", W/"abc"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"', "if-modified-since": LATER}, None),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": FILE.date}, 304),
        ({"if-modified-since": EARLIER}, None),
        ({"if-modified-since": "never"}, None),
        ({"if-modified-since": "Mon, 99 Foo 99999 00:00:00 GMT"}, None),
    ],
)
def test_conditions(headers: dict[str, str], status: int | None) -> None:
    assert condition_status(headers, FILE) == status


def test_dates_are_those_of_http() -> None:
    assert time.strptime(FILE.date, "%a, %d %b %Y %H:%M:%S GMT")
