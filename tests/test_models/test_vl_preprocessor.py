"""Texts and features of a batch: lengths by task, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from tests.roberta import write_lists
from tests.vl_helpers import WIDTH, batch, samples
from uniadapter.models import VLDataPreprocessor


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = write_lists(tmp_path_factory.mktemp("words"))
    return {"type": "BartTokenizer", "file": str(folder)}


def test_lengths_are_those_of_the_task(tokenizer):
    own = VLDataPreprocessor(tokenizer, {"mine": 5, "caption": 7})
    text = "left of the blue ring " * 200
    whole = len(own.tokenizer.encode(text))
    wanted = {"vqa": 20, "gqa": 20, "nlvr": whole, "caption": 7, "tvqa": 600, "mine": 5}
    for task, length in wanted.items():
        data = own(batch(task, [text, "a"], torch.zeros(2, 1, 4, WIDTH), ["", ""]))
        assert data["input_ids"].shape == data["attention_mask"].shape == (2, length)
        assert data["attention_mask"].sum(1).tolist() == [length, 3]
        assert data["input_ids"][0, -1] == 2
    with pytest.raises(ValueError, match="no length of the texts of task 'other'"):
        own(batch("other", [text], torch.zeros(1, 1, 4, WIDTH), [""]))


def test_what_a_data_loader_gives_becomes_tensors(tokenizer):
    own = VLDataPreprocessor(tokenizer)
    features = np.arange(2 * 2 * 3 * WIDTH, dtype=np.float16).reshape(2, 2, 3, WIDTH)
    items = [
        {"inputs": {"text": text, "features": torch.from_numpy(part)}, "data_samples": sample}
        for text, part, sample in zip(
            ["a", "b"], features, samples("nlvr", ["true", "false"]), strict=True
        )
    ]
    data = own(pseudo_collate(items), True)
    assert data["features"].dtype == torch.float32
    assert torch.equal(data["features"], torch.from_numpy(features).float())
    assert "boxes" not in data
    more = pseudo_collate(items)
    more["inputs"]["boxes"] = torch.zeros(2, 2, 3, 4)
    assert own(more)["boxes"].shape == (2, 2, 3, 4)


def test_what_does_not_go_together(tokenizer):
    own, features = VLDataPreprocessor(tokenizer), torch.zeros(2, 1, 4, WIDTH)
    data = batch("vqa", ["a", "b"], features, ["", ""])
    data["inputs"]["features"][1] = torch.zeros(1, 3, WIDTH)
    with pytest.raises(ValueError, match="The features of a batch have the shapes"):
        own(data)
    with pytest.raises(ValueError, match="2 samples need as many features, got 1"):
        own(batch("vqa", ["a", "b"], features[:1], ["", ""]))
    with pytest.raises(ValueError, match="got 1 texts and 2 samples"):
        own(batch("vqa", ["a"], features, ["", ""]))
    mixed = batch("vqa", ["a", "b"], features, ["", ""])
    mixed["data_samples"] = samples("vqa", [""]) + samples("gqa", [""])
    with pytest.raises(ValueError, match="A batch is of one task"):
        own(mixed)
    with pytest.raises(ValueError, match="text_lens.vqa=1 must be None or an int >= 2"):
        VLDataPreprocessor(tokenizer, {"vqa": 1})
    with pytest.raises(ValueError, match="name the tokenizer, such as"):
        VLDataPreprocessor({"file": "x"})
