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


DTYPES = {
    "floats": [torch.float32, torch.float16, torch.bfloat16, torch.float64],
    "integers": [torch.int64, torch.int8, torch.uint8],
    "truth values": [torch.bool],
    "complex numbers": [torch.complex64],
}


@settings(max_examples=40, deadline=None)
@given(kinds=st.tuples(*[st.sampled_from(list(DTYPES))] * 2), data=st.data())
def test_another_kind_of_numbers_is_a_difference(kinds, data):
    dtypes = [data.draw(st.sampled_from(DTYPES[kind])) for kind in kinds]
    model = nn.Module()
    model.register_buffer("steps", torch.zeros(2, dtype=dtypes[1]))
    found = compare({"steps": torch.zeros(2, dtype=dtypes[0])}, model, ["steps"])
    file, own = kinds
    assert bool(found) == (file != own)
    said = [f"steps: the file holds {file}, the model {own}"] if file != own else []
    assert found.kinds == found.lines() == said


def test_what_is_no_tensor_is_a_difference():
    found = compare({"part0": [1.0]}, Model({"part0": 1}), ["part0"])
    assert found.lines() == ["part0: the file holds a list, no tensor, the model floats"]


def test_former_import_paths_lead_to_the_same_functions():
    assert state.save_adapter is checkpoints.save_adapter
    assert state.load_adapter is checkpoints.load_adapter
    assert pretrained.load_pretrained is checkpoints.load_pretrained
    assert pretrained.read_content is checkpoints.read
    assert conversion.read_checkpoint is checkpoints.layouts.read_checkpoint
