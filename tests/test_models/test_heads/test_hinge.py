"""The hinge loss against loops, over several processes and in a model."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as torch_dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import draws
from tests.model_helpers import randomize, sgd_steps, tiny_batch, tiny_model
from tests.spawn import spawn
from uniadapter.models.heads import HingeContrastHead


def looped(visual: torch.Tensor, text: torch.Tensor, margin: float, hardest: bool) -> torch.Tensor:
    """The loss in words: every pair against every other member of the batch."""
    total = (visual * text * 0).sum()
    for i in range(len(visual)):
        own = visual[i] @ text[i]
        for rivals in (
            [visual[i] @ text[j] for j in range(len(text)) if j != i],
            [visual[j] @ text[i] for j in range(len(text)) if j != i],
        ):
            hinges = [(margin + rival - own).clamp(min=0) for rival in rivals]
            if hinges:
                total = total + (max(hinges) if hardest else sum(hinges))
    return total


@settings(max_examples=draws(25))
@given(
    size=st.integers(0, 6),
    width=st.integers(1, 5),
    margin=st.floats(0.01, 2),
    scale=st.floats(0, 1),
    hardest=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_sum_of_hinges(size, width, margin, scale, hardest, seed):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, size, width, generator=generator, dtype=torch.double)
    visual, text = (F.normalize(x, dim=-1).requires_grad_() for x in states)
    head = HingeContrastHead(3, 4, width, margin=margin)
    head.hardest, head.loss_scale = hardest, scale
    loss, want = head.loss(visual, text), scale * looped(visual, text, margin, hardest)
    torch.testing.assert_close(loss, want)
    got = torch.autograd.grad(loss, (visual, text))
    torch.testing.assert_close(got, torch.autograd.grad(want, (visual, text)))


def _head(hardest: bool) -> HingeContrastHead:
    torch.manual_seed(2)
    head = HingeContrastHead(6, 8, 4)
    head.hardest = hardest
    return head


def _rows(size: int, rank: int = 0, world: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    visual, text = (torch.randn(size, width, generator=generator) for width in (6, 8))
    return visual[rank::world], text[rank::world]


def _share(rank: int, world: int, size: int, wanted: dict[bool, dict[str, torch.Tensor]]) -> None:
    for hardest, want in wanted.items():
        head = _head(hardest)
        loss = head.loss(*head(*_rows(size, rank, world)))
        loss.backward()
        found = {"loss": loss.detach(), **{n: p.grad for n, p in head.named_parameters()}}
        for name, value in want.items():
            # As DistributedDataParallel: the mean over ranks.
            torch_dist.all_reduce(found[name])
            torch.testing.assert_close(found[name] / world, value, msg=name)


# Batches of unlike sizes; a process without a pair.
@pytest.mark.parametrize(("world", "size"), [(2, 7), pytest.param(3, 2, marks=pytest.mark.deep)])
def test_processes_give_what_one_gives(world, size):
    wanted = {}
    for hardest in (False, True):
        head = _head(hardest)
        loss = head.loss(*head(*_rows(size)))
        loss.backward()
        wanted[hardest] = {
            "loss": loss.detach(),
            **{n: p.grad for n, p in head.named_parameters()},
        }
    spawn(_share, world, size, wanted)


@pytest.mark.parametrize("matching", [None, {"type": "MatchingHead"}])
def test_a_model_trains_with_it(matching):
    towers = ["visual", "text", "cross"] if matching else ["visual", "text"]
    model = tiny_model(
        contrast={"type": "HingeContrastHead", "margin": 0.3},
        matching=matching,
        pfa=None,
        queue_size=None,
        adapter={"type": "UniAdapter", "bottleneck": 8, "towers": towers},
    )
    assert not [n for n in model.state_dict() if n.startswith(("queue.", "ema.", "temp", "logit"))]
    batch = tiny_batch()
    features = model.features(batch["pixels"], batch["input_ids"], batch["attention_mask"])
    loss = model(**batch, mode="loss")["loss_itc"]
    torch.testing.assert_close(loss, looped(*features, 0.3, True))
    assert ("loss_itm" in model(**batch, mode="loss")) == bool(matching)
    history = sgd_steps(randomize(model, std=0.1).train(), batch, steps=5, lr=0.02)
    assert history[-1]["loss_itc"] < history[0]["loss_itc"]


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="margin=0 of a HingeContrastHead must be positive"):
        HingeContrastHead(2, 2, margin=0)
    with pytest.raises(ValueError, match="model.queue_size=24 is an option of neither head"):
        tiny_model(contrast={"type": "HingeContrastHead"})
