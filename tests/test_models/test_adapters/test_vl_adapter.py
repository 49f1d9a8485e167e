"""VL-Adapter's bottlenecks: their equation, what tasks share, and where they act in BART and T5."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.language_helpers import TASKS, Language, bart, logits, randomize, t5
from tests.model_helpers import outputs, tiny_batch, tiny_model
from tests.model_helpers import randomize as randomize_model
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.active_task import ActiveTask
from uniadapter.models.adapters import VLAdapter
from uniadapter.models.backbones.libraries import recompute
from uniadapter.models.sites import LayerSites, Places

SCHEMES: dict[str, dict[str, list[str]]] = {
    "multiple": {"down": [], "up": []},
    "half_shared": {"down": [], "up": ["task"]},
    "half_shared_down": {"down": ["task"], "up": []},
    "single": {"down": ["task"], "up": ["task"]},
}
KINDS: dict[str, Any] = {
    "linear": "linear",
    "phm": {"type": "phm", "k": 2},
    "phm_position": {"type": "phm", "k": 2, "rule": "position"},
    "phm_model": {"type": "phm", "k": 4, "rule": "model", "rank": 1},
    "low_rank": {"type": "low_rank", "rank": 2},
}


def toy(tasks: Any = TASKS) -> Places:
    """Two runs of two layers."""
    places = Places(tasks=None if tasks is None else ActiveTask(tasks))
    for role, names in (("text", ("attn", "ffn")), ("decoder", ("attn", "cross", "ffn"))):
        places.add(role, [(i, LayerSites.of(16, *names)) for i in range(2)])
    return places


def gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def project(module: Any, x: torch.Tensor, rule: Any) -> torch.Tensor:
    """A projection of any kind written out."""
    state = dict(module.named_parameters())
    if "weight" in state:
        return x @ state["weight"].T + state["bias"]
    if "rule.A" in state or rule is not None:
        a = state.get("rule.A", rule)
        whole = state["W"] if "W" in state else state["L"] @ state["R"]
        return x @ sum(torch.kron(p, q) for p, q in zip(a, whole, strict=True)) + state["b"]
    return x @ state["L"] @ state["R"] + state["b"]


@settings(max_examples=draws(15))
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.sampled_from(sorted(KINDS)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from(["output", "input"]),
    st.integers(0, 99),
)
def test_terms_are_what_the_equation_says(scheme, kind, pre, post, scale, reads, seed):
    torch.manual_seed(seed)
    places, share = toy(), SCHEMES[scheme]
    adapter = VLAdapter(
        places,
        share=share,
        projection=KINDS[kind],
        reduction_factor=4,
        pre_norm=pre,
        post_norm=post,
        scale=scale,
        reads=reads,
    )
    randomize(adapter, seed)
    y, given_ = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    x = y if reads == "output" else given_
    for (address, layers), task in product(places.slots.items(), TASKS):
        role, site = address.split(".")
        for layer, slot in layers.items():
            at = f"{layer}_{role}_{site}"
            parts = {}
            for side in ("down", "up"):
                name = at if "task" in share[side] else f"{at}_{task}"
                common = dict(adapter.common.items())
                rule = common["rule"].A if "rule" in common else None
                rule = common[side][at].A if side in common else rule
                parts[side] = (getattr(adapter, side)[name], rule)
            norms = [
                dict(n.items())[at] if n is not None else None
                for n in (adapter.pre_norm, adapter.post_norm)
            ]
            seen = x if norms[0] is None else F.layer_norm(x, (16,), *norms[0].parameters())
            down, up = parts["down"], parts["up"]
            want = project(up[0], gelu(project(down[0], seen, down[1])), up[1])
            if norms[1] is not None:
                want = F.layer_norm(want, (16,), *norms[1].parameters())
            with places.tasks.set(task):
                assert_close(slot.add(y, y, given_), y + scale * want, atol=2e-5, rtol=2e-5)


def count(scheme: str, kind: str, t: int = 4, n: int = 10, d: int = 16, b: int = 4) -> int:
    """Parameters by the formulas of the specification."""
    downs, ups = (1 if "task" in SCHEMES[scheme][side] else t for side in ("down", "up"))
    if kind == "linear":
        return n * (downs * (d * b + b) + ups * (b * d + d))
    if kind == "low_rank":
        return n * (downs * (2 * (d + b) + b) + ups * (2 * (d + b) + d))
    if kind == "phm_model":
        return n * (downs * ((d + b) + b) + ups * ((d + b) + d)) + 4**3
    rules = downs + ups if kind == "phm" else 2
    return n * (downs * (d * b // 2 + b) + ups * (d * b // 2 + d) + rules * 2**3)


@pytest.mark.parametrize(("scheme", "kind"), list(product(SCHEMES, KINDS)))
def test_counts_are_those_of_the_formulas(scheme, kind):
    adapter = VLAdapter(toy(), share=SCHEMES[scheme], projection=KINDS[kind], reduction_factor=4)
    assert sum(p.numel() for p in adapter.parameters()) == count(scheme, kind)
    # No tensor under two names.
    assert len(dict(adapter.named_parameters(remove_duplicate=False))) == len(
        dict(adapter.named_parameters())
    )


@settings(max_examples=draws(8))
@given(st.sampled_from(sorted(SCHEMES)), st.sampled_from(sorted(KINDS)), st.sampled_from(TASKS))
def test_a_batch_of_a_task_leaves_the_others_tensors_alone(scheme, kind, task):
    model = Language(
        bart(),
        {
            "type": "VLAdapter",
            "share": SCHEMES[scheme],
            "projection": KINDS[kind],
            "reduction_factor": 4,
            "post_norm": True,
        },
    )
    with model.tasks.set(task):
        model.loss().backward()
    for name, parameter in model.adapter.named_parameters():
        others = [t for t in TASKS if t != task and f"_{t}." in f"{name}."]
        assert (parameter.grad is None) == bool(others), name
    assert all(p.grad is None for p in model.model.parameters())


@pytest.mark.parametrize("build", [bart, t5])
def test_positions_of_language_models_are_behind_sub_layers_before_residual(build):
    torch.manual_seed(0)
    model = Language(build(), {"type": "VLAdapter", "share": SCHEMES["half_shared"]})
    randomize(model.adapter)
    adapter = model.adapter
    for slot in adapter.places:
        slot.clear()
    bare = copy.deepcopy(model.model)

    def hook(at: str) -> Any:
        def add(_: nn.Module, __: Any, out: Any) -> Any:
            y = out[0] if isinstance(out, tuple) else out
            inner = gelu(F.linear(y, *adapter.down[f"{at}_nlvr"].parameters()))
            y = y + F.linear(inner, *adapter.up[at].parameters())
            return (y, *out[1:]) if isinstance(out, tuple) else y

        return add

    for role, stack in (("text", bare.get_encoder()), ("decoder", bare.get_decoder())):
        for i, layer in enumerate(stack.layers if build is bart else stack.block):
            if build is bart:
                found = {"attn": layer.self_attn, "ffn": layer.fc2}
                found |= {"cross": layer.encoder_attn} if role == "decoder" else {}
            else:
                found = {
                    "attn": layer.layer[0].SelfAttention,
                    "ffn": layer.layer[-1].DenseReluDense,
                }
                found |= {"cross": layer.layer[1].EncDecAttention} if role == "decoder" else {}
            for site, module in found.items():
                module.register_forward_hook(hook(f"{i}_{role}_{site}"))
    want = logits(bare)
    assert not torch.allclose(logits(model.model), want, atol=1e-3)
    again = Language(model.model, {"type": "VLAdapter", "share": SCHEMES["half_shared"]})
    again.adapter.load_state_dict(adapter.state_dict())
    with again.tasks.set("nlvr"):
        assert_close(again(), want, atol=1e-5, rtol=1e-5)


def test_without_a_task_a_run_says_so():
    model = Language(bart(), {"type": "VLAdapter", "share": SCHEMES["multiple"]})
    with pytest.raises(ValueError, match="VLAdapter has parameters of its own for each of the"):
        model()
    shared = Language(bart(), {"type": "VLAdapter"}, tasks=None)
    assert shared().isfinite().all()


def test_cross_attention_can_be_left_out():
    whole, some = VLAdapter(toy(None)), VLAdapter(toy(None), cross_attention=False)
    assert {p.site for p in whole.positions} - {p.site for p in some.positions} == {"cross"}
    assert len(some.positions) == 8
    places = Places()
    places.add("visual", [(0, LayerSites.of(16, "attn", "ffn"))])
    with pytest.raises(ValueError, match="which this model does not have: leave it out"):
        VLAdapter(places, cross_attention=False)
    with pytest.raises(ValueError, match=r"which \['ffn'\] does not have"):
        VLAdapter(toy(None), sites=["ffn"], cross_attention=False)


def test_it_expresses_uniadapters_sharing():
    """One down-projection a layer for three modalities, an up-projection each."""
    options = {"sharing": "down", "query_residual": "off", "textual_branch": False}
    uni = tiny_model(adapter={"type": "UniAdapter", "bottleneck": 8, **options})
    same = tiny_model(
        adapter={
            "type": "VLAdapter",
            "bottleneck": 8,
            "scale": 0.1,
            "activation": "relu",
            "init": "zero_up",
            "sites": ["visual.after_self", "text.after_self", "fusion.after_cross"],
            "share": {"down": ["modality", "site", "task"], "up": ["task"]},
        }
    )
    randomize_model(uni)
    ups = {"visual": "visual_after_self", "text": "text_after_self", "cross": "fusion_after_cross"}
    state = uni.state_dict()
    for name in list(state):
        if name.startswith("adapter.layers."):
            layer, side, use, tensor = name.removeprefix("adapter.layers.").split(".")
            key = layer if side == "down" else f"{layer}_{ups[use]}"
            state[f"adapter.{side}.{key}.{tensor}"] = state.pop(name)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("ema.")}
    missing, unexpected = same.load_state_dict(own, strict=False)
    assert not [name for name in missing if name.startswith("adapter.")]
    assert not unexpected
    batch = tiny_batch()
    for got, want in zip(outputs(same.eval(), batch), outputs(uni.eval(), batch), strict=True):
        assert_close(got, want, atol=1e-6, rtol=1e-6)
    counts = [sum(p.numel() for p in m.adapter.parameters()) for m in (uni, same)]
    assert counts[0] == counts[1]


def test_layers_of_several_widths_share_within_a_width():
    places = Places()
    places.add("visual", [(0, LayerSites.of(24, "attn"))])
    places.add("text", [(0, LayerSites.of(16, "attn"))])
    places.add("fusion", [(0, LayerSites.of(16, "attn"))])
    adapter = VLAdapter(places, share={"down": ["modality", "task"], "up": ["task"]})
    assert sorted(adapter.down) == ["0_attn_w16", "0_attn_w24"]
    assert len(adapter.up) == 3
    assert adapter.down["0_attn_w24"].weight.shape == (3, 24)
    assert adapter.options["reduction_factor"] == 8
    assert adapter.options["bottleneck"] is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bottleneck": 4, "reduction_factor": 4}, "both say how wide a bottleneck is"),
        ({"reduction_factor": 17}, "reduction_factor=17 leaves nothing of features of width 16"),
        ({"bottleneck": 0}, "adapter.bottleneck=0 must be an int >= 1"),
        ({"activation": "tanh"}, "adapter.activation='tanh' is unknown"),
        ({"reads": "both"}, "adapter.reads='both' is unknown"),
        ({"init": "near_zero"}, "adapter.init of linear projections='near_zero' is unknown"),
        ({"init": "normal", "projection": "phm"}, "adapter.init of phm projections='normal'"),
        ({"projection": {"type": "phm", "k": 3}}, "k=3 must divide the widths"),
        ({"share": {"down": []}}, "keeps parameters apart by task, but this model has no tasks"),
        ({"sites": ["out"]}, "of which this model has none"),
    ],
)
def test_options_that_contradict_or_do_nothing_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        VLAdapter(toy(None), **options)


def test_terms_behind_layers_have_no_input_to_read():
    model = tiny_model(adapter=None)
    with pytest.raises(ValueError, match="which .'out'. in adapter.sites are not"):
        VLAdapter(model.places(), sites=["ffn", "out"], reads="input")


def test_files_are_compared_by_what_options_mean(tmp_path):
    def build(**options: Any) -> Any:
        return tiny_model(adapter={"type": "VLAdapter", **options}).eval()

    model = randomize_model(build(reduction_factor=4, projection="phm"))
    save_adapter(model, tmp_path)
    spelled = build(
        bottleneck=8,
        activation="gelu_tanh",
        sites=["ffn", "attn", "cross"],
        layers="1-2",
        roles=["fusion", "visual", "text"],
        init="xavier",
        projection={"type": "phm", "k": 2},
        share={"up": ["task"], "down": ["task"]},
    )
    load_adapter(spelled, tmp_path)
    for got, want in zip(*(outputs(m, tiny_batch()) for m in (spelled, model)), strict=True):
        assert torch.equal(got, want)
    for other in (
        {"projection": "linear"},
        {"projection": {"type": "phm", "k": 4}},
        {"layers": [1]},
    ):
        with pytest.raises(ValueError, match="adapter\\.(projection|layers|init): file"):
            load_adapter(build(**{"reduction_factor": 4, "projection": "phm", **other}), tmp_path)


def test_a_layer_is_recomputed_in_the_task_of_its_batch():
    """Backward runs when the context has ended, and another task's has begun."""
    plain, recomputed = (
        Language(bart(), {"type": "VLAdapter", "share": SCHEMES["multiple"]}) for _ in range(2)
    )
    recomputed.load_state_dict(plain.state_dict())
    recompute(recomputed.model, True)
    recomputed.train()
    for model in (plain, recomputed):
        with model.tasks.set("gqa"):
            loss = model.loss()
        with model.tasks.set("vqa"):
            loss.backward()
    want = {n: p.grad for n, p in plain.adapter.named_parameters()}
    for name, parameter in recomputed.adapter.named_parameters():
        assert (parameter.grad is None) == (want[name] is None) == ("_gqa." not in f"{name}.")
        if parameter.grad is not None:
            assert_close(parameter.grad, want[name], atol=1e-6, rtol=1e-5)
