"""The losses of grounding against arithmetic on single numbers, on drawn outputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import draws
from tests.mdetr_reference import reference_losses
from uniadapter.models.heads import GroundingHead
from uniadapter.models.heads.boxes import Costs, Predictions, Targets, match
from uniadapter.registry import MODELS


def drawn(seed: int, rows: int, queries: int, classes: int, tokens: int, empty: bool = False):
    """Predictions, token vectors and targets; with ``empty`` the first text names nothing."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    boxes = torch.rand(rows, queries, 4, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    predictions = Predictions(
        normal(rows, queries, classes) * 3, boxes, F.normalize(normal(rows, queries, 6), dim=-1)
    )
    positive = torch.zeros(rows, classes, dtype=torch.bool)
    for row in range(rows):
        count = 1 + int(torch.randint(0, min(3, tokens - 1), (), generator=generator))
        positive[row, torch.randperm(tokens, generator=generator)[:count]] = True
    if empty:
        positive[0] = False
    wanted = torch.rand(rows, 4, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    vectors = F.normalize(normal(rows, tokens, 6), dim=-1)
    return predictions, vectors, Targets(wanted, positive)


@settings(max_examples=draws(15))
@given(
    seed=st.integers(0, 2**20),
    rows=st.integers(1, 4),
    queries=st.integers(1, 6),
    tokens=st.integers(2, 9),
    empty=st.booleans(),
)
def test_losses_of_one_output(seed, rows, queries, tokens, empty):
    head = GroundingHead(8, map_size=10)
    predictions, vectors, targets = drawn(seed, rows, queries, 10, tokens, empty)
    found = head.losses_of(predictions, vectors, targets)
    chosen = match(predictions, targets, head.costs)
    for row in range(rows):
        output = {
            "logits": predictions.logits[row],
            "boxes": predictions.boxes[row],
            "queries": predictions.queries[row],
            "tokens": vectors[row],
        }
        positive = set(targets.positive[row].nonzero()[:, 0].tolist())
        expected, query = reference_losses(output, targets.boxes[row], positive)
        assert chosen[row] == query
        for name, loss in expected.items():
            # The published division is by the count + 1e-6.
            assert found[name][row].item() == pytest.approx(loss, rel=1e-4, abs=1e-4), name


def test_the_positive_map_counts_every_token_fully():
    head = GroundingHead(8, map_size=6)
    predictions, vectors, targets = drawn(3, 1, 1, 6, 4)
    one = Targets(targets.boxes, torch.tensor([[True, False, False, False, False, False]]))
    both = Targets(targets.boxes, torch.tensor([[True, True, False, False, False, False]]))
    likely = predictions.logits[0, 0].log_softmax(-1)
    for targets, expected in ((one, -likely[0]), (both, -likely[0] - likely[1])):
        found = head.losses_of(predictions, vectors, targets)["ce"]
        assert found.item() == pytest.approx(expected.item())


def test_of_equal_costs_the_first_query_is_chosen():
    predictions, _, targets = drawn(5, 2, 3, 6, 4)
    same = Predictions(*(part[:, :1].expand(-1, 4, -1) for part in predictions))
    assert match(same, targets, Costs(1, 5, 2)).tolist() == [0, 0]


def test_outputs_are_named_and_weighted():
    torch.manual_seed(0)
    head = GroundingHead(8, map_size=10, weights={"bbox": 3.0})
    states, tokens = torch.randn(3, 2, 4, 8), head.tokens(torch.randn(2, 5, 8))
    targets = drawn(1, 2, 4, 10, 5)[2]
    targets = Targets(targets.boxes.float(), targets.positive)
    losses = head.loss(states, tokens, targets)
    names = ("ce", "bbox", "giou", "contrastive_align")
    assert list(losses) == [f"loss_{n}{b}" for b in ("_0", "_1", "") for n in names]
    alone = head.loss(states[2:], tokens, targets)
    for name in names:
        assert losses[f"loss_{name}"] == alone[f"loss_{name}"]
    plain = head.losses_of(head.predict(states[1]), tokens, targets)
    assert losses["loss_bbox_1"].item() == pytest.approx(3 * plain["bbox"].mean().item())


def test_the_head_is_built_by_the_registry_and_counts_as_published():
    with torch.device("meta"):
        head = MODELS.build({"type": "GroundingHead", "width": 256})
    assert sum(p.numel() for p in head.parameters()) == 65_792 + 132_612 + 2 * 16_448
    for options in ({"map_size": 1}, {"nothing_weight": -1}, {"costs": {"l1": 1}}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GroundingHead(8, **options)
