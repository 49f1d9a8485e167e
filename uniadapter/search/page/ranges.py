"""Byte ranges and conditions of requests for a file, by RFC 9110 (sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple

_INT_RANGE = re.compile(r"([0-9]+)-([0-9]*)")
_SUFFIX_RANGE = re.compile(r"-([0-9]+)")
#: Of the year 9999.
_LAST_SECOND = 253_402_300_799
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Span(NamedTuple):
    """Bytes of a file from ``first`` to ``last``, which is one of them."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


class Unsatisfiable(Exception):  # noqa: N818 - an answer rather than an error
    """None of the bytes that were asked for is there: status 416."""


class Validators(NamedTuple):
    """What tells one state of a file from another.

    Attributes:
        etag: Strong entity tag, in its quotation marks.
        modified: Seconds since 1970 of the last change.
    """

    etag: str
    modified: float

    @property
    def date(self) -> str:
        """The field ``Last-Modified``."""
        # Disks know years that dates don't.
        return formatdate(min(max(int(self.modified), 0), _LAST_SECOND), usegmt=True)


def asked_span(value: str | None, size: int) -> Span | None:
    """The part of a file that a field ``Range`` asks for.

    Args:
        value: The field; None where there is none.
        size: Bytes of the file.

    Returns:
        The part. None where the whole file is the answer: without the field, where its unit is
        another or it is invalid (both are to be ignored), and for several ranges at once, which
        a server may answer with the whole.

    Raises:
        Unsatisfiable: If the file has none of these bytes.
    """
    if value is None:
        return None
    unit, equals, ranges = value.partition("=")
    # A list may have empty elements, which count for nothing (section 5.6.1.2).
    asked = [part for part in (p.strip(" \t") for p in ranges.split(",")) if part]
    if not equals or unit.strip(" \t").lower() != "bytes" or len(asked) != 1:
        return None
    if match := _SUFFIX_RANGE.fullmatch(asked[0]):
        length = _number(match[1])
        if length == 0:
            raise Unsatisfiable
        return Span(max(size - length, 0), size - 1) if size else None
    match = _INT_RANGE.fullmatch(asked[0])
    if match is None:
        return None
    first = _number(match[1])
    last = _number(match[2]) if match[2] else None
    if last is not None and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return Span(first, size - 1 if last is None else min(last, size - 1))


def _number(digits: str) -> int:
    # Python refuses to read numbers of thousands of digits; no file is as large as 10**18 bytes.
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 19 else 10**18


def range_holds(if_range: str | None, validators: Validators, now: float) -> bool:
    """Whether a field ``If-Range`` lets the field ``Range`` be heeded (section 13.1.5).

    Args:
        if_range: The field; None where there is none.
        validators: Those of the file.
        now: Seconds since 1970; a date tells two states of a file apart only if the second it
            names is over.
    """
    if if_range is None:
        return True
    value = if_range.strip(" \t")
    if value.endswith('"'):
        # Compared strongly: a weak tag never fits.
        return value == validators.etag
    return value == validators.date and now - int(validators.modified) >= 1


def condition_status(headers: Mapping[str, str], validators: Validators) -> int | None:
    """What the conditions of a GET or HEAD ask for (section 13.2.2).

    Args:
        headers: Fields of the request, found whatever the case of their names.
        validators: Those of the file.

    Returns:
        412 (the condition failed), 304 (not modified), or None: the file is the answer.
    """
    if (tags := headers.get("if-match")) is not None:
        if not _named(tags, validators.etag, weak=False):
            return 412
    else:
        since = _seconds(headers.get("if-unmodified-since"))
        if since is not None and int(validators.modified) > since:
            return 412
    if (tags := headers.get("if-none-match")) is not None:
        return 304 if _named(tags, validators.etag, weak=True) else None
    since = _seconds(headers.get("if-modified-since"))
    return 304 if since is not None and int(validators.modified) <= since else None


def _named(tags: str, etag: str, weak: bool) -> bool:
    """Whether a list of entity tags, or ``*``, has this one."""
    if tags.strip(" \t") == "*":
        return True
    return any(m[2] == etag and (weak or not m[1]) for m in _TAG.finditer(tags))


def _seconds(date: str | None) -> float | None:
    """Seconds since 1970 of a date; None of what is none, which is to be ignored."""
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
