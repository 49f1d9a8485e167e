from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import uniadapter.checkpoints as checkpoints
from uniadapter.checkpoints.compare import Differences, compare
from uniadapter.models import conversion, pretrained
from uniadapter.models.adapters import state

NAMES = [f"part{i}" for i in range(6)]
SIZES = st.integers(1, 2)


class Model(nn.Module):
    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        for name, size in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))


@settings(max_examples=60, deadline=None)
@given(
    own=st.dictionaries(st.sampled_from(NAMES), SIZES),
    file=st.dictionaries(st.sampled_from(NAMES), SIZES),
    needed=st.sets(st.sampled_from(NAMES)),
    allowed=st.sets(st.sampled_from(NAMES)),
    ignored=st.sets(st.sampled_from(NAMES)),
)
def test_differences_are_those_of_a_plain_loop(own, file, needed, allowed, ignored):
    needed, allowed = needed & set(own), allowed & set(own)
    found = compare(
        {name: torch.ones(size) for name, size in file.items()},
        Model(own),
        needed,
        allowed,
        beside=lambda name: name in ignored,
    )
    missing, unknown, shapes = [], [], []
    for name in NAMES:
        known = name in needed or name in allowed
        if name in needed and name not in file:
            missing.append(name)
        if name in file and not known and name not in ignored:
            unknown.append(name)
        if name in file and known and file[name] != own[name]:
            shapes.append(f"{name}: file ({file[name]},), model ({own[name]},)")
    assert (found.missing, found.unknown, found.shapes) == (missing, unknown, shapes)
    assert bool(found) == bool(missing or unknown or shapes)
    assert found.foreign == (bool(needed) and len(missing) == len(needed))


def test_one_wording_names_file_keys_and_remedy():
    differences = Differences(
        "Model",
        missing=[f"text.{i}" for i in range(7)],
        unknown=["extra"],
        shapes=[f"{i}: file (1,), model (2,)" for i in range(6)],
        options=["adapter.sharing: file 'none', model 'down'"],
    )
    with pytest.raises(ValueError) as error:
        differences.raise_for("a.pth", "Do something.")
    assert str(error.value).splitlines() == [
        "a.pth does not fit the model (Model):",
        "  adapter.sharing: file 'none', model 'down'",
        "  missing in the file: text.0, text.1, text.2, text.3, text.4 and 2 more, of text",
        "  not in the model: extra",
        *[f"  {i}: file (1,), model (2,)" for i in range(5)],
        "  and 1 more of other shapes",
        "Do something.",
    ]
    Differences("Model").raise_for("a.pth", "Nothing differs.")


def test_a_rank_is_said_as_the_option_once():
    model = nn.Module()
    model.adapter = nn.Module()
    model.adapter.layers = nn.ModuleList(nn.ModuleDict({"down": nn.Linear(6, 4)}) for _ in range(3))
    file = {name: torch.ones(8, *t.shape[1:]) for name, t in model.state_dict().items()}
    found = compare(file, model, set(file))
    assert found.shapes == ["adapter.bottleneck: file r=8, model r=4"]


def test_former_import_paths_lead_to_the_same_functions():
    assert state.save_adapter is checkpoints.save_adapter
    assert state.load_adapter is checkpoints.load_adapter
    assert pretrained.load_pretrained is checkpoints.load_pretrained
    assert pretrained.read_content is checkpoints.read
    assert conversion.read_checkpoint is checkpoints.layouts.read_checkpoint
