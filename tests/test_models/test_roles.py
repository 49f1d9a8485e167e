"""Tasks ask roles: who plays which, what a missing one says, and the two halves of a fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, randomize, tiny_batch, tiny_model
from uniadapter.models.execution import Words
from uniadapter.registry import MODELS


def words_and_states() -> tuple[Words, torch.Tensor]:
    batch = tiny_batch()
    states = torch.randn(len(batch["input_ids"]), 6, 32, generator=torch.Generator().manual_seed(0))
    return Words(batch["input_ids"], batch["attention_mask"]), states


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("want", ["all", "first"])
def test_a_fusion_in_two_halves_is_the_whole(fast: bool, want: Any) -> None:
    model = randomize(tiny_model(fast=fast, adapter=adapter_cfg()), std=0.1).eval()
    words, states = words_and_states()
    fusion = model.role("fusion")
    with torch.no_grad():
        memory = fusion.memory(states)
        whole = fusion.fuse(words, memory, want)
        halves = fusion.finish(fusion.begin(words), memory, want)
    real = words.mask.bool() if want == "all" else torch.ones(len(states), 1, dtype=torch.bool)
    assert_close(halves[real], whole[real], atol=1e-5, rtol=1e-5)


def test_words_are_not_changed_by_marking_them() -> None:
    words, states = words_and_states()
    before, fusion = words.ids.clone(), tiny_model().eval().role("fusion")
    marked = Words(torch.cat((torch.zeros_like(before[:, :1]), before[:, 1:]), 1), words.mask)
    with torch.no_grad():
        memory = fusion.memory(states)
        assert_close(fusion.fuse(marked, memory), fusion.fuse(words, memory))
    assert torch.equal(words.ids, before)


def test_what_a_tower_plays() -> None:
    model = tiny_model()
    assert model.role("visual") is model.visual
    assert model.role("text") is model.role("fusion") is model.text
    assert not model.role("fusion").takes_states


def test_a_role_that_no_tower_plays() -> None:
    with pytest.raises(ValueError, match=r"RetrievalModel needs a tower to write words .*decoder"):
        tiny_model().role("decoder")
    cfg = tiny_retrieval_cfg()
    swapped = {**cfg, "text": {**cfg["text"], "type": "BertDecoder"}, "adapter": None}
    with pytest.raises(ValueError, match="BertDecoder plays .*'decoder'"):
        MODELS.build(swapped)
