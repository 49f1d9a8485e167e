"""What all towers that stand side by side promise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.dual_helpers import FAMILIES, SIDE, Family, adapted, places
from uniadapter.models import Beit3Text, Beit3Vision, ClipText, ClipVisual, UniAdapter
from uniadapter.models.fast import frozen_layers
from uniadapter.models.sites import disabled

pytest.importorskip("transformers")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def outputs(model: nn.ModuleDict, family: Family) -> list[torch.Tensor]:
    """Tokens of images and of texts, and the first ones alone."""
    pixels, texts = family.pairs(2)["pixels"][:, 0], family.texts(2)
    return [
        model["visual"].tokens(pixels),
        model["visual"].tokens(pixels, "first"),
        model["text"](*texts),
        model["text"](*texts, want="first"),
    ]


def test_a_new_adapter_changes_nothing_and_only_it_learns(family: Family) -> None:
    model = family.towers()
    bare = outputs(model, family)
    torch.testing.assert_close(bare[0][:, :1], bare[1])
    torch.testing.assert_close(bare[2][:, :1], bare[3])
    pixels = family.pairs(2)["pixels"][:, 0]
    assert torch.equal(model["visual"](pixels)[0], bare[0][:, 0])
    adapter = UniAdapter(places(model), bottleneck=3, towers=("visual", "text"))
    assert all(map(torch.equal, outputs(model, family), bare))
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    found = outputs(model, family)
    assert not any(map(torch.equal, found, bare))
    with disabled(places(model)):
        assert all(map(torch.equal, outputs(model, family), bare))
    assert not [name for name, _ in model.named_parameters() if "adapter" in name]
    with pytest.raises(ValueError, match="cross.*, which this model does not have"):
        UniAdapter(places(family.towers()), bottleneck=3)


LARGE = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}


@pytest.mark.parametrize(
    ("towers", "r512", "r128", "backbone"),
    [
        (lambda: (Beit3Vision("b"), Beit3Text()), 14_180_352, 3_558_912, 221_275_392),
        (lambda: (Beit3Vision("l"), Beit3Text(**LARGE)), 37_810_176, 9_489_408, 673_086_464),
        # The whole of CLIP, without its projections and its scale.
        (
            lambda: (ClipVisual(patch_size=32), ClipText()),
            15_756_288,
            3_950_592,
            151_277_313 - (768 * 512 + 512 * 512 + 1),
        ),
        (
            lambda: (ClipVisual(patch_size=16), ClipText()),
            15_756_288,
            3_950_592,
            149_620_737 - (768 * 512 + 512 * 512 + 1),
        ),
    ],
    ids=["beit3_base", "beit3_large", "clip_b32", "clip_b16"],
)
def test_parameters_at_full_size(towers, r512: int, r128: int, backbone: int) -> None:
    for bottleneck, count in ((512, r512), (128, r128)):
        with torch.device("meta"):
            model = nn.ModuleDict(dict(zip(("visual", "text"), towers(), strict=True)))
            adapter = UniAdapter(places(model), bottleneck=bottleneck, towers=("visual", "text"))
        assert sum(p.numel() for p in adapter.parameters()) == count
        assert sum(p.numel() for p in model.parameters()) == backbone
        # With two widths nothing is shared between the towers.
        widths = {model["visual"].embed_dims, model["text"].hidden_size}
        for layer in adapter.layers.values():
            assert len(list(layer.down.parameters())) == 2 * len(widths)


def gradients(model: nn.ModuleDict, adapter: UniAdapter, family: Family) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    out = 0.0
    for states in outputs(model, family)[1::2]:
        # Behind a norm sums and squares are constant.
        out = out + states[:, 0] @ torch.randn(states.shape[-1], generator=generator)
    return list(torch.autograd.grad(out.pow(2).sum(), list(adapter.parameters())))


def test_checkpointing_gives_the_same_gradients_and_copies_are_independent(family: Family) -> None:
    model = family.towers().train().requires_grad_(False)
    # Of three rectified units all may be off for every token that counts.
    adapter = adapted(model, bottleneck=16)
    plain = gradients(model, adapter, family)
    assert all(bool(part.any()) for part in plain)
    for tower in model.values():
        tower.grad_checkpointing = True
    for one, other in zip(plain, gradients(model, adapter, family), strict=True):
        torch.testing.assert_close(one, other)
    twin, own = copy.deepcopy((model, adapter))
    nn.init.zeros_(own.layers["0"].up["visual"].weight)
    assert not torch.equal(outputs(twin, family)[0], outputs(model, family)[0])


def test_taps_are_the_states_behind_the_layers(family: Family) -> None:
    model = family.towers()
    taps = model["visual"].taps(torch.randn(2, 3, SIDE, SIDE))
    assert [tuple(state.shape) for state in taps.hidden] == [(2, 5, 16)] * 3
    assert taps.out.shape == (2, 5, 16)
    assert not any(state.requires_grad for state in taps.hidden)
    assert len(model["text"].taps(*family.texts(2)).hidden) == 3


def test_bad_input_is_one_clear_error(family: Family) -> None:
    with pytest.raises(ValueError, match="img_size=40 is no multiple"):
        family.visual(img_size=40, patch_size=16)
    with pytest.raises(ValueError, match="arch='h' is unknown"):
        family.visual(arch="h")
    with pytest.raises(ValueError, match="no multiple of 5 attention heads"):
        family.text(vocab_size=4, **{**family.text_sizes, "num_heads": 5})
    model = family.towers()
    with pytest.raises(ValueError, match=r"Images of 48 x 48 pixels, .*img_size=32"):
        model["visual"].tokens(torch.zeros(1, 3, 48, 48))
    name = family.visual.__name__
    with pytest.raises(ValueError, match=rf"model\.prefix_cache .*{name} has nothing.*: remove it"):
        frozen_layers(model["visual"])
    fusion = f"{family.text.__name__} has no cross-attention.*matching=None"
    with pytest.raises(ValueError, match=fusion):
        model["text"].sites("fusion")
    with pytest.raises(ValueError, match=fusion):
        assert model["text"].encoder_width
    ids = torch.zeros(1, 10, dtype=torch.long)
    with pytest.raises(ValueError, match="10 tokens exceeds the 9 positions"):
        model["text"](ids, torch.ones_like(ids))
    with pytest.raises(ValueError, match=r"attention_mask \(1, 2\) must have the shape"):
        model["text"](ids[:, :3], ids[:, :2])
    with pytest.raises(ValueError, match="allows texts of 77 tokens"):
        model["text"].check_length(77, "max_text_len")
