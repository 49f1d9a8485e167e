"""Two processes train VSE-infinity with UniPT as one does, batch norms included."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as torch_dist

from tests.spawn import spawn
from tests.test_models.test_tasks.test_vse import batch_of, model_of

SIZE = 5


def _step(rank: int = 0, world: int = 1) -> tuple[Any, dict[str, torch.Tensor]]:
    """Loss, gradients and statistics of this process's rows; the last rank has fewer."""
    model = model_of(3, token_drop=0.0).train()
    batch = {name: part[rank::world] for name, part in batch_of(4, [3, 5, 2, 4, 3]).items()}
    loss = model(**batch, mode="loss")["loss_itc"]
    loss.backward()
    found = {"loss": loss.detach()}
    found.update({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    return model, found


def _statistics(model: Any) -> dict[str, torch.Tensor]:
    return {n: b for n, b in model.adapter.named_buffers() if b.is_floating_point()}


def _share(rank: int, world: int, wanted: dict[str, Any], statistics: dict[str, Any]) -> None:
    model, found = _step(rank, world)
    assert set(found) == set(wanted)
    for name, value in found.items():
        # As DistributedDataParallel: the mean over ranks.
        torch_dist.all_reduce(value)
        torch.testing.assert_close(value / world, wanted[name], rtol=1e-6, atol=1e-8, msg=name)
    torch.testing.assert_close(_statistics(model), statistics)


def test_two_processes_train_as_one() -> None:
    model, wanted = _step()
    spawn(_share, 2, wanted, _statistics(model))
