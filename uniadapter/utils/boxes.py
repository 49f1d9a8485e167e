"""Boxes: (centre x, centre y, width, height), or corners (left, top, right, bottom)."""

from __future__ import annotations

import torch


def to_corners(boxes: torch.Tensor) -> torch.Tensor:
    """Corners (..., 4) of boxes (..., 4) that are given by centre and size."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - size / 2, center + size / 2), -1)


def to_centers(corners: torch.Tensor) -> torch.Tensor:
    """Centre and size (..., 4) of boxes (..., 4) that are given by corners."""
    first, last = corners[..., :2], corners[..., 2:]
    return torch.cat(((first + last) / 2, last - first), -1)


def area(corners: torch.Tensor) -> torch.Tensor:
    """Area (...) of boxes (..., 4); 0 where a corner lies beyond the other one."""
    return (corners[..., 2:] - corners[..., :2]).clamp(min=0).prod(-1)


def generalized_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Generalised intersection over union (arXiv 1902.09630), box by box.

    ``IoU - (hull - union) / hull``, hull being the smallest box around both; at most the IoU,
    towards -1 for boxes far apart.

    Args:
        one (Tensor): Corners (..., 4).
        other (Tensor): Corners of a shape that broadcasts with the other's.

    Returns:
        Tensor: (...), NaN where both boxes have no area.
    """
    first = torch.maximum(one[..., :2], other[..., :2])
    last = torch.minimum(one[..., 2:], other[..., 2:])
    common = (last - first).clamp(min=0).prod(-1)
    union = area(one) + area(other) - common
    low = torch.minimum(one[..., :2], other[..., :2])
    high = torch.maximum(one[..., 2:], other[..., 2:])
    hull = (high - low).prod(-1)
    return common / union - (hull - union) / hull
