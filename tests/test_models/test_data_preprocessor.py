from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from uniadapter.models.data_preprocessor import (
    BLIP_MEAN,
    BLIP_STD,
    MultimodalDataPreprocessor,
)
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample


def frames(value: int, count: int = 2, size: int = 4) -> torch.Tensor:
    return torch.full((count, 3, size, size), value, dtype=torch.uint8)


def sample(media_id: int, **facts: Any) -> MultimodalSample:
    return MultimodalSample(metainfo={"media_id": media_id, "media_path": f"{media_id}", **facts})


@pytest.fixture(scope="module")
def preprocessor() -> MultimodalDataPreprocessor:
    return MODELS.build({"type": "MultimodalDataPreprocessor"})


def test_training_batch(preprocessor: MultimodalDataPreprocessor) -> None:
    samples = [sample(4, text="a dog"), sample(2, text="a dog runs fast")]
    batch = preprocessor({"inputs": [frames(0), frames(255)], "data_samples": samples}, True)
    assert set(batch) == {"pixels", "input_ids", "attention_mask", "media_ids", "data_samples"}
    assert batch["pixels"].shape == (2, 2, 3, 4, 4)
    assert batch["pixels"].dtype == torch.float32
    for channel in range(3):
        for index, value in enumerate((0, 255)):
            expected = (value - BLIP_MEAN[channel]) / BLIP_STD[channel]
            found = batch["pixels"][index, :, channel]
            assert torch.allclose(found, torch.tensor(expected), atol=1e-6)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 6)
    assert batch["input_ids"][:, 0].tolist() == [101, 101]
    assert batch["attention_mask"].sum(1).tolist() == [4, 6]
    assert batch["media_ids"].tolist() == [4, 2]
    assert batch["media_ids"].dtype == torch.long
    assert [s.media_id for s in batch["data_samples"]] == [4, 2]


def test_texts_can_be_padded_to_their_largest_length() -> None:
    """CLIP-ViL's questions have 20 tokens, whatever else is in the batch."""
    wide = MODELS.build(
        {"type": "MultimodalDataPreprocessor", "max_text_len": 9, "pad_texts": True}
    )
    samples = [sample(0, text="a dog"), sample(1, text="a " * 30)]
    batch = wide({"inputs": [frames(0), frames(1)], "data_samples": samples})
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 9)
    assert batch["attention_mask"].sum(1).tolist() == [4, 9]
    assert batch["input_ids"][0].tolist() == [101, 1037, 3899, 102, 0, 0, 0, 0, 0]
    assert batch["input_ids"][1, -1] == 102


def test_test_batch_has_the_captions_in_order(preprocessor: MultimodalDataPreprocessor) -> None:
    samples = [sample(0, texts=["one", "two"]), sample(1, texts=["three"])]
    batch = preprocessor({"inputs": [frames(0), frames(1)], "data_samples": samples})
    texts = [preprocessor.tokenizer.decode(ids) for ids in batch["input_ids"]]
    assert texts == ["one", "two", "three"]
    assert batch["pixels"].shape[0] == 2


def test_skipped_samples_have_neither_pixels_nor_texts(
    preprocessor: MultimodalDataPreprocessor,
) -> None:
    samples = [sample(0, texts=["one"], skipped=True), sample(1, texts=["two"], skipped=False)]
    batch = preprocessor({"inputs": [None, frames(1)], "data_samples": samples})
    assert batch["pixels"].shape[0] == 1
    assert batch["media_ids"].tolist() == [1]
    assert preprocessor.tokenizer.decode(batch["input_ids"][0]) == "two"
    assert [s.skipped for s in batch["data_samples"]] == [True, False]


def test_batch_of_skipped_samples_alone(preprocessor: MultimodalDataPreprocessor) -> None:
    batch = preprocessor({"inputs": [None], "data_samples": [sample(0, texts=["x"])]})
    assert batch["pixels"].shape[0] == batch["input_ids"].shape[0] == len(batch["media_ids"]) == 0
    assert len(batch["data_samples"]) == 1


def test_captions_are_cut(preprocessor: MultimodalDataPreprocessor) -> None:
    samples = [sample(0, text="dog " * 99)]
    ids = preprocessor({"inputs": [frames(0)], "data_samples": samples})["input_ids"]
    assert ids.shape == (1, 35)
    assert ids[0, -1] == 102


def test_samples_of_different_shape(preprocessor: MultimodalDataPreprocessor) -> None:
    data = {
        "inputs": [frames(0), frames(0, size=5)],
        "data_samples": [sample(0, text="a"), sample(1, text="b")],
    }
    with pytest.raises(ValueError, match=r"1: frames of shape .* end the pipeline with"):
        preprocessor(data)


def test_custom_vocabulary_and_statistics(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ndog\n")
    small = MultimodalDataPreprocessor(
        mean=[1, 2, 3], std=[2, 2, 2], tokenizer={"vocab_file": str(path)}, max_text_len=3
    )
    batch = small({"inputs": [frames(5)], "data_samples": [sample(0, text="dog dog")]})
    assert batch["input_ids"].tolist() == [[2, 5, 3]]
    assert batch["pixels"][0, 0, :, 0, 0].tolist() == [2.0, 1.5, 1.0]


def test_nothing_to_save_and_copyable(preprocessor: MultimodalDataPreprocessor) -> None:
    assert preprocessor.state_dict() == {}
    twin = copy.deepcopy(preprocessor)
    data = {"inputs": [frames(9)], "data_samples": [sample(0, text="a dog")]}
    assert torch.equal(twin(data)["pixels"], preprocessor(data)["pixels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.5]}, "mean must have three numbers"),
        ({"std": [1, 1]}, "std must have three numbers"),
        ({"std": [1, 0, 1]}, "std must be positive"),
        ({"max_text_len": 2}, "max_text_len must leave room"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultimodalDataPreprocessor(**options)


def test_a_negative_media_id_is_refused(preprocessor: MultimodalDataPreprocessor) -> None:
    with pytest.raises(ValueError, match=r"media_id -100 is negative.*from 0"):
        preprocessor({"inputs": [frames(0)], "data_samples": [sample(-100, text="a")]})
