"""VLSeq2Seq trains: a batch touches its own task alone, and several tasks are learned at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.vl_helpers import ANSWERS, KINDS, TASKS, WIDTH, batch, vl

APART = {"down": [], "up": []}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


def data_of(model: Any, task: str) -> dict[str, Any]:
    """Four samples, whose answers are told by their features; statements have two pictures."""
    drawn = torch.Generator().manual_seed(len(task))
    # Words of both small vocabularies.
    answers = {"vqa": ["red ring", "is it"], "caption": ["two dots", "something"]}
    answers["nlvr"] = ANSWERS[type(model.text).__name__][::-1]
    targets = answers[task] * 2
    features = torch.randn(2, 2 if task == "nlvr" else 1, 4, WIDTH, generator=drawn).repeat(
        2, 1, 1, 1
    )
    return model.data_preprocessor(batch(task, [task] * 4, features, targets), True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_leaves_what_others_have_alone(kind: str, tokens: Path) -> None:
    """Layers that are computed again run in the batch's task, too."""
    grads = []
    for again in (False, True):
        adapter = {"type": "VLAdapter", "bottleneck": 4, "share": {"down": [], "up": ["task"]}}
        options = {"train_norms": True, "grad_checkpointing": again}
        model = vl(kind, tokens=tokens / kind, adapter=adapter, **options).train()
        model(**data_of(model, "nlvr"), mode="loss")["loss_lm"].backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        for name, grad in grads[-1].items():
            other = name.startswith("adapter.down") and "_nlvr." not in name
            dead = "absolute_vis_pos_embedding.0.weight" in name
            assert (grad is None) == other, name
            assert other or dead or bool(grad.any()), name
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        if grad is not None:
            assert_close(grads[1][name], grad, atol=1e-6, rtol=1e-4)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("Bart", {"type": "VLAdapter", "bottleneck": 16, "share": APART}),
        ("T5", {"type": "VLAdapter", "bottleneck": 16}),
    ],
)
def test_several_tasks_are_learned_at_once(kind: str, adapter: Any, tokens: Path) -> None:
    rules = {"nlvr": {"answers": ANSWERS[kind]}}
    options = {"train_norms": True, "rules": rules}
    model = vl(kind, tokens=tokens / kind, adapter=adapter, **options).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    data, losses = {task: data_of(model, task) for task in TASKS}, []
    for step in range(360):
        losses.append(model(**data[TASKS[step % 3]], mode="loss")["loss_lm"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert max(losses[-3:]) < 0.2 * min(losses[:3])
    model.eval()
    for task in TASKS:
        found = model(**data[task], mode="predict")
        assert [sample.pred_text for sample in found] == [sample.target for sample in found]
    assert [s.pred_label for s in model(**data["nlvr"], mode="predict")] == [1, 0, 1, 0]
