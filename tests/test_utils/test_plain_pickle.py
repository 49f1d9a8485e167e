from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.utils.plain_pickle import read_plain_pickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.sets(st.text(max_size=5) | st.integers(), max_size=4)
        | st.frozensets(st.binary(max_size=5), max_size=4)
    ),
    max_leaves=20,
)


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@settings(max_examples=draws(15), deadline=None)
@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_as_they_are(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(path) == value


def python2(words: list[bytes]) -> bytes:
    """What Python 2 wrote of a list of its strings, by protocol 2."""
    strings = b"".join(b"U" + bytes([len(word)]) + word for word in words)
    return b"\x80\x02](" + strings + b"e."


def test_strings_of_python_2_are_bytes(tmp_path):
    path = tmp_path / "old.pkl"
    words = [b"a", "caf\u00e9".encode()]
    path.write_bytes(python2(words))
    assert read_plain_pickle(path) == words


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(protocol, tmp_path):
    path, mark = tmp_path / "harm.pkl", tmp_path / "mark"
    for value in (Harm(mark), {"a": [["b", Harm(mark)]]}, [collections.OrderedDict(a=1)], [len]):
        path.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(ValueError, match=r"harm\.pkl: .*where it was published"):
            read_plain_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch mark'\ntR.",
        b"(S'touch mark'\nios\nsystem\n.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"c__builtin__\nset\n(S'ab'\ntb.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"p999999999\n.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02](U\x05ab",
        b"",
        b"PK\x03\x04 zip",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.",
    ],
)
def test_harmful_and_broken_files(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"f\.pkl: "):
        read_plain_pickle(path)
    assert [p.name for p in tmp_path.iterdir()] == ["f.pkl"]


def test_containers_without_end(tmp_path):
    path, value = tmp_path / "bomb.pkl", ["x"]
    for _ in range(80):
        value = [value, value]
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 4).dump(value)
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 2000
    with pytest.raises(ValueError, match="without end"):
        read_plain_pickle(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_plain_pickle(tmp_path / "none.pkl")
