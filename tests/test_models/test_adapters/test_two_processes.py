"""Two processes give the losses and gradients of one, whatever the method."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as torch_dist
from torch import Tensor

from tests.model_helpers import randomize, tiny_model
from tests.spawn import spawn
from tests.test_models.test_adapters.contract import METHODS, MODELS
from tests.test_models.test_tasks.test_retrieval_processes import batch as long_batch
from tests.test_models.test_tasks.test_retrieval_processes import shard, step

# One of each kind: terms, matrices, shifts, keys, tokens, a convolution over frames.
KINDS = ("lora", "mam", "st_adapter")
MORE = ("peft-dora", "bitfit", "houlsby", "pfeiffer", "prompt", "ladder")


def build(name: str):
    model = tiny_model(adapter=METHODS[name].config_for(MODELS["blip_video"]))
    return randomize(model, std=0.1).train()


def _deal(rank: int, world: int, expected: dict[str, dict[str, Tensor]]) -> None:
    for method, want in expected.items():
        got = step(build(method), shard(rank, world), 1)
        assert set(got) == set(want)
        for name, value in want.items():
            torch_dist.all_reduce(got[name])
            scale = value.abs().max().clamp(min=1e-2)
            mean = got[name] / world / scale
            note = f"{method}: {name}"
            torch.testing.assert_close(mean, value / scale, atol=5e-4, rtol=0, msg=note)


@pytest.mark.parametrize("kinds", [KINDS, pytest.param(MORE, marks=pytest.mark.deep)])
def test_two_processes_are_one(kinds):
    spawn(_deal, 2, {name: step(build(name), long_batch(), 1) for name in kinds})
