"""Which prediction is that of the box that was meant, and the losses of boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from uniadapter.utils.boxes import generalized_iou, to_corners
from uniadapter.utils.tensors import at_least_float32


class Predictions(NamedTuple):
    """What the heads say of Q queries of B pictures.

    Attributes:
        logits (Tensor): (B, Q, C) over positions of the text, the last one being "nothing".
        boxes (Tensor): (B, Q, 4), centre and size as shares of the picture.
        queries (Tensor): (B, Q, E), unit vectors for the alignment with tokens.
    """

    logits: torch.Tensor
    boxes: torch.Tensor
    queries: torch.Tensor


class Targets(NamedTuple):
    """The one box that a text means in each of B pictures.

    Attributes:
        boxes (Tensor): (B, 4), centre and size as shares of the picture.
        positive (Tensor): (B, C) bool, the tokens of the text that name the thing.
    """

    boxes: torch.Tensor
    positive: torch.Tensor


class Costs(NamedTuple):
    """Weights of the three terms by which a prediction is chosen."""

    token: float
    box: float
    giou: float


@torch.no_grad()
def match(predictions: Predictions, targets: Targets, costs: Costs) -> torch.Tensor:
    """Choose the prediction that stands for the box of each picture.

    Of each query the cost is ``token * -(sum of the probabilities of the positive tokens) + box *
    L1 + giou * -GIoU``. A picture has one box, so that the best assignment is the query that costs
    least, the first of equal ones.

    Args:
        predictions (Predictions): Of B pictures.
        targets (Targets): Of the same pictures.
        costs (Costs): The weights.

    Returns:
        Tensor: (B,) long, numbers of queries.
    """
    probabilities = at_least_float32(predictions.logits).softmax(-1)
    boxes, wanted = at_least_float32(predictions.boxes), targets.boxes[:, None]
    token = -(probabilities * targets.positive[:, None].to(probabilities.dtype)).sum(-1)
    distance = (boxes - wanted).abs().sum(-1)
    overlap = generalized_iou(to_corners(boxes), to_corners(wanted))
    return (costs.token * token + costs.box * distance - costs.giou * overlap).argmin(-1)


def token_loss(
    logits: torch.Tensor, positive: torch.Tensor, chosen: torch.Tensor, nothing: float
) -> torch.Tensor:
    """Cross-entropy with the positive tokens, of each query and picture summed.

    The target of the chosen query is 1 at *every* positive token (the published code turns rows
    that sum to 1 into such), that of all others the last position.

    Args:
        logits (Tensor): (B, Q, C).
        positive (Tensor): (B, C) bool.
        chosen (Tensor): (B,) long, from :func:`match`.
        nothing (float): Weight of the queries that are not chosen.

    Returns:
        Tensor: (B,).
    """
    likely = at_least_float32(logits).log_softmax(-1)
    rows = torch.arange(len(chosen), device=chosen.device)
    empty = -likely[..., -1]
    found = -(likely[rows, chosen] * positive.to(likely.dtype)).sum(-1)
    return found + nothing * (empty.sum(1) - empty[rows, chosen])


def box_losses(
    boxes: torch.Tensor, wanted: torch.Tensor, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """L1 distance and 1 - GIoU of the chosen boxes, (B,) each.

    Args:
        boxes (Tensor): (B, Q, 4), centre and size.
        wanted (Tensor): (B, 4).
        chosen (Tensor): (B,) long.
    """
    rows = torch.arange(len(chosen), device=chosen.device)
    found = at_least_float32(boxes[rows, chosen])
    distance = (found - wanted).abs().sum(-1)
    return distance, 1 - generalized_iou(to_corners(found), to_corners(wanted))


def alignment_loss(
    queries: torch.Tensor,
    tokens: torch.Tensor,
    positive: torch.Tensor,
    chosen: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Contrast between the chosen query and the tokens that name the thing.

    Half the sum of two terms. From the box: ``logsumexp`` over all tokens minus the mean over the
    positive ones. From every positive token: ``logsumexp`` over all queries minus the chosen one's.
    As published, "all tokens" are those of the padded row: a longer text in the batch changes the
    first term a little.

    Args:
        queries (Tensor): (B, Q, E), unit vectors.
        tokens (Tensor): (B, L, E), unit vectors.
        positive (Tensor): (B, L) bool.
        chosen (Tensor): (B,) long.
        temperature (float): Divisor of the similarities.

    Returns:
        Tensor: (B,); 0 of a text without a positive token.
    """
    rows = torch.arange(len(chosen), device=chosen.device)
    logits = at_least_float32(queries) @ at_least_float32(tokens).transpose(1, 2) / temperature
    own, named = logits[rows, chosen], positive.to(logits.dtype)
    # The published code guards the division so.
    from_box = own.logsumexp(-1) - (own * named).sum(-1) / (named.sum(-1) + 1e-6)
    from_box = from_box.masked_fill(~positive.any(-1), 0)
    from_tokens = ((logits.logsumexp(1) - own / (1 + 1e-6)) * named).sum(-1)
    return (from_box + from_tokens) / 2
