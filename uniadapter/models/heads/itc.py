"""Contrastive loss with momentum targets and a feature queue, as in BLIP."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..execution import Execution


class FeatureQueue(nn.Module):
    """Ring buffer of momentum features, for any batch size.

    It starts with random unit vectors whose id is -100, as BLIP's.

    Args:
        dim (int): Width E of the features.
        size (int): Number of entries Q.
    """

    visual: torch.Tensor
    text: torch.Tensor
    ids: torch.Tensor
    ptr: torch.Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.register_buffer("visual", F.normalize(torch.randn(size, dim), dim=-1))
        self.register_buffer("text", F.normalize(torch.randn(size, dim), dim=-1))
        self.register_buffer("ids", torch.full((size,), -100, dtype=torch.long))
        self.register_buffer("ptr", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, visual: torch.Tensor, text: torch.Tensor, ids: torch.Tensor) -> None:
        """Overwrite the oldest entries.

        Args:
            visual (Tensor): Features (B, E).
            text (Tensor): Features (B, E).
            ids (Tensor): Media ids (B,). A batch larger than the queue keeps its last entries.

        Raises:
            ValueError: If there are not as many features as ids.
        """
        _check_rows("FeatureQueue.push", visual, text, ids)
        size = self.ids.shape[0]
        batch = ids.shape[0]
        # Row j of the batch goes where a one-by-one insertion would have put it, and the last
        # writer of a slot wins.
        rows = torch.arange(max(0, batch - size), batch, device=ids.device)
        slots = (self.ptr + rows) % size
        self.visual[slots] = visual[rows].to(self.visual.dtype)
        self.text[slots] = text[rows].to(self.text.dtype)
        self.ids[slots] = ids[rows]
        self.ptr.copy_((self.ptr + batch) % size)


def _check_rows(name: str, *tensors: torch.Tensor) -> None:
    """Refuse tensors that differ in rows, of which broadcasting would take one for many."""
    rows = [len(t) for t in tensors]
    if len(set(rows)) > 1:
        raise ValueError(f"{name} needs a row a sample in every tensor, got {rows} rows.")


def _soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(F.log_softmax(logits, dim=1) * targets).sum(1).mean()


def contrastive_loss(
    visual: torch.Tensor,
    text: torch.Tensor,
    momentum: tuple[torch.Tensor, torch.Tensor],
    candidates: tuple[torch.Tensor, torch.Tensor],
    ids: torch.Tensor,
    candidate_ids: torch.Tensor,
    temperature: torch.Tensor,
    alpha: float,
    execution: Execution | None = None,
) -> torch.Tensor:
    """Image-text contrastive loss with soft targets (BLIP; spec section 4).

    Args:
        visual (Tensor): Online features of this rank's media, (B, E).
        text (Tensor): Online features of their texts, (B, E).
        momentum (tuple): Momentum features of the same media and texts, (B, E) each.
        candidates (tuple): Momentum features of media and texts to compare with, (C, E) each;
            no gradient reaches them.
        ids (Tensor): Media ids (B,).
        candidate_ids (Tensor): Media ids (C,). Equal ids are positives.
        temperature (Tensor): Scalar that divides the similarities.
        alpha (float): Share of the momentum model's distribution in the targets.
        execution (Execution, optional): How gradients are taken. Defaults to the plain one.

    Returns:
        Tensor: Scalar, the mean of both directions.

    Raises:
        ValueError: If features and ids are not as many.
    """
    # Targets and candidates are constants, whichever way the gradients are taken.
    visual_all, text_all = (features.detach() for features in candidates)
    _check_rows("contrastive_loss", visual, text, *momentum, ids)
    _check_rows("contrastive_loss (candidates)", visual_all, text_all, candidate_ids)
    hard = (ids[:, None] == candidate_ids[None]).to(visual.dtype)
    hard = hard / hard.sum(1, keepdim=True)
    with torch.no_grad():
        soft_v2t = torch.softmax(momentum[0] @ text_all.t() / temperature, dim=1)
        soft_t2v = torch.softmax(momentum[1] @ visual_all.t() / temperature, dim=1)
        targets_v2t = alpha * soft_v2t + (1 - alpha) * hard
        targets_t2v = alpha * soft_t2v + (1 - alpha) * hard

    def loss(visual: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        loss_v2t = _soft_cross_entropy(visual @ text_all.t() / temperature, targets_v2t)
        loss_t2v = _soft_cross_entropy(text @ visual_all.t() / temperature, targets_t2v)
        return (loss_v2t + loss_t2v) / 2

    return (execution or Execution()).loss(loss, visual, text, temperature)
