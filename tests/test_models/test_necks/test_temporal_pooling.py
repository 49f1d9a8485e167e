"""Layers over frames against the same written out, and in a model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import outputs, randomize, same, tiny_batch, tiny_model
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.load import load_weights
from uniadapter.models import TemporalPooling


def written_out(pool: TemporalPooling, frames: torch.Tensor) -> torch.Tensor:
    """One video (N, E), nothing padded, head by head."""
    x = frames + pool.positions[: len(frames)]
    for layer in pool.layers:
        heads, width = layer.attn.num_heads, x.shape[1]
        n = F.layer_norm(x, (width,), layer.ln_1.weight, layer.ln_1.bias)
        q, k, v = (n @ layer.attn.in_proj_weight.T + layer.attn.in_proj_bias).split(width, 1)
        size, read = width // heads, []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            read.append((q[:, own] @ k[:, own].T / math.sqrt(size)).softmax(1) @ v[:, own])
        x = x + layer.attn.out_proj(torch.cat(read, 1))
        hidden = layer.mlp.c_fc(F.layer_norm(x, (width,), layer.ln_2.weight, layer.ln_2.bias))
        x = x + layer.mlp.c_proj(hidden / (1 + torch.exp(-1.702 * hidden)))
    mean = x.mean(0)
    return mean / mean.norm()


@settings(max_examples=draws(8))
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_it_is_the_mean_behind_the_layers(rows: int, frames: int, layers: int, seed: int):
    torch.manual_seed(seed)
    pool = TemporalPooling(12, layers, 3, 5).double().eval()
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    features = torch.randn(rows, frames, 12).double()
    mask = torch.rand(rows, frames) > 0.4
    # Real frames stand in front, as those of short videos do.
    mask = mask.sort(1, descending=True)[0]
    with torch.no_grad():
        got = pool(features)
        masked = pool(features.masked_fill(~mask[..., None], torch.nan), mask)
        for row in range(rows):
            assert_close(got[row], written_out(pool, features[row]))
            kept = features[row][mask[row]]
            want = written_out(pool, kept) if len(kept) else torch.zeros(12).double()
            assert_close(masked[row], want)


def test_it_is_trained_saved_and_loaded_with_the_heads(tmp_path: Path):
    pooling = {"type": "TemporalPooling", "width": 16, "num_heads": 2, "max_frames": 4}
    model = tiny_model(pooling=pooling)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, _ in model.named_parameters() if n.startswith("pooling.")} <= names
    losses = model.train()(**tiny_batch(), mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.pooling.parameters())
    randomize(model).eval()
    save_adapter(model, tmp_path)
    again = tiny_model(pooling=pooling).eval()
    load_adapter(again, tmp_path)
    assert same(outputs(again, tiny_batch()), outputs(model, tiny_batch()))
    order = tiny_batch()["pixels"].flip(1)
    assert not torch.allclose(
        model.encode_visual(order)[1], model.encode_visual(tiny_batch()["pixels"])[1], atol=1e-4
    )
    with pytest.raises(ValueError, match="pooling"):
        load_adapter(tiny_model(), tmp_path)
    # A backbone without such layers leaves them as they were drawn.
    backbone = {n: t for n, t in tiny_model(seed=5).state_dict().items() if "adapter" not in n}
    backbone = {n: t for n, t in backbone.items() if not n.startswith(("queue", "ema"))}
    torch.save(backbone, tmp_path / "backbone.pth")
    before = again.pooling.positions.clone()
    load_weights(again, tmp_path / "backbone.pth")
    assert torch.equal(again.pooling.positions, before)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["method"] == "UniAdapter"


def test_the_published_size():
    with torch.device("meta"):
        count = sum(p.numel() for p in TemporalPooling().parameters())
    assert count == 2 * 3_152_384 + 16 * 512


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="multiple of the heads"):
        TemporalPooling(10, num_heads=4)
    with pytest.raises(ValueError, match=r"model.pooling.width=8, but .* have 4 numbers"):
        TemporalPooling(8, num_heads=2)(torch.randn(1, 2, 4))
    with pytest.raises(ValueError, match="Videos of 3 frames, but model.pooling.max_frames=2"):
        TemporalPooling(8, num_heads=2, max_frames=2)(torch.randn(1, 3, 8))
