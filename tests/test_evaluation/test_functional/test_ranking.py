from __future__ import annotations

import pytest
import torch

from uniadapter.evaluation.functional import (
    median_rank,
    rank_of_best_positive,
    ranks_of_best_positives,
    recall_at_k,
    retrieval_measures,
)


@pytest.mark.parametrize(
    ("scores", "positives", "rank"),
    [
        ([0.9, 0.1, 0.5], [0], 1),
        ([0.9, 0.1, 0.5], [2], 2),
        ([0.9, 0.1, 0.5], [1], 3),
        # A tied wrong candidate is ahead, wherever it stands.
        ([0.5, 0.5, 0.1], [0], 2),
        ([0.5, 0.5, 0.1], [1], 2),
        ([0.3, 0.3, 0.3], [0], 3),
        # A tie between two positives costs nothing.
        ([0.5, 0.5, 0.1], [0, 1], 1),
        # The best positive decides; the other one is not in its way.
        ([0.2, 0.9, 0.5, 0.8], [0, 3], 2),
        ([0.2, 0.9, 0.5, 0.8], [2, 3], 2),
        ([0.7], [0], 1),
        ([-100.0, -100.0, 2.0], [0], 3),
    ],
)
def test_rank_by_hand(scores: list[float], positives: list[int], rank: int) -> None:
    assert rank_of_best_positive(torch.tensor(scores), positives) == rank


def test_several_captions_in_both_directions() -> None:
    # Video 0 has texts 0 and 1, video 1 has text 2, video 2 has text 3.
    texts_by_videos = torch.tensor(
        [
            [0.9, 0.2, 0.1],  # right: rank 1
            [0.3, 0.6, 0.4],  # video 0 is third
            [0.1, 0.7, 0.7],  # tie with video 2: rank 2
            [0.5, 0.4, 0.6],  # rank 1
        ]
    )
    t2v = ranks_of_best_positives(texts_by_videos, [[0], [0], [1], [2]])
    assert t2v.tolist() == [1, 3, 2, 1]
    # Video 0: text 0 leads. Video 1: text 2 leads. Video 2: text 2 is ahead of text 3.
    v2t = ranks_of_best_positives(texts_by_videos.t(), [[0, 1], [2], [3]])
    assert v2t.tolist() == [1, 1, 2]


def test_measures_by_hand() -> None:
    measures = retrieval_measures(torch.tensor([1, 3, 7, 20]))
    assert measures == {"R1": 25.0, "R5": 50.0, "R10": 75.0, "MdR": 5.0, "RMean": 50.0}
    assert median_rank(torch.tensor([1, 4, 9])) == 4.0


def test_collapsed_model_gets_no_credit() -> None:
    ranks = ranks_of_best_positives(torch.zeros(200, 200), [[i] for i in range(200)])
    measures = retrieval_measures(ranks)
    assert measures["R10"] == 0.0
    assert measures["MdR"] == 200.0


def test_gallery_smaller_than_k_is_always_found() -> None:
    ranks = ranks_of_best_positives(torch.zeros(3, 3), [[0], [1], [2]])
    assert recall_at_k(ranks, 1) == 0.0
    assert recall_at_k(ranks, 5) == 100.0


def test_nan_is_an_error() -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"1 of 3 queries have NaN scores \(first: query 1\)"):
        ranks_of_best_positives(scores, [[0], [1], [2]])


@pytest.mark.parametrize(
    ("positives", "message"),
    [
        ([[0], []], "query 1 has no right candidate"),
        ([[0], [2]], "query 1 names the candidates"),
        ([[-1], [0]], "query 0 names the candidates"),
        ([[0]], "don't fit the positives of 1 queries"),
    ],
)
def test_bad_positives(positives: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranks_of_best_positives(torch.zeros(2, 2), positives)


def test_empty_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="test split is empty"):
        retrieval_measures(torch.empty(0, dtype=torch.long))
