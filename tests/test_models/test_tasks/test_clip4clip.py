"""CLIP4Clip with UniPT beside it, held against its formulas on transformers' CLIP."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from torch.nn import functional as F

from tests.dual_helpers import FAMILIES, SIDE, SIZES
from tests.helpers import ROOT, draws
from tests.test_models.test_adapters.test_unipt import reference
from uniadapter.models.adapters.unipt.presets import PRESETS
from uniadapter.models.build import build_model
from uniadapter.structures import MultimodalSample

transformers = pytest.importorskip("transformers")
CLIP = FAMILIES["clip"]


def narrow(name: str = "unipt/clip4clip_msrvtt", **overrides: Any) -> dict[str, Any]:
    """The config's model at tiny sizes, without a preprocessor."""
    cfg = Config.fromfile(str(ROOT / f"configs/{name}.py")).model.to_dict()
    cfg["visual"].update(arch=SIZES, img_size=SIDE, patch_size=16)
    cfg["text"].update(CLIP.text_sizes, vocab_size=CLIP.words, max_positions=9)
    cfg["contrast"]["embed_dim"] = 8
    cfg.update(pretrained=None, data_preprocessor=None)
    return {**cfg, **overrides}


def build(seed: int = 0, **overrides: Any) -> Any:
    torch.manual_seed(seed)
    return build_model(narrow(**overrides))


def batch(seed: int, videos: int, frames: int, length: int) -> dict[str, torch.Tensor]:
    """Videos with padded frames, and texts of drawn lengths with zeros behind them."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, frames + 1, (videos,), generator=generator)
    frame_mask = (torch.arange(frames)[None] < counts[:, None]).long()
    pixels = torch.randn(videos, frames, 3, SIDE, SIDE, generator=generator)
    lengths = torch.randint(3, length + 1, (videos,), generator=generator)
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    ids = torch.randint(1, CLIP.words - 2, (videos, length), generator=generator)
    ids[:, 0] = CLIP.words - 2
    ids[torch.arange(videos), lengths - 1] = CLIP.words - 1
    return {
        "pixels": pixels * frame_mask[:, :, None, None, None],
        "frame_mask": frame_mask,
        "input_ids": ids * mask,
        "attention_mask": mask,
        "media_ids": torch.arange(videos),
    }


def side(model: Any, role: str, taps: list, z: torch.Tensor, mask: Any, place: Any) -> torch.Tensor:
    """z + U(relu(F)) by the reference of the side network."""
    prefix = f"adapter.sides.{role}."
    weights = {
        name.removeprefix(prefix): value
        for name, value in model.named_parameters()
        if name.startswith(prefix)
    }
    defaults = {"confidence": "gate", "projection": "none", "causal": False, "crosser": False}
    options = {
        **{"out_norm": False, "every_tap": False, "reduction": False},
        **defaults,
        **PRESETS["clip4clip_image"],
    }
    return reference.forward(weights, options, taps, z, mask, place)


def clip4clip(model: Any, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of videos and texts, from what transformers' towers give by themselves."""
    vision, words = model.visual.model, model.text.model
    frames = data["pixels"].flatten(0, 1)
    with torch.no_grad():
        seen = vision(pixel_values=frames, output_hidden_states=True)
        read = words(input_ids=data["input_ids"], output_hidden_states=True)
        z = model.vision_proj(vision.post_layernorm(seen.hidden_states[-1][:, 0]))
        end = (data["input_ids"] == CLIP.words - 1).int().argmax(1)
        last = words.final_layer_norm(read.hidden_states[-1])
        t = model.text_proj(last[torch.arange(len(end)), end])
    taps = list(seen.hidden_states)
    ones = torch.ones(taps[0].shape[:2])
    z = side(model, "visual", taps, z, ones, torch.zeros(len(z), dtype=torch.long))
    mask = (data["input_ids"] != 0).long()
    t = side(model, "text", list(read.hidden_states), t, mask, end)
    z = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    real = data["frame_mask"].float()[..., None]
    z = (z.unflatten(0, real.shape[:2]) * real).sum(1) / real.sum(1).clamp(min=1)
    return (x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6) for x in (z, t))  # type: ignore[return-value]


@settings(max_examples=draws(2), deadline=None)
@given(
    seed=st.integers(0, 2**20),
    videos=st.integers(1, 3),
    frames=st.integers(1, 3),
    length=st.integers(3, 8),
)
def test_loss_and_gradients_are_the_formulas(seed, videos, frames, length):
    model, data = build(seed).train(), batch(seed, videos, frames, length)
    visual, text = clip4clip(model, data)
    logits = torch.exp(model.logit_scale) * text @ visual.t()
    own = torch.arange(videos)
    want = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    wanted = dict(zip(trained, torch.autograd.grad(want, list(trained.values())), strict=True))
    found = model(**data, mode="loss")
    assert set(found) == {"loss_itc"}
    found["loss_itc"].backward()
    torch.testing.assert_close(found["loss_itc"], want, atol=1e-5, rtol=1e-5)
    assert all(name.startswith("adapter.") for name in trained)
    scale = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():
        gap = float((trained[name].grad - value).abs().max())
        assert gap <= 1e-5 * max(scale, 1.0), name
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    with torch.no_grad():
        features = model.eval().features(
            data["pixels"], data["input_ids"], data["attention_mask"], data["frame_mask"]
        )
    torch.testing.assert_close(features, (visual.detach(), text.detach()), atol=1e-5, rtol=1e-4)


def test_what_stands_in_padding_plays_no_part():
    model, data = build().eval(), batch(3, 4, 3, 8)
    other = {name: value.clone() for name, value in data.items()}
    other["pixels"][data["frame_mask"] == 0] = 7.0
    other["input_ids"][data["attention_mask"] == 0] = CLIP.words - 1
    with torch.no_grad():
        one, two = (model(**each, mode="loss")["loss_itc"] for each in (data, other))
    torch.testing.assert_close(one, two)


def test_the_scale_is_frozen_and_limited_in_fine_tuning():
    assert not build().logit_scale.requires_grad
    full = build(name="unipt/clip4clip_msrvtt_full_finetune")
    assert full.logit_scale.requires_grad
    assert all(p.requires_grad for p in full.parameters())
    with torch.no_grad():
        full.logit_scale.fill_(9.0)
    full.train()(**batch(0, 2, 2, 5), mode="loss")
    assert float(full.logit_scale.detach()) == pytest.approx(4.60517, abs=1e-4)


def test_the_side_networks_may_stay_in_float32():
    model, data = build().train(), batch(1, 3, 2, 6)
    seen: dict[str, torch.dtype] = {}
    up = model.adapter.sides["text"].up
    up.register_forward_hook(lambda _, args, out: seen.update(side=out.dtype))
    model.text.model.encoder.layers[0].mlp.fc1.register_forward_hook(
        lambda _, args, out: seen.update(tower=out.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**data, mode="loss")["loss_itc"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert seen == {"side": torch.float32, "tower": torch.bfloat16}
    model.adapter.autocast = True
    with torch.autocast("cpu", torch.bfloat16):
        model(**data, mode="loss")
    assert seen["side"] == torch.bfloat16


@pytest.mark.parametrize(
    "overrides",
    [
        {"pooling": None},
        {"pooling": {"type": "MeanPooling"}},
    ],
)
def test_padded_frames_need_a_place(overrides):
    with pytest.raises(ValueError, match="FeaturePooling"):
        build(**overrides)(**batch(0, 2, 2, 5), mode="loss")


def test_predictions_take_the_mask():
    model, data = build().eval(), batch(5, 3, 3, 6)
    samples = [MultimodalSample(metainfo={"skipped": False}) for _ in range(3)]
    with torch.no_grad():
        found = model(**data, data_samples=samples, mode="predict")
        visual, text = model.features(
            data["pixels"], data["input_ids"], data["attention_mask"], data["frame_mask"]
        )
    rows = torch.stack([sample.similarity for sample in found])
    torch.testing.assert_close(rows, visual @ text.t())
