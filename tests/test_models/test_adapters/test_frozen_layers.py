"""What a method changes of a picture's way is never taken for frozen, nor kept without a graph."""

from __future__ import annotations

import pytest
import torch

from tests.model_helpers import randomize, tiny_batch, tiny_model
from uniadapter.models.fast.prefix_identity import frozen_layers


@pytest.mark.parametrize(
    ("adapter", "frozen"),
    [
        ({"type": "BitFit"}, 0),
        ({"type": "LoRA", "rank": 2}, 0),
        ({"type": "LoRA", "rank": 2, "layers": "2"}, 1),
        ({"type": "LoRA", "rank": 2, "roles": ["text"]}, 2),
        ({"type": "PeftAdapter", "config": {"peft_type": "LORA", "r": 2}, "layers": "2"}, 1),
        ({"type": "MAM", "prefix": 2, "bottleneck": 2, "layers": "2"}, 1),
        ({"type": "Prompt", "visual": 2}, 0),
        ({"type": "Prompt", "visual": 0}, 2),
        ({"type": "STAdapter", "bottleneck": 2, "layers": "2"}, 1),
        ({"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 2, "layers": "2"}, 0),
        ({"type": "BottleneckAdapter", "preset": "pfeiffer", "bottleneck": 2, "layers": "2"}, 1),
    ],
)
def test_frozen_layers_end_where_a_method_begins(adapter, frozen):
    model = randomize(tiny_model(adapter=adapter)).train()
    assert frozen_layers(model.visual) == frozen
    sum(model(**tiny_batch(), mode="loss").values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.adapter.parameters())


def test_a_picture_kept_on_disk_is_that_of_the_merged_weights(tmp_path):
    """Merged weights are other frozen weights: nothing that was kept before is found."""
    adapter = {"type": "LoRA", "rank": 2, "layers": "2"}
    model = randomize(tiny_model(adapter=adapter, prefix_cache={"dir": str(tmp_path)})).eval()
    pixels = tiny_batch()["pixels"]
    with torch.no_grad():
        want, again = (model.encode_frames(pixels) for _ in range(2))
        assert model.execution.cache.hits == len(pixels.flatten(0, 1))
        model.adapter.merge()
        merged = model.encode_frames(pixels)
        model.adapter.unmerge()
        after = model.encode_frames(pixels)
    assert torch.equal(want, again)
    assert torch.equal(want, after)
    torch.testing.assert_close(merged, want, atol=1e-4, rtol=1e-4)
