from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.dual_helpers import places
from tests.test_models import beit3_reference as reference
from uniadapter.checkpoints.layouts.beit3 import BEIT3
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.models import Beit3Text, Beit3Vision, UniAdapter

HEADS, WORDS, DEPTH, SIDE = 2, 20, 2, 3
SIZES = {"embed_dims": 16, "num_layers": DEPTH, "num_heads": HEADS, "feedforward_channels": 64}


def towers(**options: Any) -> nn.ModuleDict:
    """Both towers in evaluation mode."""
    vision = Beit3Vision(arch=SIZES, img_size=16 * SIDE, **options)
    text = Beit3Text(
        vocab_size=WORDS,
        hidden_size=16,
        num_layers=DEPTH,
        num_heads=HEADS,
        intermediate_size=64,
        **options,
    )
    return nn.ModuleDict({"visual": vision, "text": text}).eval()


def published(seed: int) -> reference.State:
    """A random checkpoint, float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = reference.key_list(16, DEPTH, SIDE**2, WORDS)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3
        for name, shape in shapes.items()
    }


def load(model: nn.ModuleDict, state: reference.State) -> None:
    ours, _ = map_keys(state, BEIT3, "drawn")
    heads = ("vision_proj.", "text_proj.", "logit_scale")
    model.double().load_state_dict({k: t for k, t in ours.items() if not k.startswith(heads)})


def terms(adapter: UniAdapter, use: str) -> list:
    """What the reference needs of every layer of an adapter."""
    layers = (adapter.layers[str(index)] for index in range(DEPTH))
    return [
        (*layer.down["shared"].parameters(), *layer.up[use].parameters(), layer.scale)
        for layer in layers
    ]


@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    more=st.integers(0, 2),
    adapted=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_both_towers_follow_the_formulas(
    seed: int, lengths: list[int], more: int, adapted: bool
) -> None:
    model, state = towers(), published(seed)
    load(model, state)
    generator = torch.Generator().manual_seed(seed)
    visual_terms = text_terms = None
    if adapted:
        adapter = UniAdapter(places(model), bottleneck=3, towers=("visual", "text")).double()
        for parameter in adapter.parameters():
            nn.init.normal_(parameter, generator=generator)
        visual_terms, text_terms = terms(adapter, "visual"), terms(adapter, "text")
    pixels = torch.randn(2, 3, 48, 48, generator=generator, dtype=torch.float64)
    wanted = torch.stack([reference.image(p, state, HEADS, visual_terms) for p in pixels])
    torch.testing.assert_close(model["visual"].tokens(pixels), wanted)
    torch.testing.assert_close(model["visual"].tokens(pixels, "first"), wanted[:, :1])

    ids = torch.randint(0, WORDS, (len(lengths), max(lengths) + more), generator=generator)
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    tokens = model["text"](ids, mask.long())
    first = model["text"](ids, mask.long(), want="first")
    for row, length in enumerate(lengths):
        wanted = reference.text(ids[row, :length].tolist(), state, HEADS, text_terms)
        torch.testing.assert_close(tokens[row, :length], wanted)
        torch.testing.assert_close(first[row], wanted[:1])


def test_sites_see_their_sub_layers() -> None:
    model = towers()
    layer = model["text"].layers[0]
    seen: dict[str, torch.Tensor] = {}

    def fill(name: str, reads: str) -> None:
        def use(x: torch.Tensor) -> torch.Tensor:
            seen[name] = x
            return torch.zeros_like(x)

        getattr(layer.at, name).fill(use, reads=reads)

    for name, reads in (
        ("into", "output"),
        ("attn", "input"),
        ("mid", "output"),
        ("ffn", "output"),
        ("after_self", "output"),
    ):
        fill(name, reads)
    x = torch.randn(2, 4, 16)
    out = layer(x)
    assert seen["into"] is x
    torch.testing.assert_close(seen["attn"], layer.ln1(x))
    torch.testing.assert_close(seen["after_self"], seen["mid"])
    torch.testing.assert_close(out, seen["mid"] + seen["ffn"])


def test_the_final_norm_is_behind_the_taps() -> None:
    model = towers()
    taps = model["visual"].taps(torch.randn(2, 3, 48, 48))
    torch.testing.assert_close(model["visual"].norm(taps.hidden[-1]), taps.out)


def test_drop_path_acts_in_training_alone() -> None:
    model = towers(drop_path_rate=0.5)
    pixels = torch.randn(8, 3, 48, 48)
    still = model["visual"].tokens(pixels)
    assert torch.equal(still, model["visual"].tokens(pixels))
    model.train()
    assert not torch.equal(model["visual"].tokens(pixels), model["visual"].tokens(pixels))
    assert [layer.drop_path.drop_prob for layer in model["visual"].layers] == [0.0, 0.5]


def test_positions_of_another_size_are_interpolated_once() -> None:
    small, large = Beit3Vision(arch=SIZES, img_size=32), Beit3Vision(arch=SIZES, img_size=64)
    nn.init.normal_(small.pos_embed)
    state = copy.deepcopy(small.state_dict())
    large.load_state_dict(state)
    table = small.pos_embed[:, 1:].reshape(1, 2, 2, 16).permute(0, 3, 1, 2)
    wanted = F.interpolate(table, size=(4, 4), mode="bicubic", align_corners=False)
    torch.testing.assert_close(large.pos_embed[:, 1:], wanted.flatten(2).transpose(1, 2))
    assert torch.equal(large.pos_embed[:, :1], small.pos_embed[:, :1])
    assert torch.equal(state["pos_embed"], small.pos_embed)
    with pytest.raises(ValueError, match="pos_embed of shape .* no square of patches"):
        large.load_state_dict({**state, "pos_embed": torch.zeros(1, 7, 16)})
