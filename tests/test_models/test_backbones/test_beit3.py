from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.test_models import beit3_reference as reference
from uniadapter.checkpoints.layouts.beit3 import BEIT3
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.models import Beit3Text, Beit3Vision, UniAdapter
from uniadapter.models.sites import Places, disabled

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


def places(model: nn.ModuleDict) -> Places:
    found = Places()
    for role in ("visual", "text"):
        found.add(role, model[role].sites())
    return found


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
    torch.testing.assert_close(model["visual"].tokens(pixels, class_only=True), wanted[:, :1])

    ids = torch.randint(0, WORDS, (len(lengths), max(lengths) + more), generator=generator)
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    tokens, _ = model["text"](ids, mask.long())
    first, _ = model["text"](ids, mask.long(), first_only=True, pack=True)
    for row, length in enumerate(lengths):
        wanted = reference.text(ids[row, :length].tolist(), state, HEADS, text_terms)
        torch.testing.assert_close(tokens[row, :length], wanted)
        torch.testing.assert_close(first[row], wanted[:1])


@pytest.mark.parametrize(
    ("arch", "bottleneck", "count", "backbone"),
    [
        ("l", 512, 37_810_176, 673_086_464),
        ("l", 128, 9_489_408, 673_086_464),
        ("b", 512, 14_180_352, 221_275_392),
        ("b", 128, 3_558_912, 221_275_392),
    ],
)
def test_parameters_at_full_size(arch: str, bottleneck: int, count: int, backbone: int) -> None:
    large = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "visual": Beit3Vision(arch=arch),
                "text": Beit3Text(**(large if arch == "l" else {})),
            }
        )
        adapter = UniAdapter(places(model), bottleneck=bottleneck, towers=("visual", "text"))
    assert sum(p.numel() for p in adapter.parameters()) == count
    assert sum(p.numel() for p in model.parameters()) == backbone


def test_a_new_adapter_changes_nothing_and_only_it_learns() -> None:
    model = towers()
    pixels, ids = torch.randn(2, 3, 48, 48), torch.randint(0, WORDS, (2, 5))
    mask = torch.ones_like(ids)
    bare = model["visual"].tokens(pixels), model["text"](ids, mask)[0]
    adapter = UniAdapter(places(model), bottleneck=3, towers=("visual", "text"))
    assert torch.equal(model["visual"].tokens(pixels), bare[0])
    assert torch.equal(model["text"](ids, mask)[0], bare[1])
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    assert not torch.equal(model["visual"].tokens(pixels), bare[0])
    with disabled(places(model)):
        assert torch.equal(model["text"](ids, mask)[0], bare[1])
    assert not [name for name, _ in model.named_parameters() if "adapter" in name]
    with pytest.raises(ValueError, match="cross.*, which this model does not have"):
        UniAdapter(places(towers()), bottleneck=3)


def gradients(model: nn.ModuleDict, adapter: UniAdapter) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 48, 48, generator=generator)
    ids = torch.randint(0, WORDS, (2, 5), generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    out = (
        model["visual"].tokens(pixels, class_only=True)
        + model["text"](ids, mask, first_only=True)[0]
    )
    parameters = list(adapter.parameters())
    return list(torch.autograd.grad(out.pow(2).sum(), parameters))


def test_checkpointing_gives_the_same_gradients() -> None:
    model = towers().train().requires_grad_(False)
    adapter = UniAdapter(places(model), bottleneck=3, towers=("visual", "text"))
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    plain = gradients(model, adapter)
    for tower in model.values():
        tower.grad_checkpointing = True
    for one, other in zip(plain, gradients(model, adapter), strict=True):
        torch.testing.assert_close(one, other)


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


def test_taps_are_the_states_behind_the_layers() -> None:
    model = towers()
    pixels = torch.randn(2, 3, 48, 48)
    taps = model["visual"].taps(pixels)
    assert [tuple(state.shape) for state in taps.hidden] == [(2, 10, 16)] * (DEPTH + 1)
    torch.testing.assert_close(model["visual"].norm(taps.hidden[-1]), taps.out)
    assert not any(state.requires_grad for state in taps.hidden)


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


def test_bad_input_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="img_size=40 is no multiple"):
        Beit3Vision(arch=SIZES, img_size=40)
    with pytest.raises(ValueError, match="arch='h' is unknown"):
        Beit3Vision(arch="h")
    with pytest.raises(ValueError, match="16 is no multiple of 3 attention heads"):
        Beit3Text(vocab_size=4, hidden_size=16, num_layers=1, num_heads=3)
    model = towers()
    with pytest.raises(ValueError, match=r"Images of 32 x 32 pixels, .*img_size=48"):
        model["visual"].tokens(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"model\.prefix_cache .*: remove it"):
        model["visual"].frozen_layers()
    with pytest.raises(ValueError, match="matching=None"):
        model["text"].sites("fusion")
    ids = torch.zeros(1, 1023, dtype=torch.long)
    with pytest.raises(ValueError, match="1023 tokens exceeds the 1022 positions"):
        model["text"](ids, torch.ones_like(ids))
    with pytest.raises(ValueError, match=r"attention_mask \(1, 2\) must have the shape"):
        model["text"](ids[:, :3], ids[:, :2])
