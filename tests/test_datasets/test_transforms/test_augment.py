"""RandAugment: one draw a sample, the same change to every frame."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from uniadapter.datasets.transforms import CleanQuestion, VideoRandAugment
from uniadapter.datasets.transforms.augment import OPERATIONS
from uniadapter.datasets.transforms.text import clean_question


def noise(frames: int = 1) -> np.ndarray:
    rng = np.random.default_rng(3)
    picture = rng.integers(40, 200, (1, 20, 24, 3), dtype=np.uint8)
    return np.repeat(picture, frames, axis=0)


def apply(name: str, frames: np.ndarray, magnitude: float, seed: int = 0) -> np.ndarray:
    random.seed(seed)
    augment = VideoRandAugment(num_ops=1, magnitude=magnitude, prob=1, ops=[name])
    return augment.transform({"frames": frames})["frames"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_frame_changes_alike_and_keeps_its_shape(name: str) -> None:
    frames = noise(3)
    found = apply(name, frames, 9)
    assert (found.shape, found.dtype) == (frames.shape, np.uint8)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    # Pillow equalizes in whole steps, which the number of pixels decides.
    if name != "Equalize":
        np.testing.assert_array_equal(found[:1], apply(name, frames[:1], 9))
    assert (name == "Identity") == np.array_equal(found, frames)
    np.testing.assert_array_equal(frames, noise(3))


@pytest.mark.parametrize("name", ["Identity", "Brightness", "Sharpness"])
def test_the_middle_of_the_scale_changes_nothing(name: str) -> None:
    np.testing.assert_array_equal(apply(name, noise(2), 5), noise(2))


def test_translation_moves_whole_pixels_and_fills_with_grey() -> None:
    frames = noise()
    found = {tuple(apply("TranslateX", frames, 5, seed)[0, 0, 0]) for seed in range(8)}
    assert (128, 128, 128) in found
    assert tuple(frames[0, 0, 5]) in found
    assert len(found) == 2


def test_geometry_goes_both_ways() -> None:
    for name in ("ShearX", "ShearY", "TranslateY", "Rotate"):
        assert len({apply(name, noise(), 5, seed).tobytes() for seed in range(8)}) == 2


def test_values_are_stretched_over_all_frames_together() -> None:
    frames = np.concatenate(
        [np.full((1, 8, 8, 3), 50, np.uint8), np.full((1, 8, 8, 3), 150, np.uint8)]
    )
    found = apply("AutoContrast", frames, 5)
    assert (found[0] == 0).all()
    assert (found[1] == 255).all()
    picture = Image.fromarray(noise()[0])
    expected = np.asarray(ImageOps.equalize(picture))
    np.testing.assert_array_equal(apply("Equalize", noise(), 5)[0], expected)


def test_draws_follow_the_global_generator() -> None:
    augment = VideoRandAugment(magnitude=8)
    results = []
    for seed in (1, 1, 2, 3, 4, 5):
        random.seed(seed)
        results.append(augment.transform({"frames": noise()})["frames"].tobytes())
    assert results[0] == results[1]
    assert len(set(results)) > 2


def test_no_operation() -> None:
    for options in ({"num_ops": 0}, {"prob": 0}):
        found = VideoRandAugment(**options).transform({"frames": noise()})["frames"]
        np.testing.assert_array_equal(found, noise())
    assert "num_ops=2, magnitude=5" in repr(VideoRandAugment())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ops": ["Invert"]}, "ops must be some of"),
        ({"ops": []}, "ops must be some of"),
        ({"num_ops": -1}, "num_ops must be at least 0"),
        ({"magnitude": 11}, r"magnitude must be in \[0, 10\]"),
        ({"prob": 1.5}, r"prob must be in \[0, 1\]"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoRandAugment(**options)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ('What\'s  this (thing)? "it"', "what's this thing? it"),
        ("How many?", "how many?"),
        ("one two three four", "one two three"),
        ("U.S.A. flag", "usa flag"),
        ("...", "..."),
    ],
)
def test_questions_are_cleaned(raw: str, clean: str) -> None:
    assert clean_question(raw, 3 if raw.startswith("one") else 30) == clean
    if not raw.startswith("one"):
        assert CleanQuestion().transform({"text": raw})["text"] == clean


def test_no_room_for_a_word() -> None:
    with pytest.raises(ValueError, match="max_words must be at least 1"):
        CleanQuestion(max_words=0)
    assert repr(CleanQuestion(4)) == "CleanQuestion(max_words=4, style='blip')"
