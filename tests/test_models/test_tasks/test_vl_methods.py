"""Methods on VL-BART and VL-T5: tasks apart, in files, while writing and when recomputed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.model_helpers import randomize
from tests.vl_helpers import KINDS, TASKS, inputs, vl
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.execution import Words
from uniadapter.models.generation import GenerationConfig

HYPER = {"type": "Hyperformer", "embedding": 6, "hidden": 5, "latent": 3, "bottleneck": 4}
PROMPTS: dict[str, Any] = {"type": "PromptTuning", "length": 2, "hidden": 5, "share": []}
LORA: dict[str, Any] = {"type": "LoRA", "rank": 2, "alpha": 8, "share": []}
METHODS: dict[str, dict[str, Any]] = {
    "multiple": {"type": "VLAdapter", "share": {"down": [], "up": []}},
    "half_shared": {"type": "VLAdapter", "share": {"up": ["task"]}},
    "compacter": {
        "type": "VLAdapter",
        "bottleneck": 4,
        "projection": {"type": "phm", "rule": "position"},
        "share": {},
    },
    "hyperformer": HYPER,
    "lora": LORA,
    "prompts": PROMPTS,
    "decoder_prompts": {**PROMPTS, "roles": ["text", "decoder"]},
    "single_and_prompts": {"type": "Stack", "methods": [{"type": "VLAdapter"}, PROMPTS]},
    "single_and_lora": {"type": "Stack", "methods": [{"type": "VLAdapter"}, LORA]},
}
CORE = {"multiple": "Bart", "compacter": "T5", "hyperformer": "Bart", "lora": "T5"}
CORE |= {"prompts": "Bart", "single_and_prompts": "T5"}
every = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=[] if CORE.get(name) == kind else [pytest.mark.deep])
        for name in METHODS
        for kind in KINDS
    ],
)


def build(kind: str, name: str, seed: int = 0, **options: Any) -> Any:
    return randomize(vl(kind, seed, adapter=METHODS[name], **options))


def logits(model: Any, task: str | None) -> Tensor:
    """Of two texts with a picture each; no task where the model has no method."""
    given, words = inputs([2, 4]), torch.tensor([[2, 5, 7], [2, 9, 4]])
    if task is None:
        decoder = model.role("decoder")
        found: Tensor = decoder.logits(Words(words), decoder.memory(*model.encode(**given)))[0]
        return found
    with model.tasks.set(task):
        return logits(model, None)


def loss(model: Any, task: str) -> Tensor:
    found = logits(model, task)
    return (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum()


@every
def test_a_batch_of_a_task_leaves_what_others_own_alone(kind, name):
    model = build(kind, name).train()
    loss(model, "nlvr").backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    others = {n for n in trained if any(f"_{t}." in n or f".{t}" in n for t in TASKS[::2])}
    assert others
    assert {n for n, p in trained.items() if p.grad is None} == others
    assert all(p.grad is None for p in model.text.parameters())


@every
def test_a_method_is_in_a_file_and_can_be_switched_off(kind, name, tmp_path):
    model, other = build(kind, name).eval(), build(kind, name, seed=3).eval()
    frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
    other.load_state_dict(frozen, strict=False)
    save_adapter(model, tmp_path)
    load_adapter(other, tmp_path)
    bare = vl(kind)
    bare.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        found = {task: logits(model, task) for task in TASKS}
        for task, want in found.items():
            assert torch.equal(logits(other, task), want)
        with model.adapter_disabled():
            assert torch.equal(logits(model, None), logits(bare, None))
    assert len({want.sum().item() for want in found.values()}) == len(TASKS)
    with pytest.raises(ValueError, match="and none of them is set"):
        logits(model, None)


@every
def test_layers_are_recomputed_in_the_task_of_their_batch(kind, name):
    if name == "decoder_prompts":
        pytest.skip("keys and values of a decoder's prompt are not kept where layers recompute")
    plain, again = (build(kind, name, grad_checkpointing=flag).train() for flag in (False, True))
    for model in (plain, again):
        found = loss(model, "vqa")
        with model.tasks.set("caption"):
            found.backward()
    want = {n: p.grad for n, p in plain.named_parameters()}
    for key, parameter in again.named_parameters():
        assert (parameter.grad is None) == (want[key] is None), key
        if want[key] is not None:
            scale = float(want[key].abs().max().clamp(min=1e-3))
            assert_close(parameter.grad / scale, want[key] / scale, atol=1e-4, rtol=0)


@every
@pytest.mark.parametrize("beams", [3, pytest.param(1, marks=pytest.mark.deep)])
def test_texts_are_written_in_their_task_with_and_without_kept_keys(kind, name, beams):
    model = build(kind, name).eval()
    copied, decoder = copy.deepcopy(model), model.role("decoder")
    rows = {}
    with torch.no_grad():
        for task in TASKS[:2]:
            with model.tasks.set(task):
                memory = decoder.memory(*model.encode(**inputs([2, 4])))
                config = GenerationConfig(beams, 8, 0)
                rows[task] = decoder.write(memory, config)
                assert torch.equal(decoder.write(memory, config, use_cache=False), rows[task])
    with copied.tasks.set(TASKS[1]), torch.no_grad():
        decoder = copied.role("decoder")
        memory = decoder.memory(*copied.encode(**inputs([2, 4])))
        assert torch.equal(decoder.write(memory, config), rows[TASKS[1]])
    assert model.tasks.current is None
