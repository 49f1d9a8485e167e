"""Houlsby's and He's adapters against their equations, by hooks on the modules these name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tests.model_helpers import outputs, randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.models.adapters.bottleneck import ACTIVATIONS, Bottleneck

CONFIG = "configs/parallel_adapter/didemo_r512.py"
NORMS = 38_400 + 38_400 + 18_432


def cfg(preset, **options):
    return {"type": "BottleneckAdapter", "preset": preset, "bottleneck": 8, **options}


def term(unit, x, activation, scale):
    hidden = activation(x @ unit.down.weight.T + unit.down.bias)
    return scale * (hidden @ unit.up.weight.T + unit.up.bias)


def sub_layers(model):
    """By site of a role: the module whose output is the sub-layer's, and what reads its input."""
    for index, layer in enumerate(model.visual.layers):
        yield index, "visual_attn", layer.attn.proj, layer.attn
        yield index, "visual_ffn", layer.ffn.layers, layer.ffn.layers
    for index, layer in enumerate(model.text.encoder.layer):
        yield index, "text_attn", layer.attention.output.dense, layer.attention.self
        yield index, "text_ffn", layer.output.dense, layer.intermediate
        yield index, "fusion_cross", layer.crossattention.output.dense, layer.crossattention.self


def hooked(adapted, activation, scale, sequential):
    """A bare model with the adapters' terms by hooks; texts and fusion use the same ones."""
    model = tiny_model(adapter=None, fast=False)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name in own:
                own[name].copy_(parameter)
    for index, name, last, reader in sub_layers(model):
        if name not in adapted.adapter.layers[str(index)]:
            continue
        unit, seen = adapted.adapter.layers[str(index)][name], []
        reader.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        last.register_forward_hook(
            lambda _, __, y, unit=unit, seen=seen: (
                y + term(unit, y if sequential else seen[-1], activation, scale)
            )
        )
    return model.eval()


def gelu(x):
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(
    ("preset", "activation", "scale"), [("houlsby", gelu, 1.0), ("parallel", torch.relu, 4.0)]
)
def test_terms_are_where_the_paper_has_them(preset, activation, scale):
    options = {"train_norms": False} if preset == "houlsby" else {}
    adapted = randomize(tiny_model(adapter=cfg(preset, **options), fast=False), std=0.1).eval()
    # The reference knows one adapter a layer for both runs of BERT.
    for group in adapted.adapter.layers.values():
        for name in [name for name in group if name.startswith("fusion_") and "cross" not in name]:
            group[name].load_state_dict(group[name.replace("fusion", "text")].state_dict())
    model, batch = hooked(adapted, activation, scale, preset == "houlsby"), tiny_batch()
    bare = outputs(tiny_model(adapter=None, fast=False).eval(), batch)
    got, want = outputs(adapted, batch), outputs(model, batch)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, atol=2e-5, rtol=2e-5)
    assert not torch.allclose(want[-1], bare[-1], atol=1e-3)


def test_trained_norms_are_norms_of_other_weights():
    adapted = randomize(tiny_model(adapter=cfg("houlsby", scale=0.0), fast=False), std=0.1).eval()
    shifts = {n.replace("/", "."): p for n, p in adapted.adapter.norms.named_parameters()}
    plain = tiny_model(adapter=None, fast=False).eval()
    with torch.no_grad():
        frozen = dict(adapted.named_parameters())
        for name, parameter in plain.named_parameters():
            parameter.copy_(frozen[name] + shifts.pop(name, 0))
    assert not shifts
    for one, other in zip(*(outputs(m, tiny_batch()) for m in (adapted, plain)), strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_pfeiffers_is_inside_the_last_norm_of_what_that_norm_gives():
    adapted = randomize(tiny_model(adapter=cfg("pfeiffer"), fast=False), std=0.1).eval()
    model, batch = tiny_model(adapter=None, fast=False).eval(), tiny_batch()
    frozen = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(frozen[name])

    def pre(index):
        unit = adapted.adapter.layers[str(index)]["visual_out"]
        return lambda _, __, y: y + term(unit, y, torch.relu, 1.0)

    def post(index):
        # A layer of BERT is run by itself once for texts and once for pairs.
        def hook(block, args, y):
            role = "text" if len(runs) == 1 else "fusion"
            unit = adapted.adapter.layers[str(index)][f"{role}_out"]
            return block.LayerNorm(block.dense(args[0]) + args[1] + term(unit, y, torch.relu, 1.0))

        return hook

    for index, layer in enumerate(model.visual.layers):
        layer.register_forward_hook(pre(index))
    for index, layer in enumerate(model.text.encoder.layer):
        layer.output.register_forward_hook(post(index))
    runs = []
    model.text.embeddings.register_forward_hook(lambda *_: runs.append(1))
    for one, other in zip(outputs(adapted, batch), outputs(model, batch), strict=True):
        assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_bottleneck_is_its_formula(name):
    unit, x = Bottleneck(6, 3, name, 0.3, 0.0, "near_zero"), torch.randn(2, 4, 6)
    want = {
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu_tanh": gelu,
        "silu": F.silu,
        "none": nn.Identity(),
    }
    for parameter in unit.parameters():
        nn.init.normal_(parameter)
    assert_close(unit(x), term(unit, x, want[name], 0.3), atol=1e-5, rtol=1e-5)


def test_the_inits_of_both_papers():
    near = Bottleneck(768, 64, init="near_zero")
    for weight in (near.down.weight, near.up.weight):
        # A normal cut off at two of its deviations has 0.88 of them.
        assert weight.abs().max() <= 2e-3
        assert float(weight.detach().std()) == pytest.approx(0.88e-3, rel=0.05)
    normal = Bottleneck(768, 64, init="normal")
    for weight in (normal.down.weight, normal.up.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    zero = Bottleneck(768, 64)
    assert not zero.up.weight.any()
    assert float(zero.down.weight.detach().std()) == pytest.approx(1 / (3 * 768) ** 0.5, rel=0.05)
    assert not any(linear.bias.any() for unit in (near, zero) for linear in (unit.down, unit.up))


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({}, 28_357_632),
        ({"share_text": True}, 18_905_088),
        ({"layers": "5-12"}, 18_905_088),
        ({"roles": ["visual"]}, 9_452_544),
        ({"preset": "pfeiffer"}, 28_357_632),
        ({"preset": "pfeiffer", "share_text": True}, 18_905_088),
        ({"preset": "houlsby"}, 66_167_808 + NORMS),
        ({"preset": "houlsby", "share_text": True}, 47_262_720 + NORMS),
        ({"preset": "houlsby", "tied": True, "train_norms": False}, 28_357_632),
        ({"preset": "houlsby", "sites": ["attn"], "train_norms": False}, 28_357_632),
    ],
)
def test_counts_are_those_of_the_readings(options, adapter):
    counts = count_config(CONFIG, {f"model.adapter.{key}": v for key, v in options.items()})
    assert counts["adapter"] == adapter


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "pfeifer"}, "adapter.preset='pfeifer' is unknown"),
        ({"sites": ["mid"]}, "adapter.sites='mid' is unknown"),
        ({"sites": ["ffn", "ffn"]}, "name at least one, each once"),
        ({"roles": ["decoder"]}, "adapter.roles='decoder' is unknown"),
        ({"roles": ["visual"], "sites": ["cross"]}, "of which this model has none"),
        ({"roles": ["visual"], "share_text": True}, "adapter.share_text=True, but no layer"),
        ({"bottleneck": 0}, "adapter.bottleneck=0 must be an int >= 1"),
        ({"activation": "tanh"}, "adapter.activation='tanh' is unknown"),
        ({"reads": "both"}, "adapter.reads='both' is unknown"),
        ({"init": "ones"}, "adapter.init='ones' is unknown"),
        ({"dropout": 1.5}, r"adapter.dropout=1.5 must be in \[0, 1\)"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={**cfg("parallel"), **options})
