"""What is saved is what is loaded, for every task and option."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.models.adapters.state import load_adapter, save_adapter, trained_state_dict

from .cases import build, fast_paths, generative_configs, retrieval_configs, seeds


@st.composite
def configs(draw: st.DrawFn) -> dict:
    """A model of any task."""
    kind = draw(st.sampled_from(["RetrievalModel", "VQAModel", "CaptionModel"]))
    return draw(retrieval_configs() if kind == "RetrievalModel" else generative_configs(kind))


def scramble(model: torch.nn.Module) -> None:
    """Give every trained tensor and every average another value."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
        for name, buffer in model.named_buffers():
            if name.startswith("ema."):
                buffer.sub_(1)


@settings(max_examples=draws(14, deep=800))
@given(data=st.data())
def test_a_loaded_adapter_is_the_saved_one(data):
    """Bit for bit; everything else stays; momentum averages start from what was loaded."""
    config, seed = data.draw(configs()), data.draw(seeds)
    model = build(config, data.draw(fast_paths()), seed=seed)
    other = copy.deepcopy(model)
    scramble(other)
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, folder)
        names = json.loads((Path(folder) / "adapter_config.json").read_text())
        load_adapter(other, folder)
    saved, loaded = trained_state_dict(model), trained_state_dict(other)
    assert names["parameters"] == sum(tensor.numel() for tensor in saved.values())
    assert list(loaded) == list(saved)
    parameters = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameters[name], parameter), name
    if hasattr(other, "ema"):
        for name, average in other.ema.averages().items():
            assert torch.equal(average, parameters[name]), name
