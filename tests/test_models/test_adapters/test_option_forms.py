"""One adapter written in several ways is one adapter, for the files of every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.model_helpers import tiny_model
from uniadapter.checkpoints import load_adapter, save_adapter

DEPTH = 2
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {"rank": 2, "targets": ["q", "v"]},
    "PeftAdapter": {"config": {"peft_type": "LORA", "r": 2}, "targets": ["q", "v"]},
    "BottleneckAdapter": {"preset": "houlsby", "bottleneck": 2, "sites": ["attn", "ffn"]},
    "STAdapter": {"bottleneck": 2, "sites": ["into", "mid"]},
    "MAM": {"prefix": 2, "bottleneck": 2},
    "Ladder": {"reduction": 2, "num_heads": 1},
    "VLAdapter": {"bottleneck": 2, "sites": ["attn", "cross", "ffn"]},
    "Hyperformer": {"bottleneck": 2, "share": ["task"], "sites": ["attn", "cross", "ffn"]},
}
WITHOUT_ROLES = ("STAdapter",)


def forms(layers: list[int]) -> list[Any]:
    """The ways in which layers can be written."""
    found: list[Any] = [layers, layers[::-1], ",".join(map(str, layers))]
    if layers == list(range(1, DEPTH + 1)):
        found += [None, f"1-{DEPTH}"]
    return found


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
@settings(max_examples=draws(4))
def test_files_of_one_adapter_written_in_two_ways(
    method: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layers = sorted(data.draw(st.sets(st.integers(1, DEPTH), min_size=1)))
    wanted = data.draw(st.permutations(["visual", "text", "fusion"]))
    models = []
    for _ in range(2):
        options = dict(METHODS[method])
        for key in ("targets", "sites"):
            if key in options:
                options[key] = data.draw(st.permutations(options[key]))
        if method not in WITHOUT_ROLES:
            options["roles"] = data.draw(st.sampled_from([None, wanted, sorted(wanted)]))
        options["layers"] = data.draw(st.sampled_from(forms(layers)))
        models.append(tiny_model(adapter={"type": method, **options}, pfa=None))
    folder: Path = tmp_path_factory.mktemp("adapter")
    save_adapter(models[0], folder)
    load_adapter(models[1], folder)
    one, other = (dict(model.adapter.named_parameters()) for model in models)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_another_choice_is_another_adapter(method: str, tmp_path: Path) -> None:
    options = {"type": method, **METHODS[method]}
    save_adapter(tiny_model(adapter={**options, "layers": [1]}, pfa=None), tmp_path)
    with pytest.raises(ValueError, match="layers"):
        load_adapter(tiny_model(adapter={**options, "layers": [2]}, pfa=None), tmp_path)
