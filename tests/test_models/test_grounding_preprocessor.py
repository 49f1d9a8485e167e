"""Uneven pictures become one padded batch; boxes are shares of the own picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.roberta import write_lists
from uniadapter.models.grounding_preprocessor import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    GroundingDataPreprocessor,
)
from uniadapter.structures import MultimodalSample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_lists(tmp_path_factory.mktemp("roberta")))


def sample(**facts: Any) -> MultimodalSample:
    base = {"media_path": "a.jpg", "text": "the red star", "tokens_positive": [[4, 12]]}
    return MultimodalSample(metainfo={**base, "box": [2.0, 3.0, 6.0, 5.0], **facts})


def batch(*sizes: tuple[int, int], **facts: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    pictures = [
        torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator)
        for size in sizes
    ]
    return {"inputs": pictures, "data_samples": [sample(**facts) for _ in sizes]}


def test_pictures_stand_in_the_corner_and_padding_is_zero(folder):
    data = batch((10, 8), (5, 20), (10, 20))
    made = GroundingDataPreprocessor(tokenizer={"file": folder})(data, training=True)
    assert made["pixels"].shape == (3, 3, 10, 20)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    for row, picture in enumerate(data["inputs"]):
        height, width = picture.shape[2:]
        expected = (picture[0].float() - mean[:, None, None]) / std[:, None, None]
        torch.testing.assert_close(made["pixels"][row, :, :height, :width], expected)
        assert made["pixel_mask"][row].sum() == height * width
        assert made["pixel_mask"][row, :height, :width].all()
        assert (made["pixels"][row][:, ~made["pixel_mask"][row]] == 0).all()
        # Centre and size, as shares of the picture without its padding.
        wanted = [4 / width, 4 / height, 4 / width, 2 / height]
        torch.testing.assert_close(made["boxes"][row], torch.tensor(wanted))


def test_the_positive_map_is_binary(folder):
    preprocessor = GroundingDataPreprocessor(tokenizer={"file": folder}, map_size=64)
    made = preprocessor(batch((5, 5), tokens_positive=[[0, 3], [8, 12]]), training=True)
    tokens = preprocessor.tokenizer
    first, last = tokens.places("the red star", [[0, 3]]), tokens.places("the red star", [[8, 12]])
    assert made["positive"].dtype == torch.bool
    assert made["positive"].shape == (1, 64)
    assert made["positive"][0].nonzero()[:, 0].tolist() == sorted({*first, *last})
    assert made["input_ids"].shape == made["attention_mask"].shape


def test_tests_have_no_targets_and_may_skip_pictures(folder):
    data = batch((5, 5), (6, 4))
    data["inputs"][0] = None
    made = GroundingDataPreprocessor(tokenizer={"file": folder})(data)
    assert "boxes" not in made
    assert made["pixels"].shape == (1, 3, 6, 4)
    assert len(made["data_samples"]) == 2


def test_what_is_wrong_is_named(folder, tmp_path: Path):
    preprocessor = GroundingDataPreprocessor(tokenizer={"file": folder}, max_text_len=4)
    long = "the red star left of the blue ring"
    with pytest.raises(ValueError, match="max_text_len"):
        preprocessor(batch((5, 5), text=long, tokens_positive=[[25, 34]]), training=True)
    frames = {"inputs": [torch.zeros(2, 3, 4, 4, dtype=torch.uint8)], "data_samples": [sample()]}
    with pytest.raises(ValueError, match="2 frames"):
        preprocessor(frames, training=True)
    with pytest.raises(ValueError, match="tokens stand"):
        GroundingDataPreprocessor(tokenizer={"type": "BertTokenizer"})


def test_what_is_handed_on_arrives(folder):
    made = GroundingDataPreprocessor(tokenizer={"file": folder}, max_text_len=9, non_blocking=True)
    assert made._non_blocking
    assert not made.pad_texts
    assert made.max_text_len == 9
    plain = GroundingDataPreprocessor(tokenizer={"file": folder})
    assert not plain._non_blocking
