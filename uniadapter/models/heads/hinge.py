"""The hinge loss of VSE-infinity, on all negatives of a batch or on the hardest ones."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size

from uniadapter.registry import MODELS
from uniadapter.utils.dist import gather_with_grad, own_rows

from .contrast import ContrastHead, Features

# Of the hard negatives that a matching head draws: the loss itself divides by nothing.
_TEMPERATURE = 0.07


@MODELS.register_module()
class HingeContrastHead(ContrastHead):
    """Triplet loss over the batches of all ranks, with gradients (VSE++ eq. 6, VSE-infinity).

    Every pair should be more similar than both of its members are to others, by a margin::

        sum over pairs i of  [margin + max_j s(v_i, t_j) - s_ii]+  +  [margin + max_j s(v_j, t_i) - s_ii]+

    with j other than i; before the hardest negatives count alone, the sum over j stands in the
    place of the maximum. The hook ``HardNegativeHook`` turns from one to the other as training
    goes on, by :attr:`hardest` and :attr:`loss_scale`.

    Only the own pair is positive: a second caption of a medium in the batch counts as a negative,
    as in the original.

    Args:
        visual_dim (int): Width of the states of media.
        text_dim (int): Width of the states of texts.
        embed_dim (int): Width E of the features. Defaults to 1024.
        margin (float): Of the cosine similarity. Defaults to 0.2.
        bias (bool): Whether the projections have a bias. Defaults to True.

    Raises:
        ValueError: If the margin is not positive.
    """  # noqa: E501

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        embed_dim: int = 1024,
        margin: float = 0.2,
        bias: bool = True,
    ) -> None:
        if margin <= 0:
            raise ValueError(f"{margin=} of a {type(self).__name__} must be positive.")
        super().__init__(visual_dim, text_dim, embed_dim, bias)
        self.margin = margin
        #: Whether the hardest negatives count alone, rather than all.
        self.hardest = True
        #: Factor of the loss, which a hook raises from 0 to 1.
        self.loss_scale = 1.0

    @property
    def temperature(self) -> torch.Tensor:
        """A constant, by which a matching head draws its negatives."""
        return torch.tensor(_TEMPERATURE)

    def loss(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        ids: torch.Tensor | None = None,
        targets: Features | None = None,
    ) -> torch.Tensor:
        """The sum over all ranks' pairs, both directions, times :attr:`loss_scale`.

        ``ids`` and ``targets`` play no part; see the base class for the rest.

        Returns:
            Tensor: Scalar; this rank's part, of which the mean over ranks is the sum over pairs.
        """
        with torch.autocast(visual.device.type, enabled=False):
            own = own_rows(len(visual)).to(visual.device)
            visual_all, text_all = gather_with_grad(visual), gather_with_grad(text)
            paired = (visual * text).sum(-1, keepdim=True)
            total = self._violations(visual @ text_all.t() - paired, own)
            total = total + self._violations(text @ visual_all.t() - paired, own)
        # DistributedDataParallel takes the mean over ranks.
        return total * (self.loss_scale * get_world_size())

    def _violations(self, excess: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Sum of the hinges of rows (b, B) whose own pairs stand in the columns ``own`` (b,)."""
        cost = (self.margin + excess).clamp(min=0).scatter(1, own[:, None], 0.0)
        # No rank may have a pair.
        return cost.max(1).values.sum() if self.hardest and cost.numel() else cost.sum()
