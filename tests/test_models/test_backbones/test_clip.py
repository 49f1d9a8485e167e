from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.dual_helpers import adapted, places
from uniadapter.models import ClipText, ClipVisual, UniAdapter
from uniadapter.models.sites import disabled

transformers = pytest.importorskip("transformers")
WORDS = 30
ARCH = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32}
TEXT = {"vocab_size": WORDS, "hidden_size": 12, "num_layers": 2, "num_heads": 3}


def towers(**options: Any) -> nn.ModuleDict:
    """Both towers in evaluation mode."""
    vision = ClipVisual(arch=ARCH, img_size=24, patch_size=8, **options)
    text = ClipText(**TEXT, intermediate_size=24, max_positions=9, **options)
    return nn.ModuleDict({"visual": vision, "text": text}).eval()


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
        tokens, states = model["visual"].tokens(pixels), model["text"](ids, mask)
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
        first = model["visual"].tokens(pixels, "first")
        torch.testing.assert_close(first, tokens[:, :1])
        first = model["text"](ids, mask, want="first")
        torch.testing.assert_close(first, states[:, :1])


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


def test_no_texts_and_no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = towers()
    none = torch.zeros(0, 0, dtype=torch.long)
    assert model["text"](none, none).shape == (0, 2, 12)
    assert model["text"](none.view(0, 4), none.view(0, 4)).shape == (0, 5, 12)
    assert model["visual"].tokens(torch.zeros(0, 3, 0, 0)).shape == (0, 10, 16)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install 'transformers"):
        towers()
