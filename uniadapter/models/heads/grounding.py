"""MDETR's heads: which tokens a query stands for, where its box is, and how both are aligned."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import weigh_mean

from .base import Head
from .boxes import (
    Costs,
    Predictions,
    Targets,
    alignment_loss,
    box_losses,
    match,
    token_loss,
)

WEIGHTS = {"ce": 1.0, "bbox": 5.0, "giou": 2.0, "contrastive_align": 1.0}
COSTS = {"token": 1.0, "box": 5.0, "giou": 2.0}


class BoxMLP(nn.Module):
    """Three linear layers, ReLU between them: a state (..., d) to (..., 4).

    Args:
        width (int): Width d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, width, width, 4)
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers."""
        x = F.relu(self.layers[1](F.relu(self.layers[0](x))))
        return self.layers[2](x)


def _chosen(given: Mapping[str, float] | None, known: dict[str, float], key: str) -> dict:
    unknown = sorted(set(given or {}) - set(known))
    if unknown:
        raise ValueError(f"{key} has the unknown key(s) {unknown}: it takes {sorted(known)}.")
    chosen = {**known, **(given or {})}
    if any(value < 0 for value in chosen.values()):
        raise ValueError(f"{key}={dict(given or {})} must not be negative.")
    return chosen


@MODELS.register_module()
class GroundingHead(Head):
    """Predicts boxes and what names them, and owns the losses of that.

    Args:
        width (int): Width d of the states of queries and tokens.
        map_size (int): Positions of a text that a query may stand for, the last of them being
            "nothing". Defaults to 256.
        align_dim (int): Width of the alignment. Defaults to 64.
        temperature (float): Of the alignment. Defaults to 0.07.
        nothing_weight (float): Weight of queries that no box was assigned to, in the token loss.
            Defaults to 0.1.
        weights (dict, optional): Of the losses ``ce`` (1), ``bbox`` (5), ``giou`` (2) and
            ``contrastive_align`` (1).
        costs (dict, optional): Of the matching, ``token`` (1), ``box`` (5) and ``giou`` (2).

    Raises:
        ValueError: If an option is outside its set.
    """

    def __init__(
        self,
        width: int,
        map_size: int = 256,
        align_dim: int = 64,
        temperature: float = 0.07,
        nothing_weight: float = 0.1,
        weights: Mapping[str, float] | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if map_size < 2:
            raise ValueError(f"head.map_size={map_size} must have room for a token and nothing.")
        if not temperature > 0 or nothing_weight < 0:
            raise ValueError(
                f"head.temperature={temperature} must be above 0 and head.nothing_weight="
                f"{nothing_weight} not negative."
            )
        self.map_size, self.temperature = map_size, temperature
        self.nothing_weight = nothing_weight
        self.weights = _chosen(weights, WEIGHTS, "head.weights")
        self.costs = Costs(**_chosen(costs, COSTS, "head.costs"))
        self.class_embed = nn.Linear(width, map_size)
        self.bbox_embed = BoxMLP(width)
        self.contrastive_align_projection_image = nn.Linear(width, align_dim)
        self.contrastive_align_projection_text = nn.Linear(width, align_dim)

    def predict(self, states: torch.Tensor) -> Predictions:
        """What queries of states (..., Q, d) stand for."""
        queries = self.contrastive_align_projection_image(states)
        return Predictions(
            self.class_embed(states),
            self.bbox_embed(states).sigmoid(),
            F.normalize(queries, dim=-1),
        )

    def tokens(self, states: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, L, E) of the encoder's states (B, L, d) of a text's tokens."""
        return F.normalize(self.contrastive_align_projection_text(states), dim=-1)

    def loss(
        self, states: torch.Tensor, tokens: torch.Tensor, targets: Targets
    ) -> dict[str, torch.Tensor]:
        """Losses of the last output and, each with a matching of its own, of those before it.

        Args:
            states (Tensor): States of queries, (outputs, B, Q, d), the prediction last.
            tokens (Tensor): From :meth:`tokens`, (B, L, E).
            targets (Targets): The boxes.

        Returns:
            dict[str, Tensor]: ``loss_ce``, ``loss_bbox``, ``loss_giou`` and
            ``loss_contrastive_align``, weighted, each the sum over boxes divided by the number of
            boxes of all processes; and with ``_0``, ``_1`` ... behind, those of the earlier
            outputs.
        """
        losses: dict[str, torch.Tensor] = {}
        last, count = len(states) - 1, len(targets.boxes)
        share = weigh_mean(states.new_ones((), dtype=torch.float32), count) / max(count, 1)
        for number, output in enumerate(self.predict(states) for states in states):
            behind = "" if number == last else f"_{number}"
            for name, loss in self.losses_of(output, tokens, targets).items():
                losses[f"loss_{name}{behind}"] = self.weights[name] * share * loss.sum()
        return losses

    def losses_of(
        self, output: Predictions, tokens: torch.Tensor, targets: Targets
    ) -> dict[str, torch.Tensor]:
        """Losses of one output by name, (B,) each, not weighted."""
        chosen = match(output, targets, self.costs)
        distance, overlap = box_losses(output.boxes, targets.boxes, chosen)
        named = targets.positive[:, : tokens.shape[1]]
        named = F.pad(named, (0, tokens.shape[1] - named.shape[1]))
        return {
            "ce": token_loss(output.logits, targets.positive, chosen, self.nothing_weight),
            "bbox": distance,
            "giou": overlap,
            "contrastive_align": alignment_loss(
                output.queries, tokens, named, chosen, self.temperature
            ),
        }
