"""Hyperformer: generated projections against their formula, counts, and what tasks have apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.language_helpers import TASKS, Language, bart, randomize
from uniadapter.models.active_task import ActiveTask
from uniadapter.models.adapters import Hyperformer
from uniadapter.models.sites import LayerSites, Places

SMALL = {"embedding": 12, "hidden": 6, "latent": 3, "reduction_factor": 4}
ROWS = {"ffn": 0, "attn": 1, "cross": 2}


def toy(tasks: Any = TASKS, width: int = 16) -> Places:
    places = Places(tasks=None if tasks is None else ActiveTask(tasks))
    for role, names in (("text", ("attn", "ffn")), ("decoder", ("attn", "cross", "ffn"))):
        places.add(role, [(i, LayerSites.of(width, *names)) for i in range(3)])
    return places


@settings(max_examples=draws(8))
@given(st.sampled_from(["unique", "one"]), st.booleans(), st.integers(0, 99))
def test_projections_are_what_the_network_gives(variant, shared, seed):
    torch.manual_seed(seed)
    places = toy()
    share = ["task"] if shared else []
    adapter = Hyperformer(places, variant=variant, share=share, **SMALL)
    randomize(adapter, seed)
    state, x = adapter.state_dict(), torch.randn(2, 5, 16)
    for address, layers in places.slots.items():
        role, site = address.split(".")
        for layer, slot in layers.items():
            for task in TASKS:
                p = f"networks.{role}."
                seen = [state[f"tasks.{'shared' if shared else task}"]]
                seen.append(state[p + "layers.weight"][layer])
                if variant == "one":
                    seen.append(state[p + "blocks.weight"][ROWS[site]])
                hidden = state[p + "inner.weight"] @ torch.cat(seen) + state[p + "inner.bias"]
                z = state[p + "outer.weight"] @ hidden.clamp(min=0) + state[p + "outer.bias"]
                z = F.layer_norm(z, (3,), state[p + "norm.weight"], state[p + "norm.bias"], 1e-6)
                g = p + f"generators.{site if variant == 'unique' else 'shared'}."
                flat = {
                    name: state[f"{g}{name}.weight"] @ z + state[f"{g}{name}.bias"]
                    for name in ("down_weight", "down_bias", "up_weight", "up_bias")
                }
                down, up = flat["down_weight"].reshape(4, 16), flat["up_weight"].reshape(16, 4)
                inner = F.gelu(x @ down.T + flat["down_bias"], approximate="tanh")
                want = x + inner @ up.T + flat["up_bias"]
                with places.tasks.set(task):
                    assert_close(slot.add(x, x), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["unique", "one"])
def test_counts_are_those_of_the_formula(variant):
    adapter = Hyperformer(toy(), variant=variant, latent=8, reduction_factor=4)
    a, p, layers = 2 * 16 * 4 + 4 + 16, 8, 3
    want = 512 * 4
    for types in (2, 3):
        seen = 1024 if variant == "unique" else 1536
        want += 512 * layers + (seen * 128 + 128) + (128 * p + p) + 2 * p
        want += types * (p + 1) * a if variant == "unique" else 1536 + (p + 1) * a
    assert sum(parameter.numel() for parameter in adapter.parameters()) == want


def test_it_starts_as_published():
    torch.manual_seed(0)
    bart_like = Hyperformer(toy())
    t5_like = Hyperformer(toy(), linear_std=0.01, embedding_std=1.0)
    for adapter, linear, embedding in ((bart_like, 0.02, 0.02), (t5_like, 0.01, 1.0)):
        network: Any = adapter.networks["decoder"]
        assert float(network.inner.weight.detach().std()) == pytest.approx(linear, rel=0.05)
        assert float(network.layers.weight.detach().std()) == pytest.approx(embedding, rel=0.1)
        stacked = torch.stack(list(adapter.tasks.values()))
        assert float(stacked.detach().std()) == pytest.approx(1, rel=0.1)
        assert torch.equal(network.norm.weight, torch.ones(8))
        biases = [t for n, t in network.named_parameters() if n.endswith("bias")]
        assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("task", TASKS[:2])
def test_a_batch_of_a_task_reaches_its_embedding_and_what_all_share(task):
    model = Language(bart(), {"type": "Hyperformer", **SMALL})
    with model.tasks.set(task):
        model.loss().backward()
    for name, parameter in model.adapter.named_parameters():
        assert (parameter.grad is None) == (name.startswith("tasks.") and name != f"tasks.{task}")
    with pytest.raises(ValueError, match="Hyperformer has parameters of its own for each"):
        model()


def test_layers_that_are_left_out_have_no_embedding():
    adapter = Hyperformer(toy(), layers=[1, 3], **SMALL)
    assert adapter.networks["text"].layers.weight.shape == (2, 12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "Hyperformer keeps parameters apart by task, but this model has no tasks"),
        ({"share": ["layer"]}, "adapter.share='layer' is unknown"),
        ({"share": ["task"], "variant": "two"}, "adapter.variant='two' is unknown"),
        ({"share": ["task"], "latent": 0}, "adapter.latent=0 must be an int >= 1"),
        ({"share": ["task"], "linear_std": 0}, "adapter.linear_std=0 must be above 0"),
    ],
)
def test_options_that_do_nothing_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        Hyperformer(toy(None), **options)


def test_sites_are_sub_layers_of_one_width():
    places = Places()
    places.add("visual", [(i, LayerSites.of(8 * (i + 1), "attn", "out")) for i in range(2)])
    with pytest.raises(ValueError, match=r"layers of 'visual' have the widths \[8, 16\]"):
        Hyperformer(places, share=["task"], bottleneck=4)
    with pytest.raises(ValueError, match="adapter.sites='out' is unknown"):
        Hyperformer(places, share=["task"], bottleneck=4, sites=["out"])
