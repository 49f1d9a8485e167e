from __future__ import annotations

import pytest
import torch

from uniadapter.models.heads import draw_negatives


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_negative_never_shares_the_id():
    ids = torch.tensor([0, 1, 0, 2, 1, 0])
    # The positives are by far the most similar ones.
    logits = 100.0 * (ids[:, None] == ids[None]).float()
    for seed in range(50):
        drawn = draw_negatives(logits, ids, ids, generator(seed))
        assert (ids[drawn] != ids).all()


def test_rows_without_a_negative_are_marked():
    ids = torch.tensor([4, 4, 4])
    assert draw_negatives(torch.randn(3, 3), ids, ids, generator()).tolist() == [-1, -1, -1]
    columns = torch.tensor([4, 4, 7])
    assert draw_negatives(torch.randn(3, 3), ids, columns, generator()).tolist() == [2, 2, 2]


def test_similarities_have_the_shape_of_the_ids():
    with pytest.raises(ValueError, match=r"3 rows and 2 columns have the shape \(2, 3\)"):
        draw_negatives(torch.randn(2, 3), torch.arange(3), torch.arange(2), generator())


def test_frequencies_follow_the_softmax_without_the_positives():
    logits = torch.tensor([[3.0, 0.0, 1.0, 2.0]]).expand(20_000, 4)
    rows, columns = torch.zeros(20_000, dtype=torch.long), torch.arange(4)
    drawn = draw_negatives(logits, rows, columns, generator())
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    expected = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), dim=0)
    torch.testing.assert_close(share[1:], expected, atol=0.015, rtol=0)
    assert share[0] == 0


def test_extreme_similarities_do_not_underflow():
    ids = torch.arange(3)
    logits = torch.full((3, 3), -1e4)
    logits.fill_diagonal_(1e4)
    drawn = draw_negatives(logits, ids, ids, generator())
    assert (ids[drawn] != ids).all()


def test_the_same_generator_draws_the_same():
    ids, logits = torch.arange(8), torch.randn(8, 8)
    first = draw_negatives(logits, ids, ids, generator(3))
    assert torch.equal(first, draw_negatives(logits, ids, ids, generator(3)))
