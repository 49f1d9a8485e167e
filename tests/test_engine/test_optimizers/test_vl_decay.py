"""What weight decay leaves out in VL-Adapter's runs, by kinds, against names of the released rule.

There it is off where a name has "bias" or "LayerNorm.weight" in it. The norms of BART and T5 are
called otherwise, PHM's added vector is ``b``, and a module that generates a bias has the word in
its name.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.vl_helpers import vl
from uniadapter.engine.optimizers import TrainableOptimWrapperConstructor

SPARED = ["bias", "generator_norm"]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"train_backbone": True},
    "multiple": {"adapter": {"type": "VLAdapter", "share": {"down": [], "up": []}}},
    "norms_of_adapters": {"adapter": {"type": "VLAdapter", "pre_norm": True, "post_norm": True}},
    "compacter": {"adapter": {"type": "VLAdapter", "projection": {"type": "phm", "k": 2}}},
    "hyperformer": {"adapter": {"type": "Hyperformer", "embedding": 6, "hidden": 5, "latent": 3}},
    "lora": {"adapter": {"type": "LoRA", "rank": 2, "share": []}},
    "prompt": {"adapter": {"type": "PromptTuning", "length": 2, "hidden": 5}},
}


def released(name: str) -> bool:
    """Whether the released rule takes decay off a parameter, by our name of it."""
    return "bias" in name or (".networks." in name and name.endswith(".norm.weight"))


@pytest.mark.parametrize("kind", ["Bart", "T5"])
@pytest.mark.parametrize("method", list(METHODS))
def test_kinds_are_those_of_the_released_names(kind: str, method: str) -> None:
    options = METHODS[method]
    if kind == "Bart" and method in ("multiple", "compacter", "hyperformer"):
        options = {**options, "train_norms": True}
    if kind == "Bart" and method == "lora":
        options = {**options, "train_biases": True}
    model = vl(kind, **options)
    optimizer = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01}
    make = TrainableOptimWrapperConstructor({"optimizer": optimizer}, {"no_decay_kinds": SPARED})
    decay = {
        id(parameter): group["weight_decay"]
        for group in make(model).optimizer.param_groups
        for parameter in group["params"]
    }
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert set(decay) == {id(p) for p in trained.values()}
    for name, parameter in trained.items():
        assert decay[id(parameter)] == (0.0 if released(name) else 0.01), name
    # Both are there, or the comparison would mean little.
    assert {released(name) for name in trained} == {True, False}
    if method == "compacter":
        assert any(name.endswith(".b") for name in trained)
