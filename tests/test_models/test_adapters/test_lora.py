"""LoRA against its formula, and against peft's."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.testing import assert_close

from tests.language_helpers import TASKS, Language, bart, t5
from tests.language_helpers import randomize as randomize_all
from tests.model_helpers import outputs, randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.adapters.lora import LowRank

CFG = {"type": "LoRA", "rank": 3, "alpha": 5.0}
NAMES = {"q": "query", "v": "value"}


def test_table_4_counts_56_million():
    """72 matrices of 768 x 768: q and v of both self-attentions and of cross-attention."""
    counts = count_config("configs/lora/didemo_r512.py")
    assert counts["adapter"] == 56_623_104 == 72 * 512 * (768 + 768)


def test_the_branch_is_its_formula():
    branch, x, out = LowRank(5, 7, 3, 0.5, 0.0), torch.randn(2, 4, 5), torch.randn(2, 4, 7)
    torch.nn.init.normal_(branch.B)
    want = out + 0.5 * torch.einsum("or,ri,bli->blo", branch.B, branch.A, x)
    assert_close(branch(x, out), want)


def test_q_and_v_of_the_fused_matrix_have_a_pair_each_and_k_none():
    model = randomize(tiny_model(adapter=CFG))
    for index, layer in enumerate(model.visual.layers):
        qkv, x = layer.attn.qkv, torch.randn(2, 3, 32)
        term = qkv(x) - torch.nn.functional.linear(x, qkv.weight, qkv.bias)
        assert (term[..., 32:64] == 0).all()
        for name, rows in (("q", slice(0, 32)), ("v", slice(64, 96))):
            pair = model.adapter.layers[f"{index}_visual_{name}"]
            want = 5 / 3 * x @ pair.A.T @ pair.B.T
            assert_close(term[..., rows], want, atol=1e-5, rtol=1e-4)
            assert want.abs().max() > 1e-3


def test_a_matrix_of_two_runs_is_adapted_once():
    model = tiny_model(adapter=CFG)
    names = {name.split("_", 1)[1] for name in model.adapter.layers}
    assert names == {"visual_q", "visual_v", "text_q", "text_v", "fusion_cross_q", "fusion_cross_v"}
    only = tiny_model(adapter={**CFG, "roles": ["fusion"], "layers": "2", "targets": ["o"]})
    assert set(only.adapter.layers) == {"1_fusion_o", "1_fusion_cross_o"}


def test_it_is_what_peft_makes_of_the_same_matrices():
    """BERT alone: peft can't take thirds of a matrix."""
    ours = randomize(tiny_model(adapter={**CFG, "roles": ["text", "fusion"]}, fast=False))
    theirs = tiny_model(adapter=None, fast=False)
    heads = {n: p for n, p in ours.named_parameters() if not n.startswith("adapter.")}
    theirs.load_state_dict(heads, strict=False)
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["query", "value"])
    inject_adapter_in_model(config, theirs.text)
    for name, pair in ours.adapter.layers.items():
        index, role, *rest = name.split("_")
        layer = theirs.text.encoder.layer[int(index)]
        attention = layer.crossattention if rest[0] == "cross" else layer.attention
        module = getattr(attention.self, NAMES[rest[-1]])
        module.lora_A["default"].weight.data = pair.A.data
        module.lora_B["default"].weight.data = pair.B.data
    batch = tiny_batch()
    bare = outputs(tiny_model(adapter=None, fast=False), batch)
    got, want = outputs(ours.eval(), batch), outputs(theirs.eval(), batch)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got[-1], bare[-1], atol=1e-3)


def test_dropout_is_on_the_branch_alone():
    branch = LowRank(5, 5, 3, 1.0, 0.5).train()
    x, out = torch.randn(4, 5), torch.randn(4, 5)
    assert torch.equal(branch(x, out), out)
    torch.nn.init.normal_(branch.B)
    assert not torch.equal(branch(x, out), branch(x, out))
    assert torch.equal(branch.eval()(x, out), branch(x, out))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rank": 0}, "adapter.rank=0 must be an int >= 1"),
        ({"dropout": 1.0}, r"adapter.dropout=1.0 must be in \[0, 1\)"),
        ({"targets": ["qkv"]}, "adapter.targets='qkv' is unknown"),
        ({"targets": ["q", "q"]}, "name at least one, each once"),
        ({"targets": []}, "name at least one, each once"),
        ({"roles": ["decoder"]}, "adapter.roles='decoder' is unknown"),
        ({"layers": "3"}, r"layers \[3\] do not exist"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={**CFG, **options})


def test_merged_weights_are_not_saved_or_trained_by_mistake(tmp_path):
    model = randomize(tiny_model(adapter=CFG)).eval()
    save_adapter(model, tmp_path)
    model.adapter.merge()
    with pytest.raises(ValueError, match="merged already"):
        model.adapter.merge()
    with pytest.raises(ValueError, match="before saving"):
        save_adapter(model, tmp_path / "other")
    with pytest.raises(ValueError, match="before loading"):
        load_adapter(model, tmp_path)
    model.adapter.unmerge()
    with pytest.raises(ValueError, match="is not merged"):
        model.adapter.unmerge()
    load_adapter(model, tmp_path)


PER_TASK = {"type": "LoRA", "rank": 2, "alpha": 3, "share": []}


@pytest.mark.parametrize(("build", "attentions"), [(bart, 6), (t5, 6)])
def test_every_task_can_have_pairs_of_its_own(build, attentions):
    language = build()
    single = Language(copy.deepcopy(language), {**PER_TASK, "share": ["task"]})
    model = Language(language, PER_TASK)
    randomize_all(model.adapter)
    assert len(model.adapter.layers) == 2 * attentions
    names = {name.split("_", 2)[2] for name in model.adapter.layers}
    assert names == {"q", "v", "cross_q", "cross_v"}
    found = {}
    for task in TASKS:
        for name, branch in single.adapter.layers.items():
            branch.load_state_dict(model.adapter.layers[name][task].state_dict())
        with model.tasks.set(task):
            found[task] = model()
            assert_close(found[task], single(), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found["vqa"], found["gqa"], atol=1e-3)
    with model.tasks.set("nlvr"):
        model.loss().backward()
    for name, parameter in model.adapter.named_parameters():
        assert (parameter.grad is not None) == (".nlvr." in name), name


def test_pairs_of_tasks_need_tasks_and_are_not_merged():
    with pytest.raises(ValueError, match="LoRA keeps parameters apart by task, but this model"):
        tiny_model(adapter={**CFG, "share": []})
    with pytest.raises(ValueError, match="adapter.share='layer' is unknown"):
        tiny_model(adapter={**CFG, "share": ["layer"]})
    model = Language(bart(), PER_TASK)
    with pytest.raises(ValueError, match="LoRA has parameters of its own for each of the tasks"):
        model()
    with pytest.raises(ValueError, match="LoRA cannot be merged where every task has a pair"):
        model.adapter.merge()
