"""Norms and biases of towers trained in place, beside any adapter or none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.model_helpers import outputs, randomize, same, sgd_steps, tiny_batch, tiny_model
from tests.t5_helpers import seq2seq
from tests.test_models.test_adapters.contract_models import pairs_loss
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.state import backbone_fingerprint, trained_state_dict
from uniadapter.models.components import count_parameters

ADAPTER: dict[str, Any] = {"type": "VLAdapter", "bottleneck": 4}


def names_of(model: Any, norms: bool, biases: bool) -> set[str]:
    """Names in the towers, by what a module is."""
    found = set()
    for tower in ("visual", "text"):
        for path, module in getattr(model, tower).named_modules():
            for name, _ in module.named_parameters(recurse=False):
                is_norm = isinstance(module, nn.LayerNorm)
                if (norms and is_norm) or (biases and name == "bias"):
                    found.add(f"{tower}.{path}.{name}")
    return found


@pytest.mark.parametrize("adapter", [None, ADAPTER, {"type": "LoRA", "rank": 2}])
@pytest.mark.parametrize(("norms", "biases"), [(True, False), (False, True), (True, True)])
def test_a_step_trains_what_is_said_and_the_rest_of_what_is_trained(adapter, norms, biases):
    model = tiny_model(adapter=adapter, train_norms=norms, train_biases=biases).train()
    plain = tiny_model(adapter=adapter)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    # Of what nobody reads, such as the norm of a text that ends in fusion, there is no gradient.
    sgd_steps(model, tiny_batch(), steps=1)
    wanted = names_of(model, norms, biases)
    assert set(trained_state_dict(model)) == set(trained_state_dict(plain)) | wanted
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved <= set(trained_state_dict(model))
    assert len(moved & wanted) > 0.7 * len(wanted)
    counts, bare = count_parameters(model), count_parameters(plain)
    size = sum(before[name].numel() for name in wanted)
    assert counts.get("norms", 0) + counts.get("biases", 0) == size
    assert counts["total"] == bare["total"]
    assert counts["trainable"] == bare["trainable"] + size
    assert counts["backbone"] == bare["backbone"] - size


def test_what_is_trained_of_a_tower_is_saved_averaged_and_no_part_of_its_fingerprint(tmp_path):
    model = tiny_model(adapter=ADAPTER, train_norms=True)
    fingerprint = backbone_fingerprint(model)
    averaged = set(model.ema.averages())
    assert averaged >= {name for name in names_of(model, True, False) if "visual" in name}
    other = copy.deepcopy(model).eval()
    randomize(model, std=0.1).eval()
    assert backbone_fingerprint(model) == fingerprint
    save_adapter(model, tmp_path)
    load_adapter(other, tmp_path)
    assert same(outputs(other, tiny_batch()), outputs(model, tiny_batch()))
    with pytest.raises(ValueError, match="layer|norm|ln"):
        load_adapter(tiny_model(adapter=ADAPTER), tmp_path)


def test_norms_of_another_library_are_norms():
    model = seq2seq({"type": "VLAdapter", "bottleneck": 4}, train_norms=True)
    counts = count_parameters(model)
    norms = [p for n, p in model.text.named_parameters() if "layer_norm" in n]
    assert counts["norms"] == sum(p.numel() for p in norms)
    assert all(p.requires_grad for p in norms)
    with pytest.raises(ValueError, match="train_biases=True, but these towers have no biases"):
        seq2seq(None, train_biases=True)


@pytest.mark.parametrize("part", ["norms", "biases"])
def test_what_would_train_nothing_or_the_same_twice_is_refused(part):
    option = {f"train_{part}": True}
    with pytest.raises(ValueError, match=f"train_backbone=True trains all: leave out.*{part}"):
        tiny_model(adapter=None, train_backbone=True, **option)
    with pytest.raises(ValueError, match=f"UniPT reads .* model.train_{part}=True would train"):
        tiny_model(adapter={"type": "UniPT"}, **option)
    houlsby = {"type": "BottleneckAdapter", "preset": "houlsby"}
    adapter: Any = houlsby if part == "norms" else {"type": "BitFit"}
    with pytest.raises(ValueError, match=f"train_{part}=True trains {part} in place, of which the"):
        tiny_model(adapter=adapter, **option)


@pytest.mark.parametrize("options", [{"fast": True}, {"grad_checkpointing": True, "fast": False}])
def test_gradients_are_those_of_the_plain_way(options):
    found = []
    for given in ({"fast": False}, options):
        model = tiny_model(adapter=ADAPTER, train_norms=True, train_biases=True, **given)
        pairs_loss(randomize(model, std=0.1).train()).backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, want in found[0].items():
        if want is None:
            assert found[1][name] is None, name
            continue
        scale = float(want.abs().max().clamp(min=1e-3))
        assert_close(found[1][name] / scale, want / scale, atol=2e-4, rtol=0, msg=name)
