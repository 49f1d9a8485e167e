"""A training step of several processes is that of one process, however its rows are dealt out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch.testing import assert_close

from tests.model_helpers import WORDS, randomize, tiny_model
from tests.spawn import spawn

# The longest text is on one rank alone, and in few of the pairs.
LENGTHS = [12, 5, 7, 6, 4, 5, 6, 3]
STEPS = 6


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, WORDS, (8, 12), generator=generator)
    mask = (torch.arange(12) < torch.tensor(LENGTHS)[:, None]).long()
    pixels = torch.randn(8, 2, 3, 32, 32, generator=generator)
    return {
        "pixels": pixels,
        "input_ids": ids * mask,
        "attention_mask": mask,
        "media_ids": torch.tensor([0, 1, 2, 3, 4, 1, 5, 6]),
    }


def shard(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Rows as DefaultSampler deals them out, padded to the longest of the rank."""
    rows = {name: tensor[rank::world] for name, tensor in batch().items()}
    longest = int(rows["attention_mask"].sum(1).max())
    for name in ("input_ids", "attention_mask"):
        rows[name] = rows[name][:, :longest]
    return rows


def step(model: Any, rows: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """Losses and gradients of a step whose negatives are drawn with the given number."""
    model = copy.deepcopy(model)
    model.step.fill_(number)
    losses = model(**rows, mode="loss")
    sum(losses.values()).backward()
    found = {name: loss.detach() for name, loss in losses.items()}
    found.update({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    return found


def model(variant: str, fast: Any) -> Any:
    pfa = {"type": "FrameAwareAttention", "variant": variant}
    return randomize(tiny_model(pfa=pfa, fast=fast), std=0.1).train()


def deal(rank: int, world: int, expected: dict[str, list[dict[str, torch.Tensor]]]) -> None:
    """As DistributedDataParallel: the mean over ranks."""
    for variant, steps in expected.items():
        own = model(variant, True)
        for number, want in enumerate(steps):
            got = step(own, shard(rank, world), number)
            assert set(got) == set(want)
            for name, value in want.items():
                torch_dist.all_reduce(got[name])
                scale = value.abs().max().clamp(min=1e-2)
                mean = got[name] / world / scale
                assert_close(mean, value / scale, atol=2e-4, rtol=0, msg=f"{variant} {name}")


@pytest.mark.parametrize("world", [2, 3])
def test_processes_with_texts_of_any_length_are_one_process(world: int):
    expected = {}
    for variant in ("released", "paper"):
        plain = model(variant, False)
        expected[variant] = [step(plain, batch(), number) for number in range(STEPS)]
        # Other negatives every time, or equality would mean little.
        assert len({round(float(found["loss_itm"]), 4) for found in expected[variant]}) == STEPS
    # Three processes have three, three and two rows.
    spawn(deal, world, expected)
