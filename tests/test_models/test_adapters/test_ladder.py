"""Ladder side-tuning against torch's own transformer layers and the recursion written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.models.adapters.ladder import LadderOptions, SideBlock, SideTower
from uniadapter.models.taps import Read, Taps

CONFIG = "configs/ladder/didemo.py"
SMALL = {"type": "Ladder", "reduction": 4, "num_heads": 2}


def torch_layer(block, width, heads, first):
    """The same weights in torch's layer."""
    kind = nn.TransformerEncoderLayer if block.cross is None else nn.TransformerDecoderLayer
    layer = kind(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=first).eval()
    pairs = [(layer.self_attn, block.attention)]
    norms = [(layer.norm1, block.norm1), (layer.norm2, block.norm2)]
    if block.cross is not None:
        pairs.append((layer.multihead_attn, block.cross))
        norms = [
            (layer.norm1, block.norm1),
            (layer.norm2, block.norm_cross),
            (layer.norm3, block.norm2),
        ]
    with torch.no_grad():
        for theirs, ours in pairs:
            parts = (ours.query, ours.key, ours.value)
            theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            theirs.out_proj.load_state_dict(ours.out.state_dict())
    for theirs, ours in (*norms, (layer.linear1, block.fc1), (layer.linear2, block.fc2)):
        theirs.load_state_dict(ours.state_dict())
    return layer


@settings(max_examples=draws(10))
@given(first=st.booleans(), reads=st.booleans(), one=st.booleans(), heads=st.sampled_from([1, 2]))
def test_a_block_is_torchs_layer(first, reads, one, heads):
    block = SideBlock(8, heads, reads, first)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x, mask = torch.randn(3, 4, 8), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    states, seen = torch.randn(3, 5, 8), torch.rand(3, 5) > 0.3
    seen[:, 0] = True
    if one:
        states, seen = states[:1], seen[:1]
    layer, hidden = torch_layer(block, 8, heads, first), mask == 0
    with torch.no_grad():
        if reads:
            whole = states.expand(3, -1, -1), ~seen.expand(3, -1)
            want = layer(x, whole[0], tgt_key_padding_mask=hidden, memory_key_padding_mask=whole[1])
        else:
            want = layer(x, src_key_padding_mask=hidden)
        got = block(x, mask, Read(states, seen) if reads else None)
    assert_close(got, want, atol=1e-5, rtol=1e-5)


@settings(max_examples=draws(6))
@given(chosen=st.sets(st.integers(0, 2), min_size=1), bias=st.booleans())
def test_a_ladder_is_its_recursion(chosen, bias):
    options = LadderOptions(reduction=2, num_heads=2, temperature=0.3, bias=bias)
    side = SideTower([8, 8, 12], sorted(chosen), options, reads=5)
    nn.init.normal_(side.gates)
    hidden = tuple(torch.randn(2, 3, width) for width in (8, 8, 8, 12))
    read = Read(torch.randn(2, 4, 5))
    with torch.no_grad():
        seen = Read(side.read(read.states))
        state = side.down[0](hidden[0])
        for rung, index in enumerate(sorted(chosen)):
            mu = 1 / (1 + torch.exp(-side.gates[rung] / 0.3))
            mixed = mu * state + (1 - mu) * side.down[rung + 1](hidden[index + 1])
            state = side.blocks[rung](mixed, None, seen)
        got = side(Taps(hidden, hidden[-1]), read)
        assert_close(got, side.up(state), atol=1e-5, rtol=1e-5)
    assert got.shape == (2, 3, 12)


def test_no_gradient_enters_the_towers():
    model = randomize(tiny_model(adapter=SMALL, pfa=None)).train()
    for tower in model.towers().values():
        for parameter in tower.parameters():
            parameter.requires_grad_(True)
    sum(model(**tiny_batch(frames=1), mode="loss").values()).backward()
    for tower in model.towers().values():
        assert all(parameter.grad is None for parameter in tower.parameters())
    assert all(p.grad is not None for p in model.adapter.parameters())


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({}, 24_001_380 + 147_648),
        ({"reduction": 8}, 7_578_180 + 73_824),
        ({"roles": ["visual", "fusion"]}, 16_595_352 + 147_648),
        ({"roles": ["visual"]}, 7_406_028),
        ({"roles": ["visual"], "bias": False}, 7_402_764),
    ],
)
def test_counts(options, adapter):
    """A block is 12 h^2 + 13 h; what texts read comes through one projection more."""
    counts = count_config(CONFIG, {f"model.adapter.{key}": v for key, v in options.items()})
    assert counts["adapter"] == adapter


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"reduction": 0}, "adapter.reduction=0 must be an int >= 1"),
        ({"temperature": 0.0}, "adapter.temperature=0.0 must be above 0"),
        ({"num_heads": 3}, "32 features of visual are no multiple of adapter.reduction=4 times"),
        ({"roles": ["decoder"]}, "adapter.roles='decoder' is unknown"),
        ({"roles": []}, "name at least one, each once"),
        ({"layers": "3"}, r"layers \[3\] do not exist"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={**SMALL, **options}, pfa=None)
