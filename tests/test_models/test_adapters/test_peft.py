"""peft's methods on the towers' matrices."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import outputs, randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.state import backbone_fingerprint
from uniadapter.models.adapters.peft import SiteLinear
from uniadapter.models.linears import LinearSite

CONFIG = "configs/peft/didemo_{}.py"
# All that start as the frozen model, with options that fit a width of 32.
METHODS = {
    "LORA": {"r": 3},
    "ADALORA": {"init_r": 3},
    "VERA": {"r": 8},
    "LOHA": {"r": 2},
    "LOKR": {"r": 2},
    "OFT": {"oft_block_size": 4, "r": 0},
    "MISS": {"r": 4},
}


def cfg(kind, targets=("q", "v"), feedforward=None, **config):
    found = {"type": "PeftAdapter", "config": {"peft_type": kind, **config}}
    return {**found, "targets": list(targets), "feedforward": feedforward}


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_starts_frozen_trains_all_it_has_and_merges(kind):
    model, batch = tiny_model(adapter=cfg(kind, **METHODS[kind]), fast=False).eval(), tiny_batch()
    plain = tiny_model(adapter=None, fast=False).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    for one, other in zip(outputs(model, batch), outputs(plain, batch), strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)
    randomize(model, std=0.1)
    sum(model.train()(**batch, mode="loss").values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    want = outputs(model.eval(), batch)
    assert not torch.allclose(want[-1], outputs(plain, batch)[-1], atol=1e-4)
    model.adapter.merge()
    for one, other in zip(outputs(model, batch), want, strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-4)
    model.adapter.unmerge()
    assert all(map(torch.equal, outputs(model, batch), want))


def test_towers_keep_names_values_and_fingerprint(tmp_path):
    model, plain = tiny_model(adapter=cfg("VERA", r=8)), tiny_model(adapter=None)
    state = model.state_dict()
    assert set(plain.state_dict()) <= set(state)
    assert {n for n in set(state) - set(plain.state_dict()) if not n.startswith("ema.")} == {
        name for name in state if name.startswith("adapter.")
    }
    assert all("vera_lambda" in name for name in state if name.startswith("adapter."))
    plain.load_state_dict(state, strict=False)
    assert backbone_fingerprint(model) == backbone_fingerprint(plain)
    save_adapter(model, tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["method"] == "PeftAdapter"
    assert saved["options"]["config"] == {"peft_type": "VERA", "r": 8}
    # A field that is written out and has its default is no difference, another method is one.
    same = tiny_model(adapter=cfg("VERA", r=8, d_initial=0.1, vera_dropout=0.0))
    same.load_state_dict(state, strict=False)
    load_adapter(same, tmp_path)
    with pytest.raises(ValueError, match=r"adapter.config: file .*VERA.* model .*'r': 4"):
        load_adapter(tiny_model(adapter=cfg("VERA", r=4)), tmp_path)


@pytest.mark.parametrize("trained", [False, True])
def test_magnitudes_follow_a_loaded_backbone_until_they_are_trained(trained):
    model = tiny_model(adapter=cfg("LORA", r=3, use_dora=True), fast=False).eval()
    if trained:
        randomize(model, std=0.1)
    before = {name: p.clone() for name, p in model.adapter.named_parameters()}
    backbone = tiny_model(seed=5, adapter=None, fast=False).eval()
    model.load_state_dict(backbone.state_dict(), strict=False)
    same = {n: torch.equal(p, before[n]) for n, p in model.adapter.named_parameters()}
    assert all(same[name] for name in same if trained or "magnitude" not in name)
    got, want = outputs(model, tiny_batch()), outputs(backbone, tiny_batch())
    close = [torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(got, want, strict=True)]
    assert all(close) != trained


@settings(max_examples=draws(8))
@given(fused=st.booleans(), given_output=st.booleans())
def test_a_matrix_as_peft_sees_it(fused, given_output):
    linear = nn.Linear(4, 6)
    base = SiteLinear(LinearSite(linear, (2, 4) if fused else None))
    rows = slice(2, 4) if fused else slice(None)
    x = torch.randn(3, 4)
    want = F.linear(x, linear.weight[rows], linear.bias[rows])
    assert_close(base(x), want)
    assert not list(base.parameters())
    assert (base.in_features, base.out_features) == (4, 2 if fused else 6)
    base.given = (x if given_output else x.clone(), want + 1)
    assert torch.equal(base(x), want + 1 if given_output else base(x.clone()))


@pytest.mark.parametrize(
    ("config", "adapter"),
    [
        ("dora_r512", 56_623_104 + 72 * 768),
        ("vera_r256", 73_728),
        ("ia3", 72 * 768 + 24 * 3_072),
        ("adalora_r512", 56_623_104 + 72 * 512),
    ],
)
def test_counts(config, adapter):
    assert count_config(CONFIG.format(config))["adapter"] == adapter


@pytest.mark.parametrize(
    ("adapter", "match"),
    [
        (cfg("LORRA"), "adapter.config.peft_type='LORRA' is none of peft's methods on layers"),
        (cfg("PROMPT_TUNING"), "peft_type='PROMPT_TUNING' is none"),
        (cfg("LORA", rank=3), "adapter.config.rank is no field of peft's LoraConfig"),
        (cfg("LORA", target_modules=["q"]), "modules are chosen by adapter.targets"),
        (cfg("LORA", init_lora_weights="pissa"), "takes a part out of the frozen weights"),
        (cfg("LORA", feedforward=["q"]), "adapter.feedforward: LORA has no such modules"),
        (cfg("IA3"), "adapter.feedforward: IA3 needs such modules"),
        (
            cfg("IA3", feedforward=["fc2"]),
            r"adapter.feedforward=\['fc2'\] are none of adapter.targ",
        ),
        (cfg("ADALORA", init_r=3, r=5), r"does not read \['r'\]"),
        (cfg("LN_TUNING"), "does not leave a frozen linear layer as it is"),
        (cfg("LORA", targets=["query"]), "adapter.targets='query' is unknown"),
    ],
)
def test_wrong_options_name_the_key(adapter, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter=adapter)
