from __future__ import annotations

import pytest
import torch
import torch.distributed as torch_dist

from tests.spawn import spawn
from uniadapter.utils.dist import (
    gather_ragged,
    gather_sizes,
    gather_with_grad,
    global_size,
    own_rows,
)


def _model() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3)


def _loss(features: torch.Tensor) -> torch.Tensor:
    weight = torch.arange(1.0, len(features) + 1)
    return (torch.logsumexp(features @ features.t(), 1) * weight).mean()


def _single(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = torch.randn(n, 5, generator=torch.Generator().manual_seed(1))
    model = _model()
    _loss(model(data)).backward()
    return data, model.weight.grad


def _dealt(rank: int, world: int) -> None:
    for n in (7, 6, 2):
        _check_dealt(rank, world, n)


def _check_dealt(rank: int, world: int, n: int) -> None:
    """Rows dealt out as DefaultSampler does come back in order, and so do the gradients."""
    data, expected = _single(n)
    mine = data[rank::world]
    assert torch.equal(gather_ragged(mine), data)
    assert torch.equal(data[own_rows(len(mine))], mine)
    assert global_size(len(mine)) == n

    model = _model()
    gathered = gather_with_grad(model(mine))
    torch.testing.assert_close(gathered, _model()(data))
    _loss(gathered).backward()
    grad = model.weight.grad.clone()
    torch_dist.all_reduce(grad)
    torch.testing.assert_close(grad / world, expected)


@pytest.mark.parametrize("world", [2, 3])
def test_interleaved_equals_one_process(world: int) -> None:
    spawn(_dealt, world)


def _uneven(rank: int, world: int) -> None:
    sizes = [2, 0, 3]
    mine = torch.tensor([[10 * rank + j] for j in range(sizes[rank])]).long().reshape(-1, 1)
    assert gather_sizes(len(mine)) == sizes
    assert gather_ragged(mine).flatten().tolist() == [0, 20, 1, 21, 22]
    assert gather_ragged(mine, interleave=False).flatten().tolist() == [0, 1, 20, 21, 22]
    assert own_rows(len(mine)).tolist() == [[0, 2], [], [1, 3, 4]][rank]
    assert own_rows(len(mine), interleave=False).tolist() == [[0, 1], [], [2, 3, 4]][rank]
    for dtype in (torch.bool, torch.bfloat16, torch.float64):
        assert torch.equal(gather_ragged(mine.to(dtype)).long() > 0, gather_ragged(mine) > 0)
    # A rank without rows knows neither the trailing shape nor the dtype.
    unknown = mine if len(mine) else torch.empty(0)
    assert gather_ragged(unknown).shape == (5, 1)
    assert gather_ragged(unknown).dtype == torch.long
    assert gather_ragged(torch.empty(0, 4)).shape == (0, 4)

    # One row, of one number, that is a column of a wider tensor: its stride is not 1.
    wide = torch.arange(6.0).view(1, 6) + 10 * rank
    assert gather_ragged(wide[:, ::6]).flatten().tolist() == [0, 10, 20]
    assert gather_ragged(wide[0, ::6]).tolist() == [0, 10, 20]
    assert gather_ragged(wide[:, 1:5:2] if rank else wide[:0, 1:5:2]).tolist() == [
        [11, 13],
        [21, 23],
    ]

    _check_gradients(rank, world, sizes)


def _check_gradients(rank: int, world: int, sizes: list[int]) -> None:
    data, expected = _single(5)
    rows = own_rows(sizes[rank])
    model = _model()
    _loss(gather_with_grad(model(data[rows]))).backward()
    grad = model.weight.grad.clone()
    torch_dist.all_reduce(grad)
    torch.testing.assert_close(grad / world, expected)


def test_uneven_ranks() -> None:
    spawn(_uneven, 3)


def test_one_process_returns_its_own_tensor() -> None:
    t = torch.randn(3, 2, requires_grad=True)
    assert gather_ragged(t) is t
    assert gather_with_grad(t) is t
    assert own_rows(3).tolist() == [0, 1, 2]
    assert global_size(3) == 3


def _bad_tensors(rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="differ in dtype"):
        gather_ragged(torch.zeros(1, dtype=(torch.float32, torch.long)[rank]))
    with pytest.raises(ValueError, match="int16"):
        gather_ragged(torch.zeros(1, dtype=torch.int16))
    with pytest.raises(ValueError, match="1 to 8 dimensions"):
        gather_ragged(torch.tensor(1.0))
    with pytest.raises(ValueError, match="beyond their first dimension"):
        gather_ragged(torch.zeros(1, rank + 1))


def test_tensors_that_cannot_be_gathered() -> None:
    spawn(_bad_tensors, 2)
