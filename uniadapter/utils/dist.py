"""Gathering tensors over ranks whose batches differ in length.

The *interleaved* order takes row 0 of every rank, then row 1 of every rank, and so on, leaving out
the ranks that have run out of rows. mmengine's ``DefaultSampler`` gives rank ``r`` the indices
``r::world_size``, so this is the very order in which a single process would have seen the samples.
Every function here is a collective: all ranks must call it, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as torch_dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import once_differentiable

from .tensors import as_bytes, at_least_float32

_MAX_DIMS = 8
_DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def gather_sizes(n_local: int) -> list[int]:
    """Number of rows on every rank.

    Args:
        n_local: Rows on this rank.

    Returns:
        One number a rank, in rank order.
    """
    if get_world_size() == 1:
        return [n_local]
    return [header[1] for header in _gather_headers(torch.empty(n_local))]


def global_size(n_local: int) -> int:
    """Rows over all ranks.

    Args:
        n_local: Rows on this rank.
    """
    return sum(gather_sizes(n_local))


def own_rows(n_local: int, interleave: bool = True) -> Tensor:
    """Positions of this rank's rows in the gathered tensor.

    Args:
        n_local: Rows on this rank.
        interleave: Order of the gathered tensor, as in :func:`gather_ragged`.

    Returns:
        Long tensor (n_local,) on the CPU.
    """
    return _positions(gather_sizes(n_local), interleave)[get_rank()]


def gather_ragged(t: Tensor, interleave: bool = True) -> Tensor:
    """Concatenate the ranks' tensors along their first dimension, without gradient.

    Args:
        t: (n, ...); n may differ between ranks and may be 0, the other dimensions and the dtype
            must agree. A rank with n = 0 may hand over an empty tensor of any trailing shape and
            dtype: it takes those of the others.
        interleave: Order the rows as one process would have seen them; otherwise rank by rank.

    Returns:
        (sum of n, ...) on the device of ``t``, alike on every rank; ``t`` itself on one rank.

    Raises:
        ValueError: If trailing shape or dtype of two non-empty tensors differ.
    """
    if get_world_size() == 1:
        return t
    return _gather(t.detach(), interleave)[0]


def gather_with_grad(t: Tensor, interleave: bool = True) -> Tensor:
    """As :func:`gather_ragged`, with gradient.

    The backward pass sums the gradients that all ranks have for the gathered tensor and gives each
    rank its own rows. When every rank computes the same loss from the gathered tensor, the
    averaging of DistributedDataParallel then yields the gradient of one process. ``t`` must require
    a gradient on all ranks or on none, as the backward pass is a collective too.

    Args:
        t: (n, ...), as in :func:`gather_ragged`.
        interleave: Order of the result.

    Returns:
        (sum of n, ...), alike on every rank; ``t`` itself on one rank.

    Raises:
        ValueError: If trailing shape or dtype of two non-empty tensors differ.
    """
    if get_world_size() == 1:
        return t
    return _GatherWithGrad.apply(t, interleave)


def weigh_mean(mean: Tensor, count: int) -> Tensor:
    """Turn this rank's mean into its part of the mean over all ranks' items.

    DistributedDataParallel averages gradients over the ranks. Where they have unequal numbers of
    items (words, questions, pairs), the average of their means is another loss than that of one
    process; the average of what this returns is that of one process.

    Args:
        mean: Mean over this rank's items, a scalar; zero where it has none.
        count: Number of this rank's items.

    Returns:
        The mean times ``count`` and the number of ranks, divided by the items of all ranks; on one
        rank the mean itself.
    """
    world = get_world_size()
    if world == 1:
        return mean
    total = torch.tensor(count, device=_comm_device())
    torch_dist.all_reduce(total)
    # Not read on the host, which would wait for the device.
    return mean * (count * world / total.clamp(min=1)).to(mean.device)


class _GatherWithGrad(torch.autograd.Function):
    """Gather in the forward pass, sum and slice in the backward pass."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, t: Tensor, interleave: bool) -> Tensor:
        gathered, sizes = _gather(t, interleave)
        ctx.rows = _positions(sizes, interleave)[get_rank()]  # type: ignore[attr-defined]
        ctx.shape = t.shape  # type: ignore[attr-defined]
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        # Half precision would lose digits in the sum, and not every backend can add it.
        total = at_least_float32(grad).to(_comm_device(), copy=True).contiguous()
        torch_dist.all_reduce(total)
        own = total[ctx.rows.to(total.device)]  # type: ignore[attr-defined]
        return own.to(grad.device, grad.dtype).reshape(ctx.shape), None  # type: ignore[attr-defined]


def _comm_device() -> torch.device:
    if torch_dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _gather_headers(t: Tensor) -> list[list[int]]:
    """Of every rank: index of the dtype, then the shape."""
    if not 1 <= t.dim() <= _MAX_DIMS:
        raise ValueError(f"gathering needs a tensor of 1 to {_MAX_DIMS} dimensions, got {t.dim()}")
    if t.dtype not in _DTYPES:
        raise ValueError(f"gathering knows the types {list(map(str, _DTYPES))}, got {t.dtype}")
    header = [_DTYPES.index(t.dtype), t.dim(), *t.shape, *([0] * (_MAX_DIMS - t.dim()))]
    own = torch.tensor(header, dtype=torch.long, device=_comm_device())
    headers = [torch.empty_like(own) for _ in range(get_world_size())]
    torch_dist.all_gather(headers, own)
    return [[h[0], *h[2 : h[1] + 2]] for h in (header.tolist() for header in headers)]


def _common_layout(headers: list[list[int]]) -> tuple[torch.dtype, tuple[int, ...]] | None:
    """Dtype and trailing shape of the ranks that have rows; None when no rank has any."""
    layouts = {(_DTYPES[h[0]], tuple(h[2:])) for h in headers if h[1] > 0}
    if len(layouts) > 1:
        raise ValueError(
            "cannot gather tensors that differ in dtype or beyond their first dimension: "
            f"{sorted(map(str, layouts))}; pad or cast them first"
        )
    return layouts.pop() if layouts else None


def _gather(t: Tensor, interleave: bool) -> tuple[Tensor, list[int]]:
    """The gathered tensor and the number of rows of each rank."""
    headers = _gather_headers(t)
    sizes = [header[1] for header in headers]
    layout = _common_layout(headers)
    if layout is None:
        return t, sizes
    dtype, trailing = layout
    # Rows travel as bytes, so that any dtype works with any backend.
    row_bytes = math.prod(trailing) * dtype.itemsize
    padded = torch.zeros(max(sizes), row_bytes, dtype=torch.uint8, device=_comm_device())
    if t.shape[0] > 0:
        padded[: t.shape[0]] = as_bytes(t.to(padded.device)).reshape(t.shape[0], row_bytes)
    parts = [torch.empty_like(padded) for _ in sizes]
    torch_dist.all_gather(parts, padded)
    data = torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])
    order = torch.cat(_positions(sizes, interleave)).argsort().to(data.device)
    gathered = data[order].reshape(-1).view(dtype).reshape(sum(sizes), *trailing)
    return gathered.to(t.device), sizes


def _positions(sizes: Sequence[int], interleave: bool) -> list[Tensor]:
    """For each rank the positions of its rows in the gathered tensor."""
    step = torch.cat([torch.arange(n) for n in sizes])
    rank = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    key = step * len(sizes) + rank if interleave else torch.arange(len(step))
    position = torch.empty_like(key)
    position[key.argsort()] = torch.arange(len(key))
    return list(position.split(list(sizes)))
