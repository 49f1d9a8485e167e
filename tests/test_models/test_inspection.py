"""What is shown of a model is what it computes, and looking changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests import clip_vil_helpers
from tests.clip_vil_helpers import draw_batch
from tests.model_helpers import outputs, randomize, same, tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models as towers
from uniadapter.models.inspection import (
    adapted_sites,
    attention_maps,
    plainly,
    run_pairs,
    site_states,
    watched,
)

UNIADAPTER = {"type": "UniAdapter", "bottleneck": 4}
PREFIX = {"type": "MAM", "prefix": 3, "bottleneck": 4}
PROMPT = {"type": "Prompt", "text": 3, "visual": 2}
LORA = {"type": "LoRA", "rank": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return towers.write_files(tmp_path_factory.mktemp("files"))


def arguments(model: Any, seed: int = 1) -> tuple[torch.Tensor, ...]:
    batch = tiny_batch(seed=seed)
    return batch["pixels"], batch["input_ids"], batch["attention_mask"]


@pytest.mark.parametrize("adapter", [None, UNIADAPTER, PREFIX, PROMPT, LORA], ids=str)
@pytest.mark.parametrize("build", [towers.blip_video, towers.albef, towers.vqa, towers.albef_vqa])
def test_maps_are_what_cross_attention_multiplies_values_by(build: Any, adapter: Any, files: Path):
    model = build(adapter, files).eval()
    if adapter is not None:
        randomize(model, std=0.1)
    given: list[tuple[Any, ...]] = []
    hooks = [
        layer.crossattention.self.register_forward_hook(lambda m, a, out: given.append((m, a, out)))
        for layer in model.text.role_layers("fusion")
    ]
    pixels, ids, mask = arguments(model)
    maps, weights = attention_maps(model, pixels, ids, mask)
    for hook in hooks:
        hook.remove()
    layers = len(model.text.role_layers("fusion"))
    assert maps.shape[:2] == (layers, 3)
    assert maps.shape[3:5] == (6, 2)
    assert (weights is None) == (getattr(model, "pfa", None) is None)
    for number, (module, (_, index, _, memory, keys), out) in enumerate(given):
        value = memory.projected(module, index)[1].expand(3, -1, -1, -1)
        read = module.merge(maps[number].flatten(3) @ value)
        own = keys.own() if keys.filled else None
        extra = out.shape[1] - ids.shape[1]
        out = torch.cat((out[:, :1], out[:, 1 + extra :]), 1)
        sums = maps[number].sum((-1, -2))
        if own is None:
            assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)
            assert torch.allclose(read, out, atol=1e-4)
        else:
            # The rest goes to what the prefix put in front.
            assert (sums < 1).all()


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_weights_are_those_of_pfa(variant: str):
    model = randomize(tiny_model(pfa={"type": "FrameAwareAttention", "variant": variant})).eval()
    pixels, ids, mask = arguments(model)
    weights = attention_maps(model, pixels, ids, mask)[1]
    with torch.no_grad():
        tokens, _, frames = model.encode_visual(pixels)
        states, features = model.encode_text(ids, mask)
    for row in range(3):
        if variant == "released":
            wanted = 2 * F.softmax(frames[row] @ features[row] / 4, 0)
        else:
            wanted = F.softmax(tokens[row, :, 0] @ states[row, 0], 0)
        assert torch.allclose(weights[row], wanted, atol=1e-5)


def test_looking_changes_nothing():
    model = randomize(tiny_model(adapter=UNIADAPTER)).train()
    before, fast, places = outputs(model, tiny_batch()), model.fast, model.places()
    attention_maps(model, *arguments(model))
    sites = {**adapted_sites(places), "visual.attn": 0}
    site_states(model, *arguments(model), sites)
    with pytest.raises(RuntimeError, match="inside"), watched(places, sites):
        raise RuntimeError("inside")
    assert model.training
    assert model.fast is fast
    assert not places.slots["visual.attn"][0].filled
    assert same(outputs(model, tiny_batch()), before)
    assert not any(p.grad is not None for p in model.parameters())


def test_inputs_hidden_states_and_terms_are_those_of_the_adapter():
    model = randomize(tiny_model(adapter=UNIADAPTER)).eval()
    names = {
        "visual.after_self": "visual",
        "text.after_self": "text",
        "fusion.after_self": "text",
        "fusion.after_cross": "cross",
    }
    sites = adapted_sites(model.places())
    assert sites == dict.fromkeys(names, 1)
    parts = {w: {} for w in ("input", "hidden", "term")}
    with plainly(model):
        for what, found in parts.items():
            with watched(model.places(), sites, model.adapter, what) as seen:
                run_pairs(model, *arguments(model))
            found.update({site: states[-1] for site, states in seen.items()})
            assert all(len(states) == 1 for states in seen.values())
    layer = model.adapter.layers["1"]
    for site, use in names.items():
        x = parts["input"][site]
        with torch.no_grad():
            assert torch.equal(parts["term"][site], layer(x, use=use))
            down = layer.down[layer._down_of[use]]
            assert torch.equal(parts["hidden"][site], F.relu(down(x)))


def test_a_state_an_example_is_that_of_its_first_token_or_the_mean():
    model = randomize(tiny_model(adapter=UNIADAPTER)).eval()
    pixels, ids, mask = arguments(model)
    seen: dict[str, list[torch.Tensor]] = {"norm": [], "text": []}
    layer, text = model.visual.layers[-1], model.text.encoder.layer[-1]
    hooks = [
        layer.ln2.register_forward_pre_hook(lambda _, a: seen["norm"].append(a[0])),
        text.attention.output.register_forward_hook(lambda *a: seen["text"].append(a[-1])),
    ]
    sites = {"visual.after_self": 1, "text.after_self": 1}
    first = site_states(model, pixels, ids, mask, sites)
    mean = site_states(model, pixels, ids, mask, sites, tokens="mean")
    for hook in hooks:
        hook.remove()
    images = seen["norm"][0].unflatten(0, (3, 2))
    assert torch.allclose(first["visual.after_self"], images[:, :, 0].mean(1))
    assert torch.allclose(mean["visual.after_self"], images.mean((1, 2)), atol=1e-6)
    for row in range(3):
        words = seen["text"][0][row]
        assert torch.allclose(first["text.after_self"][row], words[0])
        wanted = words[mask[row].bool()].mean(0)
        assert torch.allclose(mean["text.after_self"][row], wanted, atol=1e-6)


@pytest.mark.parametrize("adapter", [None, UNIADAPTER, PROMPT], ids=str)
@pytest.mark.parametrize(
    "build", [towers.blip_two_widths, towers.clip, towers.beit3, towers.vqa, towers.caption]
)
def test_every_model_has_states_to_show(build: Any, adapter: Any, files: Path):
    if adapter is PROMPT and build is towers.caption:
        pytest.skip("a prompt of texts needs a text")
    if adapter is UNIADAPTER and build in (towers.clip, towers.beit3):
        adapter = {**adapter, "towers": ["visual", "text"]}
    model = build(adapter, files).eval()
    sites = adapted_sites(model.places())
    for tokens in ("first", "mean"):
        found = site_states(model, *arguments(model), sites, tokens=tokens)
        assert set(found) == {s for s in sites if not s.startswith("decoder.")}
        assert all(states.shape[0] == 3 and states.isfinite().all() for states in found.values())


def test_a_stream_of_text_and_picture_has_first_tokens_to_show():
    model, batch = clip_vil_helpers.small_model(adapter=None).eval(), draw_batch(0, [3, 5], 2, 2)
    given = (batch["pixels"], batch["input_ids"], batch["attention_mask"])
    sites = adapted_sites(model.places())
    assert site_states(model, *given, sites)["fusion.after_self"].shape == (2, 8)
    with pytest.raises(ValueError, match="has other tokens beside those of the texts"):
        site_states(model, *given, sites, tokens="mean")
    with pytest.raises(ValueError, match="AnswerClassModel has no cross-attention"):
        attention_maps(model, *given)


def test_what_cannot_be_shown_is_said(files: Path):
    with pytest.raises(ValueError, match="no cross-attention in which texts read media"):
        attention_maps(towers.clip(None, files), *arguments(None))
    model = tiny_model(adapter=UNIADAPTER)
    with pytest.raises(ValueError, match="layer=9: the adapter reads nothing there; .* 1 to 2"):
        adapted_sites(model.places(), 9)
    with pytest.raises(ValueError, match="no layer 5 of a site 'visual.ffn'"):
        site_states(model, *arguments(model), {"visual.ffn": 4})
    with pytest.raises(ValueError, match="no layer 1 of a site 'visual.keys'"):
        site_states(model, *arguments(model), {"visual.keys": 0})
    with pytest.raises(ValueError, match="nothing fills visual.ffn; look at its input"):
        site_states(model, *arguments(model), {"visual.ffn": 0}, "term")
    with pytest.raises(ValueError, match="nothing at visual.ffn has a bottleneck"):
        site_states(model, *arguments(model), {"visual.ffn": 0}, "hidden")
    with pytest.raises(ValueError, match="what='weights' is unknown"):
        site_states(model, *arguments(model), {"visual.ffn": 0}, "weights")
