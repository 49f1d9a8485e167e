"""Several methods on one model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import outputs, randomize, same, tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models
from uniadapter.checkpoints.adapter import load_adapter, save_adapter

UNI: dict[str, Any] = {"type": "UniAdapter", "bottleneck": 4}
LORA: dict[str, Any] = {"type": "LoRA", "rank": 2}
PARALLEL: dict[str, Any] = {"type": "BottleneckAdapter", "preset": "parallel", "bottleneck": 4}
HOUSBY: dict[str, Any] = {"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 3}
BITFIT: dict[str, Any] = {"type": "BitFit"}
MAM: dict[str, Any] = {"type": "MAM", "prefix": 2, "bottleneck": 3}
PROMPT: dict[str, Any] = {"type": "Prompt", "text": 2, "visual": 2}
PEFT: dict[str, Any] = {"type": "PeftAdapter", "config": {"peft_type": "LORA", "r": 2}}
ALL = {"uni": UNI, "lora": LORA, "parallel": PARALLEL, "bitfit": BITFIT, "prompt": PROMPT}


def stack(*methods: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Stack", "methods": list(methods)}


def own(model: Any, number: int | None = None) -> dict[str, torch.Tensor]:
    """A method's tensors, with or without the stack around it."""
    start = "adapter." if number is None else f"adapter.methods.{number}."
    state = model.state_dict()
    return {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}


@settings(max_examples=draws(6))
@given(st.lists(st.sampled_from(sorted(ALL)), min_size=2, max_size=4, unique=True), st.data())
def test_one_method_that_acts_is_that_method_alone(names: list[str], data: Any):
    """All others are at a start that adds nothing, but for prompts, which always act."""
    acting = data.draw(st.sampled_from([n for n in names]))
    if "prompt" in names:
        acting = "prompt"
    stacked = tiny_model(adapter=stack(*(ALL[n] for n in names)), fast=False).eval()
    alone = randomize(tiny_model(adapter=ALL[acting], fast=False), std=0.2).eval()
    state = {n: t for n, t in alone.state_dict().items() if not n.startswith("adapter.")}
    stacked.load_state_dict(state, strict=False)
    number = names.index(acting)
    place = f"adapter.methods.{number}."
    stacked.load_state_dict({place + n: t for n, t in own(alone).items()}, strict=False)
    for got, want in zip(outputs(stacked, tiny_batch()), outputs(alone, tiny_batch()), strict=True):
        assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_terms_of_one_site_are_added_up():
    model = randomize(tiny_model(adapter=stack(PARALLEL, {**PARALLEL, "bottleneck": 3}))).eval()
    slot = model.places().slots["text.ffn"][0]
    parts = [m.layers["0"]["text_ffn"] for m in model.adapter.methods]
    x, y = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    assert torch.equal(slot.term(y, x), parts[0](x) + parts[1](x))


def test_files_hold_every_method_and_are_compared_by_it(tmp_path: Path):
    model = randomize(tiny_model(adapter=stack(UNI, LORA))).eval()
    save_adapter(model, tmp_path / "a")
    saved = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert saved["method"] == "Stack"
    assert [m["type"] for m in saved["options"]["methods"]] == ["UniAdapter", "LoRA"]
    # Written another way it is the same; the towers' file must be, too.
    spelled = stack({**UNI, "layers": "1-2"}, {**LORA, "targets": ["v", "q"], "alpha": 2})
    again = tiny_model(adapter=spelled).eval()
    load_adapter(again, tmp_path / "a")
    assert same(outputs(again, tiny_batch()), outputs(model, tiny_batch()))
    for other in (stack(UNI, {**LORA, "rank": 3}), stack(LORA, UNI), stack(UNI, LORA, BITFIT)):
        with pytest.raises(ValueError, match="adapter.methods: file"):
            load_adapter(tiny_model(adapter=other), tmp_path / "a")
    with pytest.raises(ValueError, match="method: file 'Stack', model 'LoRA'"):
        load_adapter(tiny_model(adapter=LORA), tmp_path / "a")


@pytest.mark.parametrize("order", [(LORA, BITFIT), (BITFIT, LORA)], ids=["first", "last"])
def test_what_merges_merges_together(order: tuple[dict, dict]):
    model = randomize(tiny_model(adapter=stack(*order), fast=False), std=0.1).eval()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    want = outputs(model, tiny_batch())
    model.adapter.merge()
    assert model.adapter.merged
    for one, other in zip(outputs(model, tiny_batch()), want, strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="merged already"):
        model.adapter.merge()
    model.adapter.unmerge()
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert same(outputs(model, tiny_batch()), want)


def test_what_does_not_merge_leaves_all_as_it_was():
    model = randomize(tiny_model(adapter=stack(LORA, UNI), fast=False), std=0.1).eval()
    state, want = copy.deepcopy(model.state_dict()), outputs(model, tiny_batch())
    with pytest.raises(ValueError, match="Stack cannot be merged: UniAdapter cannot"):
        model.adapter.merge()
    assert not model.adapter.merged
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert same(outputs(model, tiny_batch()), want)


def test_components_and_counts_are_the_sums():
    methods = (UNI, MAM, LORA)
    stacked = tiny_model(adapter=stack(*methods)).adapter.components()
    alone = [tiny_model(adapter=method).adapter.components() for method in methods]
    for name in {key for found in alone for key in found}:
        numbers = [sum(p.numel() for p in found.get(name, ())) for found in alone]
        assert sum(p.numel() for p in stacked[name]) == sum(numbers)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ((LORA,), "a list of two configs or more"),
        ((LORA, PEFT), r"methods\[1\] \(PeftAdapter\).*filled.*\[0\] \(LoRA\) took the matrices"),
        ((BITFIT, HOUSBY), r"methods\[1\] \(BottleneckAdapter\).*\[0\] \(BitFit\) took parameters"),
        ((MAM, MAM), r"\[0\] \(MAM\) and .*\[1\] \(MAM\) both fill .*keys, which takes one"),
        ((PROMPT, PROMPT), r"both fill visual.tokens, which takes one method"),
        ((HOUSBY, PARALLEL), r"both fill .*ffn, but one reads the sub-layer's input"),
        ((LORA, {"type": "UniPT"}), r"methods\[1\]: UniPT takes the place of the towers' runs"),
        ((LORA, stack(UNI, BITFIT)), r"methods\[1\]: a Stack is no method that is stacked"),
        ((LORA, {"type": "LoRa"}), r"methods\[1\].type='LoRa' is not registered.*'LoRA'"),
        ((LORA, {"rank": 4}), r"methods\[1\] has no key 'type'"),
        ((UNI, {"type": "LoRA", "r": 4}), r"methods\[1\].r is no option of LoRA"),
        ((UNI, {"type": "LoRA", "rank": 0}), r"methods\[1\] \(LoRA\): adapter.rank=0 must be"),
        ((UNI, "LoRA"), r"methods\[1\] must be a dict"),
        (
            ({**UNI, "kv_rank": 2}, {**UNI, "kv_rank": 2}),
            r"both fill fusion.kv, which takes one method",
        ),
    ],
)
def test_conflicts_are_named(methods: tuple, message: str):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        tiny_model(adapter=stack(*methods))


def test_a_list_is_wanted():
    with pytest.raises(ValueError, match="a list of two configs"):
        tiny_model(adapter={"type": "Stack", "methods": LORA})


def test_a_backbone_of_another_project_takes_a_stack(tmp_path: Path):
    folder = contract_models.write_files(tmp_path)
    adapter = stack({**UNI, "towers": ["visual"]}, LORA)
    model = contract_models.mmpretrain_vit(adapter, folder).eval()
    bare = contract_models.mmpretrain_vit(None, folder).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x)[0], bare(x)[0])
        for parameter in model.adapter.parameters():
            parameter.add_(0.1)
        assert not torch.allclose(model(x)[0], bare(x)[0])
        with model.adapter_disabled():
            assert torch.equal(model(x)[0], bare(x)[0])
