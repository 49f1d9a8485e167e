"""Tars and lists that are damaged or odd: every medium is encoded, or named among the faults."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import OTHERS, damaged
from tests.helpers import draws
from tests.malformed import Text, outcome, spoiled
from tests.search_helpers import write_picture
from uniadapter.search.corpus_items import BadTarError, find_units, tar_items

MEDIA = [f"{number}.png" for number in range(4)]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    write_picture(tmp_path_factory.mktemp("one") / "a.png", 1)
    return next(tmp_path_factory.getbasetemp().glob("one*/a.png")).read_bytes()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> bytes:
    """The header of a member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info.tobuf(tarfile.GNU_FORMAT)


def tar_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


@settings(max_examples=draws(40, deep=500))
@given(data=st.data())
def test_damaged(data: st.DataObject, picture: bytes, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.getbasetemp() / f"tars{next(_numbers)}"
    folder.mkdir()
    names = data.draw(st.lists(st.sampled_from([*MEDIA, "a" * 150 + ".png", "b.txt"]), unique=True))
    right = tar_of([(name, picture) for name in [*names, "last.png"]])
    content = data.draw(damaged(right))
    (folder / "some.tar").write_bytes(content)
    found = outcome(lambda: tar_items(str(folder / "some.tar"), "some.tar"), folder, ("some.tar",))
    if found is not None:
        items, faults = found
        size = (folder / "some.tar").stat().st_size
        assert all(item.offset >= 0 and item.offset + item.size <= size for item in items)
        assert len({item.key for item in items}) == len(items)
        # One that is unread is said.
        assert items or faults
    assert [path.name for path in folder.iterdir()] == ["some.tar"]


#: By name: members in front of a right one, and what is said of them; ``!`` of the whole archive.
ODD: dict[str, tuple[bytes, str]] = {
    "a soft link": (member("a.png", tarfile.SYMTYPE, "/etc/passwd"), "a.png: is a link"),
    "a hard link": (member("a.png", tarfile.LNKTYPE, "last.png"), "a.png: is a link"),
    "a device": (member("a.png", tarfile.CHRTYPE), "a.png: is a link, a device or a pipe"),
    "a pipe": (member("a.png", tarfile.FIFOTYPE), "a.png: is a link, a device or a pipe"),
    "a sparse file": (member("a.png", tarfile.GNUTYPE_SPARSE), "a.png: is a sparse file"),
    "a link without a kind": (member("latest", tarfile.SYMTYPE, "last.png"), ""),
    "a folder": (member("a.png", tarfile.DIRTYPE), ""),
    "a way out": (member("../a.png"), "!the member '../a.png' leads out"),
    "from the root": (member("/a.png"), "!the member '/a.png' leads out"),
    "a link on the way out": (member("b/../../a.png", tarfile.SYMTYPE), "!the member 'b/../../a"),
    "the same name": (member("./last.png"), "!has two members 'last.png'"),
    "a size below zero": (member("a.png", size=-1024), "!is no tar, or damaged"),
    "a size beyond all": (member("a.png", size=2**66), "!is "),
    "a long name beyond all": (member("a.png", tarfile.GNUTYPE_LONGNAME, size=2**66), "!is no tar"),
    "facts below zero": (member("a.png", tarfile.XHDTYPE, size=-1024), "!is no tar, or damaged"),
}


def sparse_member(name: str) -> bytes:
    """A file of 5 MiB with one block of content, as GNU tar's ``-S`` writes it."""
    head = tarfile.TarInfo(name)
    head.type, head.size = tarfile.GNUTYPE_SPARSE, 512
    buffer = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    buffer[386:410] = b"%011o\0%011o\0" % (0, 512)
    buffer[483:495] = b"%011o\0" % (5 * 2**20)
    buffer[148:156] = b" " * 8
    buffer[148:156] = b"%06o\0 " % sum(buffer)
    return bytes(buffer) + b"x" * 512


def test_sparse_members_that_are_larger_than_the_archive(picture: bytes, tmp_path: Path):
    whole = tar_of([("last.png", picture)])
    (tmp_path / "some.tar").write_bytes(sparse_member("a.mp4") + sparse_member("notes.txt") + whole)
    items, faults = tar_items(str(tmp_path / "some.tar"), "some.tar")
    assert [item.key for item in items] == ["some.tar/last.png"]
    assert [fault.partition(":")[0] for fault in faults] == ["some.tar/a.mp4"]
    assert "is a sparse file" in faults[0]
    (tmp_path / "cut.tar").write_bytes(sparse_member("a.mp4")[:-1])
    with pytest.raises(BadTarError, match=r"cut\.tar: is no tar, or damaged"):
        tar_items(str(tmp_path / "cut.tar"), "cut.tar")


@pytest.mark.parametrize("name", ODD)
def test_odd_members(name: str, picture: bytes, tmp_path: Path):
    header, said = ODD[name]
    (tmp_path / "some.tar").write_bytes(header + tar_of([("last.png", picture)]))
    if said.startswith("!"):
        with pytest.raises(BadTarError, match=f"some.tar: {said[1:]}"):
            tar_items(str(tmp_path / "some.tar"), "some.tar")
        return
    items, faults = tar_items(str(tmp_path / "some.tar"), "some.tar")
    assert [item.key for item in items] == ["some.tar/last.png"]
    assert len(faults) == bool(said)
    assert all(fault.startswith(f"some.tar/{said}") for fault in faults)


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_other_files(kind: str, tmp_path: Path):
    (tmp_path / "some.tar").write_bytes(OTHERS[kind])
    said = "is compressed by gzip: unpack it" if kind == "gzip" else "is no tar, or damaged"
    with pytest.raises(BadTarError, match=f"some.tar: {said}"):
        tar_items(str(tmp_path / "some.tar"), "some.tar")


@settings(max_examples=draws(20, deep=300))
@given(data=st.data())
def test_lists(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.getbasetemp() / f"lists{next(_numbers)}"
    folder.mkdir()
    right = Text("".join(f"{name}\n" for name in [*MEDIA, "c/d e.mp4", "s3://a/b.png"]))
    content = data.draw(st.one_of(spoiled(right), damaged(right.encode())))
    (folder / "list.txt").write_bytes(content)
    outcome(lambda: find_units([str(folder / "list.txt")], 3), folder)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_of_every_editor(mark: str, end: str, tmp_path: Path):
    names = ["a.png", "b\u2028c.png", "d\x0be.png"]
    (tmp_path / "list.txt").write_bytes((mark + end.join(["", *names, ""])).encode())
    [unit] = find_units([str(tmp_path / "list.txt")], 3)
    assert [item[0] for item in json.loads(unit)["items"]] == names


def test_a_line_that_stands_twice_is_named(tmp_path: Path):
    (tmp_path / "list.txt").write_text("a.png\ns3://b/c.png\ns3://b/c.png\n")
    with pytest.raises(ValueError, match=r"list\.txt: s3://b/c\.png and .* would both be"):
        find_units([str(tmp_path / "list.txt")], 3)


def test_a_zero_byte_is_named(tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(b"a.png\nb\0.png\n")
    with pytest.raises(ValueError, match=r"list\.txt: line 2 holds a zero byte"):
        find_units([str(tmp_path / "list.txt")], 3)
