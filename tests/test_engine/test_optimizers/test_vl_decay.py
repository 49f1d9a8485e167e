"""What weight decay leaves out in VL-Adapter's runs, by kinds, against the released names.

There it is off where a name has "bias" or "LayerNorm.weight" in it: the norms of BART and T5 are
called otherwise, PHM's added vector is ``b``, and a module that generates a bias has the word in
its name.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.vl_helpers import KINDS, TASKS, vl
from tests.vl_released import METHODS
from uniadapter.checkpoints.layouts.vl_adapter import export_vl_adapter
from uniadapter.engine.optimizers import TrainableOptimWrapperConstructor

SPARED = ["bias", "generator_norm"]
#: What is trained beside the method.
BESIDE: dict[str, dict[str, Any]] = {
    "none": {"train_backbone": True},
    "multiple": {"train_norms": True},
    "phm": {"train_norms": True},
    "lora": {"train_biases": True},
}
CORE = ("none", "multiple", "norms", "phm", "low_rank", "hyper", "hyper_one", "lora", "prompt")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "method",
    [m if m in CORE else pytest.param(m, marks=pytest.mark.deep) for m in METHODS],
)
def test_kinds_are_those_of_the_released_names(kind: str, method: str) -> None:
    beside = BESIDE.get(method, {})
    if kind == "T5" and "train_biases" in beside:
        beside = {}  # It has none.
    model = vl(kind, adapter=METHODS[method], **beside)
    _, theirs = export_vl_adapter(model.state_dict(), TASKS)
    optimizer = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01}
    make = TrainableOptimWrapperConstructor({"optimizer": optimizer}, {"no_decay_kinds": SPARED})
    decay = {
        id(parameter): group["weight_decay"]
        for group in make(model).optimizer.param_groups
        for parameter in group["params"]
    }
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert set(decay) == {id(p) for p in trained.values()}
    seen = set()
    for name, parameter in trained.items():
        spared = any(word in theirs[name] for word in ("bias", "LayerNorm.weight"))
        assert decay[id(parameter)] == (0.0 if spared else 0.01), (name, theirs[name])
        seen.add(spared)
    # Both are there, or the comparison would mean little.
    assert seen == {True, False}
