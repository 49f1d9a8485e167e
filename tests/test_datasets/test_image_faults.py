"""Pictures that are not plain RGB, and files that are no pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import LoadVideo
from uniadapter.datasets.transforms.pictures import read_image

RAMP = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)


def load(path: Path) -> np.ndarray:
    loader = LoadVideo(1, backend={"type": "image"})
    frames = loader.transform({"media_path": str(path)})["frames"]
    assert frames.dtype == np.uint8
    return frames[0]


def grey(image: np.ndarray) -> np.ndarray:
    assert (image == image[..., :1]).all()
    return image[..., 0]


def test_grey(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(grey(load(tmp_path / "a.png")), RAMP)


def test_16_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(grey(load(tmp_path / "a.png")), RAMP)


def test_cmyk(tmp_path: Path) -> None:
    picture = Image.new("CMYK", (8, 6), (0, 255, 255, 0))
    picture.save(tmp_path / "a.jpg", quality=95)
    red, green, blue = load(tmp_path / "a.jpg")[2, 2].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_palette(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 6), (10, 200, 30))
    picture.quantize(4).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load(tmp_path / "a.png")[0, 0], (10, 200, 30))


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    if mode == "P":
        picture = Image.new("P", (8, 6), 1)
        picture.putpalette([9, 9, 9, 0, 0, 0])
        picture.putpixel((0, 0), 0)
        picture.save(path, transparency=1)
    else:
        clear, solid = ((0, 0), (9, 255)) if mode == "LA" else ((0,) * 4, (9, 9, 9, 255))
        picture = Image.new(mode, (8, 6), clear)
        picture.putpixel((0, 0), solid)
        picture.save(path)
    image = load(path)
    assert image[0, 0].tolist() == [9, 9, 9]
    assert image[3, 3].tolist() == [255] * 3


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 6), (255, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 255))
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=[second], duration=50, **options)
    assert Image.open(path).n_frames == 2
    assert load(path)[2, 2].tolist() == [255, 0, 0]


def test_the_orientation_of_exif_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 6))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert load(tmp_path / "a.jpg").shape == (8, 6, 3)


def test_broken_exif_does_no_harm(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00junk")
    assert load(tmp_path / "a.jpg").shape == (6, 8, 3)


def test_truncated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(MediaError, match=r"a\.jpg: .*truncated") as raised:
        load(path)
    assert raised.value.kind == "truncated"


def test_a_truncated_picture_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path, drawn = tmp_path / "a.jpg", np.random.default_rng(0)
    Image.fromarray(drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, quality=95)
    whole = read_image(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_image(str(path), truncated=True)
    assert np.array_equal(found[:8], whole[:8])
    assert not np.array_equal(found, whole)
    # Pillow's switch is as it was.
    with pytest.raises(MediaError, match="truncated"):
        read_image(str(path))
    path.write_bytes(b"<html>" * 50)
    with pytest.raises(MediaError, match="no picture"):
        read_image(str(path), truncated=True)


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"no picture at all\n" * 9, "undecodable", "is no picture in a known format"),
        (b"", "empty", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "undecodable", "is no picture in a known format"),
    ],
)
def test_no_picture(tmp_path: Path, content: bytes, kind: str, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=rf"a\.jpg: {reason}") as raised:
        read_image(str(path))
    assert raised.value.kind == kind


def test_floating_point_has_no_range(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match="floating point have no known range"):
        load(tmp_path / "a.tif")


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.jpg: does not exist"):
        load(tmp_path / "gone.jpg")
