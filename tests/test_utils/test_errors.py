from __future__ import annotations

import pytest

from uniadapter.datasets import MediaError
from uniadapter.datasets.readers import require_file
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import (
    TRACEBACK_VARIABLE,
    one_message,
    options_named,
    raised_on_purpose,
)


def unpack() -> None:
    _, _ = (1, 2, 3)  # type: ignore[misc]


def own() -> None:
    raise MediaError("a.mp4", "is empty")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)


def test_a_raise_of_the_package_ends_with_one_message():
    with (
        pytest.raises(SystemExit, match=r"^error: ann_file = 'gone' does not exist"),
        one_message(),
    ):
        require_file("gone", "ann_file")
    with pytest.raises(SystemExit, match=r"^error: a\.mp4: is empty$"), one_message():
        own()


def test_an_error_of_a_worker_is_told_without_its_traceback():
    # As torch's data loader raises it again.
    text = (
        "Caught MediaError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
    )
    text += "last):\n  File ...\nuniadapter.datasets.media.MediaError: a.mp4: is empty\n"
    with pytest.raises(SystemExit, match=r"^error: a\.mp4: is empty$"), one_message():
        raise MediaError(text)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), FileNotFoundError("x")])
def test_other_errors_keep_their_traceback(error: Exception):
    with pytest.raises(type(error)), one_message():
        raise error
    with pytest.raises(ValueError, match="unpack"), one_message():
        unpack()


def test_while_options_are_read_libraries_complain_too():
    with pytest.raises(SystemExit, match="error: .*unpack"), one_message(any_origin=True):
        unpack()
    with pytest.raises(KeyError), one_message(any_origin=True):
        raise KeyError("x")


def test_the_variable_shows_tracebacks(monkeypatch):
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(FileNotFoundError), one_message(any_origin=True):
        load_config("gone.py")


def test_a_bug_inside_the_package_is_not_on_purpose():
    # The error comes from the package, but not from a `raise` of it.
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert not raised_on_purpose(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        require_file("gone", "ann_file")
    assert raised_on_purpose(missing.value)


def test_options_of_parts_without_a_type_are_named():
    class Part:
        def __init__(self, size: int) -> None: ...

    with pytest.raises(ValueError, match=r"Part.__init__.* 'sise'\. Correct"), options_named():
        Part(sise=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError), options_named():
        len(3)  # type: ignore[arg-type]
