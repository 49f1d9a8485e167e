"""Finding media under the names of an annotation file."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.test_datasets.conftest import write_video
from uniadapter.datasets import MediaError
from uniadapter.datasets.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, MediaFolder
from uniadapter.datasets.transforms import open_media

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def put(root: Path, *names: str) -> MediaFolder:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return MediaFolder(str(root), (".mp4", ".mov"))


@pytest.mark.parametrize("extension", VIDEO_EXTENSIONS + IMAGE_EXTENSIONS)
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_every_extension_is_found(tmp_path: Path, extension: str, change) -> None:
    name = "a" + change(extension)
    put(tmp_path, name)
    folder = MediaFolder(str(tmp_path), VIDEO_EXTENSIONS + IMAGE_EXTENSIONS)
    for wanted in ("a", "a" + extension, "a.MOV", "a.jpg"):
        assert folder.resolve(wanted) == str(tmp_path / name)


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        # As it stands before with an extension, that before with another one.
        (["a", "a.mp4"], "a", "a"),
        (["a.mov", "a.mp4"], "a", "a.mp4"),
        (["a.mov", "a.mp4"], "a.avi", "a.mp4"),
        (["a.MOV", "a.mp4"], "a.mov", "a.MOV"),
        (["a", "a.mp4"], "a.mov", "a.mp4"),
        # Exact names before such as are alike.
        (["a.MP4", "a.mov"], "a", "a.mov"),
        (["a.MOV", "a.mov"], "a", "a.mov"),
        (["a.MOV", "a.MP4"], "a", "a.MP4"),
        # Without an extension.
        (["a"], "a.mp4", "a"),
        (["a.v2"], "a.v2", "a.v2"),
        (["a.v2.MP4"], "a.v2", "a.v2.MP4"),
        # One form of a letter or the other, its own before the other one.
        ([f"{COMPOSED}.mp4"], f"{DECOMPOSED}.mp4", f"{COMPOSED}.mp4"),
        ([f"{DECOMPOSED}.MP4"], COMPOSED, f"{DECOMPOSED}.MP4"),
        ([f"{COMPOSED}.mp4", f"{DECOMPOSED}.mp4"], DECOMPOSED, f"{DECOMPOSED}.mp4"),
        ([f"{COMPOSED}.MP4", f"{DECOMPOSED}.MP4"], COMPOSED, f"{COMPOSED}.MP4"),
        ([DECOMPOSED], f"{COMPOSED}.mp4", DECOMPOSED),
        # In folders of other folders.
        (["x/a.MP4"], "x/a", "x/a.MP4"),
        ([f"{DECOMPOSED}/y/a.mp4"], f"{COMPOSED}/y/a", f"{DECOMPOSED}/y/a.mp4"),
        (["x/1.jpg"], "x/", "x"),
    ],
)
def test_order(tmp_path: Path, there: list[str], wanted: str, found: str) -> None:
    assert put(tmp_path, *there).resolve(wanted) == str(tmp_path / found)


def test_an_absolute_name(tmp_path: Path) -> None:
    folder = put(tmp_path / "other", "a.MP4")
    put(tmp_path / "root", "b.mp4")
    folder = MediaFolder(str(tmp_path / "root"), (".mp4",))
    assert folder.resolve(str(tmp_path / "other" / "a")) == str(tmp_path / "other" / "a.MP4")
    assert folder.resolve("../other/a.mp4") == str(tmp_path / "root" / "../other/a.MP4")
    assert folder.resolve("/no/such/a.mp4") == "/no/such/a.mp4"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (["a.MOV", "a.Mov"], "a.mov"),
        (["a.MOV", "a.Mov"], "a"),
        # Neither has the form that was asked for, which has one letter of either.
        ([f"{COMPOSED * 2}.mp4", f"{DECOMPOSED * 2}.mp4"], f"{COMPOSED}{DECOMPOSED}.mp4"),
    ],
)
def test_two_that_fit_alike_are_an_error(tmp_path: Path, there: list[str], wanted: str) -> None:
    with pytest.raises(ValueError, match="could be .* or .*: remove or rename one") as error:
        put(tmp_path, *there).resolve(wanted)
    for name in there:
        assert ascii(name) in str(error.value)


@pytest.mark.parametrize(
    ("there", "wanted", "near"),
    [
        (["Video0.mp4"], "video0.mp4", "'Video0.mp4'"),
        (["video0 .MP4"], "video0", "'video0 .MP4'"),
        (["video0.divx"], "video0.mp4", "'video0.divx'"),
        (["\uff561.mp4"], "v1.mp4", "'\uff561.mp4'"),
    ],
)
def test_the_near_match_is_named(tmp_path: Path, there: list[str], wanted: str, near: str) -> None:
    path = put(tmp_path, *there).resolve(wanted)
    for backend in ("auto", "decord", "av", "image", "frames"):
        with pytest.raises(MediaError, match="does not exist, but") as error:
            open_media(path, backend)
        assert error.value.kind == "missing"
        assert near in error.value.reason
        assert "rename it" in error.value.reason


def test_what_is_missing_altogether(tmp_path: Path) -> None:
    folder = put(tmp_path, "b.mp4")
    with pytest.raises(MediaError, match=r"a\.mp4: does not exist$"):
        open_media(folder.resolve("a"))
    with pytest.raises(MediaError, match=r"nor does its folder .*x$"):
        open_media(folder.resolve("x/a"))
    (tmp_path / "c.mp4").symlink_to("gone.mp4")
    with pytest.raises(MediaError, match=r"is a link to gone\.mp4, which does not exist"):
        open_media(str(tmp_path / "c.mp4"))
    # The folder is looked at again when it has changed.
    stamp = os.stat(tmp_path).st_mtime_ns
    put(tmp_path, "A.mp4")
    os.utime(tmp_path, ns=(stamp + 1, stamp + 1))
    with pytest.raises(MediaError, match=r"but 'A\.mp4'"):
        open_media(folder.resolve("a"))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_against_looking_at_every_file(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    stems = st.sampled_from([COMPOSED, DECOMPOSED, "a", "A"])
    kinds = st.sampled_from(["", ".mp4", ".MP4", ".Mp4", ".mov", ".MOV", ".x"])
    there = data.draw(st.sets(st.tuples(stems, kinds).map("".join), min_size=1, max_size=6))
    wanted = "".join(data.draw(st.tuples(stems, kinds)))
    root = tmp_path_factory.mktemp("media")
    folder = put(root, *there)
    stem, kind = os.path.splitext(wanted)
    steps = [[wanted], [wanted + ".mp4", wanted + ".mov"]]
    if kind.lower() in (".mp4", ".mov"):
        steps += [[stem + ".mp4", stem + ".mov"], [stem]]

    def case(name: str) -> tuple[str, str]:
        return os.path.splitext(name)[0], os.path.splitext(name)[1].lower()

    def form(name: str) -> tuple[str, str]:
        return unicodedata.normalize("NFC", case(name)[0]), case(name)[1]

    expected: set[str] = set()
    for step in steps:
        exact = [name for name in step if name in there]
        alike = [
            {o for o in there if case(o) == case(name)}
            or {o for o in there if form(o) == form(name)}
            for name in step
        ]
        expected = {exact[0]} if exact else next((found for found in alike if found), set())
        if expected:
            break
    if len(expected) > 1:
        with pytest.raises(ValueError, match="could be"):
            folder.resolve(wanted)
        return
    fallback = wanted if kind.lower() in (".mp4", ".mov") else wanted + ".mp4"
    assert folder.resolve(wanted) == str(root / (expected.pop() if expected else fallback))


def test_many_names_cost_one_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"video{i}.MP4" for i in range(2000)]
    listed: list[str] = []
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(str(path)) or names)
    # Of this process: others may be busy.
    start = time.process_time()
    folder = MediaFolder(str(tmp_path), VIDEO_EXTENSIONS)
    for i in range(2000):
        assert folder.resolve(f"video{i}") == str(tmp_path / names[i])
    assert listed == [str(tmp_path)]
    assert time.process_time() - start < 5


def test_files_without_an_extension_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    Image.new("RGB", (20, 30), "red").save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a")
    assert open_media(str(tmp_path / "a")).get_frames([0]).shape == (1, 30, 20, 3)
    write_video(tmp_path / "b.mp4", num_frames=5).rename(tmp_path / "b")
    assert len(open_media(str(tmp_path / "b"))) == 5
    (tmp_path / "c").write_text("neither")
    with pytest.raises(MediaError):
        open_media(str(tmp_path / "c"))
