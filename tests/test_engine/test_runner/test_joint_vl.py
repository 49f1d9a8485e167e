"""VL-BART and VL-T5 with methods whose parameters differ by task: two processes are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.model import MMDistributedDataParallel
from torch.utils.data import Dataset

from tests.spawn import spawn
from tests.vl_helpers import TASKS, WIDTH, vl
from uniadapter.datasets import JointBatchSampler, JointDataset
from uniadapter.structures import MultimodalSample

METHODS: dict[str, dict[str, Any]] = {
    "multiple": {"type": "VLAdapter", "share": {"down": [], "up": []}},
    "half_shared": {"type": "VLAdapter", "share": {"down": [], "up": ["task"]}},
    "hyperformer": {"type": "Hyperformer", "embedding": 6, "hidden": 5, "latent": 3},
    "lora": {"type": "LoRA", "rank": 2, "dropout": 0.0, "share": []},
    "prompt": {"type": "PromptTuning", "length": 2, "hidden": 5, "share": []},
}
#: Questions that the ranks share unequally, and last batches of fewer items than ranks.
SIZES = {"vqa": 4, "nlvr": 3, "caption": 1}
WORDS = ("red ball", "a", "two big boxes on it", "is it")


class Items(Dataset):
    """Texts beside features, the longer the later."""

    def __init__(self, task: str) -> None:
        self.task = task

    def __len__(self) -> int:
        return SIZES[self.task]

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = torch.Generator().manual_seed(index)
        pictures = 2 if self.task == "nlvr" else 1
        target = WORDS[(index + 1) % 4] if self.task != "nlvr" else ("true", "false")[index % 2]
        facts = {"target": target, "target_weight": 0.3 * (index + 1), "task": self.task}
        inputs = {
            "text": WORDS[index % 4],
            "features": torch.randn(pictures, 4, WIDTH, generator=drawn),
        }
        return {"inputs": inputs, "data_samples": MultimodalSample(metainfo=facts)}


def steps(kind: str, method: str, tokens: Path, rank: int, world: int) -> list[dict[str, Any]]:
    """Loss, task and gradients of each step of an epoch; weights stay as they are."""
    plain = vl(kind, tokens=tokens, adapter=METHODS[method]).train()
    model: Any = plain
    if world > 1:
        model = MMDistributedDataParallel(plain, find_unused_parameters=True)
    data = JointDataset({task: Items(task) for task in TASKS})
    inner = DefaultSampler(data, shuffle=True, seed=1)
    inner.rank, inner.world_size = rank, world
    found = []
    for indices in JointBatchSampler(inner, 2 // world, {"vqa": (3, 2)}):
        batch = plain.data_preprocessor(pseudo_collate([data[i] for i in indices]), True)
        plain.zero_grad(set_to_none=True)
        loss = model(**batch, mode="loss")["loss_lm"]
        loss.backward()
        gradients = {
            name: None if p.grad is None else p.grad.clone()
            for name, p in plain.named_parameters()
            if p.requires_grad
        }
        task = batch["data_samples"][0].task
        found.append({"task": task, "loss": float(loss.detach()), "gradients": gradients})
    return found


def _compare(rank: int, world: int, tokens: str, expected: dict[tuple[str, str], list]) -> None:
    for (kind, method), wanted in expected.items():
        found = steps(kind, method, Path(tokens), rank, world)
        assert [step["task"] for step in found] == [step["task"] for step in wanted]
        for own, whole in zip(found, wanted, strict=True):
            mean = torch.tensor(own["loss"])
            torch_dist.all_reduce(mean)
            assert float(mean) / world == pytest.approx(whole["loss"], rel=1e-4)
            for name, value in whole["gradients"].items():
                got = own["gradients"][name]
                note = f"{kind}, {method}, {own['task']}: {name}"
                assert (got is None) == (value is None), note
                if value is not None:
                    torch.testing.assert_close(got, value, rtol=2e-4, atol=2e-5, msg=note)


@pytest.mark.deep
def test_two_processes_are_one(tmp_path: Path) -> None:
    """Losses and gradients of every step; of tasks that are not active there are none."""
    cases = [(kind, method) for kind in ("Bart", "T5") for method in METHODS]
    expected = {case: steps(*case, tmp_path, 0, 1) for case in cases}
    for (_, method), found in expected.items():
        assert {step["task"] for step in found} == set(TASKS)
        if method != "hyperformer":
            # Each has parameters of its own that others leave alone.
            assert all(None in step["gradients"].values() for step in found)
    spawn(_compare, 2, str(tmp_path), expected)
