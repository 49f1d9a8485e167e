"""Hard negatives of image-text matching."""

from __future__ import annotations

import torch

from uniadapter.utils.tensors import at_least_float32


@torch.no_grad()
def draw_negatives(
    logits: torch.Tensor,
    row_ids: torch.Tensor,
    column_ids: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw one negative a row from the softmaxed similarities, same ids masked out.

    The draw is made on the CPU: with the same generator state every rank draws the same rows.

    Args:
        logits (Tensor): Similarities divided by the temperature, (R, C).
        row_ids (Tensor): Media ids of the rows, (R,).
        column_ids (Tensor): Media ids of the columns, (C,).
        generator (torch.Generator): CPU generator.

    Returns:
        Tensor: Column indices (R,), long, on the device of ``logits``; -1 where all columns have
        the row's id.

    Raises:
        ValueError: If the similarities have another shape than the ids.
    """
    if logits.shape != (len(row_ids), len(column_ids)):
        raise ValueError(
            f"Similarities of {len(row_ids)} rows and {len(column_ids)} columns have the shape "
            f"{tuple(logits.shape)}."
        )
    same = row_ids[:, None] == column_ids[None]
    none_left = same.all(1)
    # Masking before the softmax is masking after it and renormalising, which the draw does
    # anyway, but can't underflow to a row of zeros.
    weights = torch.softmax(at_least_float32(logits).masked_fill(same, float("-inf")), dim=1)
    weights = weights.masked_fill(none_left[:, None], 1.0)
    # Similarities that are NaN make the losses NaN, which stops all ranks together; a draw that
    # failed would stop one of them only.
    weights = torch.where(weights.isnan(), (~same).to(weights.dtype), weights)
    drawn = torch.multinomial(weights.cpu(), 1, generator=generator).squeeze(1).to(logits.device)
    return drawn.masked_fill(none_left, -1)
