from __future__ import annotations

import copy
import sys
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uniadapter.models import ClipText, ClipVisual, UniAdapter
from uniadapter.models.sites import Places, disabled

transformers = pytest.importorskip("transformers")
WORDS = 30
ARCH = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32}
TEXT = {"vocab_size": WORDS, "hidden_size": 12, "num_layers": 2, "num_heads": 3}


def towers(**options: Any) -> nn.ModuleDict:
    """Both towers in evaluation mode."""
    vision = ClipVisual(arch=ARCH, img_size=24, patch_size=8, **options)
    text = ClipText(**TEXT, intermediate_size=24, max_positions=9, **options)
    return nn.ModuleDict({"visual": vision, "text": text}).eval()


def places(model: nn.ModuleDict) -> Places:
    found = Places()
    for role in ("visual", "text"):
        found.add(role, model[role].sites())
    return found


def adapted(model: nn.ModuleDict, seed: int = 0, bottleneck: int = 3) -> UniAdapter:
    """A UniAdapter on both towers that acts."""
    adapter = UniAdapter(places(model), bottleneck=bottleneck, scale=1.0, towers=("visual", "text"))
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return adapter


def reference(model: nn.ModuleDict) -> Any:
    """transformers' whole model with the weights of the towers."""
    shared = {"attention_dropout": 0.0, "hidden_act": "quick_gelu"}
    configs = {
        f"{name}_config": {**model[tower].model.config.to_dict(), **shared}
        for name, tower in (("vision", "visual"), ("text", "text"))
    }
    whole = transformers.CLIPModel(transformers.CLIPConfig(**configs, projection_dim=7)).eval()
    whole.vision_model.load_state_dict(model["visual"].model.state_dict())
    whole.text_model.load_state_dict(model["text"].model.state_dict())
    return whole


def draw_texts(lengths: list[int], more: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Words between the two marks, padded with 0 or with the end's id."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths) + more)
    ids = torch.randint(1, WORDS - 2, size, generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, 0], ids[row, length - 1] = WORDS - 2, WORDS - 1
        ids[row, length:] = 0 if seed % 2 else WORDS - 1
        mask[row, :length] = 1
    return ids, mask


@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(2, 7), min_size=1, max_size=4),
    more=st.integers(0, 2),
    adapter=st.sampled_from(["none", "new", "disabled"]),
)
@settings(max_examples=12, deadline=None)
def test_features_are_those_of_transformers(
    seed: int, lengths: list[int], more: int, adapter: str
) -> None:
    torch.manual_seed(seed)
    model = towers()
    whole = reference(model)
    if adapter == "new":
        # Up-projections start at zero.
        UniAdapter(places(model), bottleneck=3, towers=("visual", "text"))
    if adapter == "disabled":
        adapted(model)
    pixels = torch.randn(3, 3, 24, 24)
    ids, mask = draw_texts(lengths, more, seed)
    off = disabled(places(model)) if adapter == "disabled" else nullcontext()
    with torch.no_grad(), off:
        wanted = whole(input_ids=ids, attention_mask=mask, pixel_values=pixels)
        tokens, states = model["visual"].tokens(pixels), model["text"](ids, mask)[0]
        visual = nn.functional.normalize(whole.visual_projection(tokens[:, 0]), dim=-1)
        text = nn.functional.normalize(whole.text_projection(states[:, 0]), dim=-1)
        logits = whole.logit_scale.exp() * visual @ text.t()
        torch.testing.assert_close(visual, wanted.image_embeds)
        torch.testing.assert_close(text, wanted.text_embeds)
        torch.testing.assert_close(logits, wanted.logits_per_image)
        tokens_of_text = wanted.text_model_output.last_hidden_state
        torch.testing.assert_close(states[:, 1:][mask.bool()], tokens_of_text[mask.bool()])
        assert tokens.shape == (3, 10, 16)
        assert torch.equal(model["visual"](pixels)[0], tokens[:, 0])
        assert torch.equal(model["visual"].tokens(pixels, class_only=True), tokens[:, :1])
        assert torch.equal(model["text"](ids, mask, first_only=True, pack=True)[0], states[:, :1])


@pytest.mark.parametrize(("bottleneck", "count"), [(512, 15_756_288), (128, 3_950_592)])
@pytest.mark.parametrize(("patch", "backbone"), [(32, 151_277_313), (16, 149_620_737)])
def test_parameters_at_full_size(bottleneck: int, count: int, patch: int, backbone: int) -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"visual": ClipVisual(patch_size=patch), "text": ClipText()})
        adapter = UniAdapter(places(model), bottleneck=bottleneck, towers=("visual", "text"))
    assert sum(p.numel() for p in adapter.parameters()) == count
    projections = 768 * 512 + 512 * 512 + 1
    assert sum(p.numel() for p in model.parameters()) + projections == backbone
    for layer in adapter.layers.values():
        # Two widths, so nothing is shared between the towers.
        assert len(list(layer.down.parameters())) == 4


def test_a_term_is_added_behind_every_layer() -> None:
    """The adapter's formula, x1 + mlp(ln2 x1) + s * up(gelu(down(x1)))."""
    model = towers()
    adapter = adapted(model)
    layer, at = model["visual"].model.encoder.layers[1], adapter.layers["1"]
    taps = model["visual"].taps(torch.randn(2, 3, 24, 24))
    assert len(taps.hidden) == 3
    assert taps.out.shape == (2, 10, 16)
    x = taps.hidden[1]
    with torch.no_grad():
        x1 = x + layer.self_attn(layer.layer_norm1(x))[0]
        wanted = x1 + layer.mlp.fc2(layer.mlp.activation_fn(layer.mlp.fc1(layer.layer_norm2(x1))))
        torch.testing.assert_close(taps.hidden[2], wanted + at(x1, use="visual"))
    assert not [name for name, _ in model.named_parameters() if "adapter" in name]
    assert len(model["text"].taps(*draw_texts([5, 7], 1, 1)).hidden) == 3


def gradients(model: nn.ModuleDict, adapter: UniAdapter) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 24, 24, generator=generator)
    # Behind a norm sums and squares are constant.
    out = model["visual"].tokens(pixels)[:, 0] @ torch.randn(16, generator=generator)
    text = model["text"](*draw_texts([5, 7], 1, 1), first_only=True)[0][:, 0]
    out = out + text @ torch.randn(12, generator=generator)
    return list(torch.autograd.grad(out.pow(2).sum(), list(adapter.parameters())))


def test_checkpointing_gives_the_same_gradients_and_copies_are_independent() -> None:
    model = towers().train().requires_grad_(False)
    # Of three rectified units all may be off for every token that counts.
    adapter = adapted(model, bottleneck=16)
    plain = gradients(model, adapter)
    assert all(bool(part.any()) for part in plain)
    for tower in model.values():
        tower.grad_checkpointing = True
    for one, other in zip(plain, gradients(model, adapter), strict=True):
        torch.testing.assert_close(one, other)
    twin, own = copy.deepcopy((model, adapter))
    nn.init.zeros_(own.layers["0"].up["visual"].weight)
    pixels = torch.randn(1, 3, 24, 24)
    assert not torch.equal(twin["visual"].tokens(pixels), model["visual"].tokens(pixels))


def test_no_texts_and_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = towers()
    none = torch.zeros(0, 0, dtype=torch.long)
    assert model["text"](none, none)[0].shape == (0, 2, 12)
    assert model["text"](none.view(0, 4), none.view(0, 4))[0].shape == (0, 5, 12)
    assert model["visual"].tokens(torch.zeros(0, 3, 0, 0)).shape == (0, 10, 16)
    ids, mask = draw_texts([10], 0, 0)
    with pytest.raises(ValueError, match="10 tokens exceeds the 9 positions"):
        model["text"](ids, mask)
    with pytest.raises(ValueError, match="attention_mask"):
        model["text"](ids, mask[:, :3])
    with pytest.raises(ValueError, match="allows texts of 77 tokens"):
        model["text"].check_length(77, "max_text_len")
    with pytest.raises(ValueError, match="Images of 32 x 32 pixels"):
        model["visual"](torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="no cross-attention"):
        model["text"].sites("fusion")
    with pytest.raises(ValueError, match="no cross-attention"):
        assert model["text"].encoder_width
    with pytest.raises(ValueError, match="prefix_cache"):
        model["visual"].frozen_layers()
    with pytest.raises(ValueError, match="no multiple of 5 attention heads"):
        ClipText(**{**TEXT, "num_heads": 5})
    with pytest.raises(ValueError, match="cross.*, which this model does not have"):
        UniAdapter(places(towers()), bottleneck=3)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install 'transformers"):
        towers()
