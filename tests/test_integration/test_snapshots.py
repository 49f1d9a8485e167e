"""Files of an earlier version load and compute what they computed; nothing changes its name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.record_snapshots import DATA, LEAVES, TASKS, build, names_of, run
from uniadapter.models.adapters.state import load_adapter

NAMES = json.loads((DATA / "names.json").read_text(encoding="utf-8"))


def test_every_config_has_a_snapshot():
    assert set(NAMES) == set(LEAVES), "run `python -m tests.record_snapshots` for new configs"


# A name of each kind of model; the rest goes with the deep tests.
@pytest.mark.parametrize(
    "leaf",
    [
        leaf
        if leaf.startswith(("configs/uniadapter/", "configs/full_finetune/"))
        else pytest.param(leaf, marks=pytest.mark.deep)
        for leaf in sorted(NAMES)
    ],
)
def test_tensors_keep_their_names_shapes_and_counts(leaf):
    assert names_of(leaf) == NAMES[leaf]


def test_the_count_of_the_paper():
    assert NAMES["configs/uniadapter/msrvtt_r512.py"]["parameters"]["adapter"] == 18_908_160


@pytest.mark.parametrize("task", TASKS)
def test_outputs_and_gradients_of_a_saved_state(task):
    model = build(task, DATA / "vocab.txt")
    state = load_file(DATA / task / "state.safetensors")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(state)
    # The adapter's own folder gives the trained tensors once more.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    load_adapter(model, DATA / task)
    model.load_state_dict(
        {n: t for n, t in state.items() if n.startswith(("queue.", "ema."))}, False
    )
    got, want = run(model), load_file(DATA / task / "outputs.safetensors")
    assert set(got) == set(want)
    for name, tensor in want.items():
        # Gradients sum many rounded terms of both signs.
        scale = float(tensor[tensor.isfinite()].abs().max().clamp(min=1e-3))
        atol = 1e-4 * scale if name.startswith("gradient.") else 1e-5 * scale
        torch.testing.assert_close(got[name], tensor, rtol=1e-5, atol=atol, msg=name)
