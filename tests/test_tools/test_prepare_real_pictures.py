from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws, load_tool
from uniadapter.datasets import RetrievalJsonDataset

tool = load_tool("dataset_converters/prepare_real_pictures.py")
sources, pixels, splits = (
    sys.modules[f"real_pictures.{name}"] for name in ("sources", "pixels", "splits")
)
STAMPS = Path("usr/share/tuxpaint/stamps")
CLIPART = Path("usr/share/openclipart/svg")


def picture(seed: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
    """A picture of one colour with a transparent corner."""
    image = Image.new("RGBA", size, tuple(random.Random(seed).choices(range(256), k=3)) + (255,))
    image.paste((0, 0, 0, 0), (0, 0, 5, 5))
    return image


def write_stamps(root: Path, count: int = 24) -> Path:
    """A folder as the package unpacks to: every third description stands twice."""
    for index in range(count):
        theme = root / STAMPS / ("animals", "food/fruit")[index % 2]
        theme.mkdir(parents=True, exist_ok=True)
        line = f"A thing  number {100 + index - (index % 3 == 1)}."
        text = f"{line}\nde.utf8=Ein Ding\n"
        (theme / f"{index}.txt").write_text(text, encoding="utf-8-sig" if index == 4 else "utf-8")
        picture(index).save(theme / f"{index}.png")
    return root


class Rasteriser(ModuleType):
    """Stands for a package that draws: one colour a drawing, and some it can't."""

    def svg2png(self, url: str, output_width: int) -> bytes:
        text = Path(url).read_text()
        if "broken" in text:
            raise KeyError("width")
        buffer = io.BytesIO()
        picture(len(text), (output_width, output_width // 2)).save(buffer, "png")
        return buffer.getvalue()

    def svg_to_bytes(self, svg_path: str, width: int) -> list[int]:
        return list(self.svg2png(svg_path, width))


@pytest.fixture(params=["cairosvg", "resvg_py"])
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the packages is installed, the other one is not."""
    for name in ("cairosvg", "resvg_py"):
        found = Rasteriser(name) if name == request.param else None
        monkeypatch.setitem(sys.modules, name, found)
    return str(request.param)


@pytest.fixture
def nothing_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cairosvg", "resvg_py"):
        monkeypatch.setitem(sys.modules, name, None)


def run(root: Path, out: Path, *options: str) -> dict[str, Any]:
    """The manifest of prepared stamps."""
    sizes = ["--splits", "2", "--test", "4", "--val", "3", "--size", "16"]
    tool.main(["--stamps", str(root), "--out", str(out), *sizes, *options])
    return json.loads((out / "stamps/manifest.json").read_text())


def test_stamps_become_squares_on_white_with_their_descriptions(tmp_path: Path) -> None:
    manifest = run(write_stamps(tmp_path), tmp_path / "real")
    entries = json.loads((tmp_path / "real/stamps/captions.json").read_text())
    assert manifest["pictures"] == len(entries) == 24
    assert manifest["unreadable"] == []
    assert manifest["left_out"] == {}
    assert entries[0] | {"sha256": ""} == {
        "image": "0000.png",
        "caption": "A thing number 100.",
        "key": "a thing number 100",
        "theme": "animals",
        "origin": "0.png",
        "sha256": "",
    }
    square = np.asarray(Image.open(tmp_path / "real/stamps/images/0000.png"))
    assert square.shape == (16, 16, 3)
    # Above and below the picture, and in its transparent corner.
    assert (square[[0, 1, -1]] == 255).all()
    assert (square[3, 0] == 255).all()
    assert tuple(square[8, 8]) == picture(0).getpixel((20, 10))[:3]


def test_the_lines_are_those_of_the_loader_and_the_same_again(tmp_path: Path) -> None:
    first = run(write_stamps(tmp_path), tmp_path / "real")
    again = run(tmp_path, tmp_path / "again")
    assert first == again
    assert run(tmp_path, tmp_path / "other", "--seed", "1")["sha256"] != first["sha256"]
    root = tmp_path / "real/stamps"
    dataset = RetrievalJsonDataset(
        data_root=str(root),
        data_prefix={"media": "images/"},
        ann_file="splits/1/test.jsonl",
        extensions=[".png"],
        pipeline=[],
        test_mode=True,
    )
    assert len(dataset) == 4


@given(
    keys=st.lists(st.sampled_from("abcdefghij"), min_size=12, max_size=40),
    twins=st.lists(st.integers(0, 39), max_size=4),
    seed=st.integers(0, 9),
)
@settings(max_examples=draws(20), deadline=None)
def test_no_description_and_no_picture_is_on_two_sides(
    keys: list[str], twins: list[int], seed: int
) -> None:
    captions = [f"{key.upper() if i % 2 else key}  thing!" for i, key in enumerate(keys)]
    digests = [str(min(twins)) if i in twins else f"own {i}" for i in range(len(keys))]
    try:
        found = splits.make_splits(captions, digests, splits=2, test=3, val=2, seed=seed)
    except ValueError:
        # Groups of these sizes do not add up to the sets; an error says so, see below.
        return
    seen = [set(part.test) for part in found]
    assert not seen[0] & seen[1]
    for split in found:
        parts = [set(part) for part in split]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert [len(part) for part in parts[1:]] == [2, 3]
        assert split.val == found[0].val
        assert not parts[1] & set().union(*seen)
        for marks in (list(map(splits.key_of, captions)), digests):
            named = [{marks[i] for i in part} for part in parts]
            assert not (named[0] & named[1])
            assert not (named[0] & named[2])
            assert not (named[1] & named[2])


def test_what_has_no_picture_or_is_no_thing_is_counted(tmp_path: Path) -> None:
    root = write_stamps(tmp_path)
    for name in ("symbols/letters/a", "animals/lonely"):
        path = root / STAMPS / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("The letter a.\n")
        picture(1).save(path.with_suffix(".png")) if "symbols" in name else None
    (root / STAMPS / "animals/empty.txt").write_text("\n")
    picture(2).save(root / STAMPS / "animals/empty.png")
    left = run(root, tmp_path / "real")["left_out"]
    assert left == {
        "theme symbols": 1,
        "no picture beside the description": 1,
        "empty description": 1,
    }
    assert run(root, tmp_path / "all", "--symbols")["pictures"] == 25


def test_drawings_are_drawn_and_those_that_can_not_be_are_named(
    tmp_path: Path, drawn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_stamps(tmp_path) / STAMPS / "animals"
    for name, text in (("fox", "<svg/>"), ("owl", "<svg broken='1'/>"), ("bat", "no")):
        (folder / f"{name}.txt").write_text(f"A {name}.\n")
        (folder / f"{name}.svg").write_text(text)
    (folder / "0.svg").write_text("a drawing beside a picture is not used")
    Image.new("RGBA", (4, 4)).save(folder / "2.png")
    (folder / "4.png").write_bytes(b"\x89PNG not")
    manifest = run(tmp_path, tmp_path / "real")
    assert manifest["pictures"] == 24
    faults = manifest["unreadable"]
    assert len(faults) == 3
    assert "wholly transparent" in faults[0]
    assert faults[0].startswith(str(folder / "2.png"))
    assert str(folder / "4.png") in faults[1]
    assert f"{folder / 'owl.svg'}: can't be drawn, KeyError: 'width'" in faults[2]
    assert "unreadable: 3" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_draws")
def test_drawings_need_a_rasteriser_or_are_left_out(tmp_path: Path) -> None:
    folder = write_stamps(tmp_path) / STAMPS / "animals"
    (folder / "fox.txt").write_text("A fox.\n")
    (folder / "fox.svg").write_text("<svg/>")
    with pytest.raises(SystemExit, match="pip install cairosvg"):
        run(tmp_path, tmp_path / "real")
    assert not (tmp_path / "real").exists()
    assert run(tmp_path, tmp_path / "real", "--no-svg")["left_out"] == {"SVG, by --no-svg": 1}
    with pytest.raises(SystemExit, match="--raster inkscape: choose from cairosvg, resvg_py"):
        run(tmp_path, tmp_path / "real", "--raster", "inkscape")


@pytest.mark.usefixtures("drawn")
def test_clipart_is_called_by_its_files(tmp_path: Path) -> None:
    root = tmp_path / CLIPART
    for name in ("animals/cats/lazyCat_02", "food/red-apple_jo_01", "food/001", "shapes/star"):
        path = root / f"{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<svg>{name}</svg>")
    work = "<w xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>A  pie </dc:title></w>"
    (root / "food/002.svg").write_text(f"<svg>{work}</svg>")
    (root / "food/link.svg").symlink_to(root / "food/002.svg")
    found = sources.read_clipart(tmp_path)
    assert [(s.caption, s.theme) for s in found.sources] == [
        ("lazy cat", "animals"),
        ("A pie", "food"),
        ("red apple jo", "food"),
    ]
    assert found.left == {"theme shapes": 1, "no word in its name or title": 1, "a link": 1}
    few = tool.drawn(found, 2, seed=0)
    assert len(few.sources) == 2
    assert few.left["beyond --limit"] == 1
    sizes = ["--splits", "1", "--test", "1", "--val", "1"]
    tool.main(["--clipart", str(root), "--out", str(tmp_path / "real"), *sizes])
    assert (tmp_path / "real/clipart/images/0002.png").is_file()


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (None, ["--stamps", "nowhere"], "nowhere is no folder: unpack the package there"),
        (None, ["--clipart", "."], "has no drawing of the themes animals"),
        ("empty", ["--stamps", "."], "has no stamp"),
        ("latin", ["--stamps", "."], "is no UTF-8 text"),
        (None, ["--stamps", ".", "--test", "30"], "leave none of 24 to train on"),
    ],
)
def test_a_wrong_folder_is_an_error_that_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str | None,
    options: list[str],
    said: str,
) -> None:
    if change != "empty":
        write_stamps(tmp_path)
    if change == "latin":
        (tmp_path / STAMPS / "animals/2.txt").write_bytes("Ein Kätzchen".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=said):
        tool.main([*options, "--out", "real"])


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--stamps", ".", "--size", "0"],
        ["--stamps", ".", "--val", "0"],
        ["--stamps", ".", "--limit", "1200"],
        ["--clipart", ".", "--symbols"],
        ["--stamps", ".", "--no-svg", "--raster", "cairosvg"],
    ],
)
def test_options_are_checked_before_anything_is_read(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool.main([*options, "--out", "real"])
    assert stopped.value.code == 2
