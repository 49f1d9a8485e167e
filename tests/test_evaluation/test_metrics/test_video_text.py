from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.evaluation.functional import best_of_groups, placed_ranks, tied_ranks
from uniadapter.evaluation.metrics import VideoTextMetric


def sorted_places(row, own):
    """Places of a value in a row that is sorted, largest first."""
    return [place + 1 for place, value in enumerate(sorted(row, reverse=True)) if value == own]


def drawn(seed, videos, most):
    """Captions a video, and whole-numbered similarities (texts, videos) with many ties."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, most + 1, (videos,), generator=generator).tolist()
    owner = [video for video, count in enumerate(counts) for _ in range(count)]
    scores = torch.randint(0, 5, (len(owner), videos), generator=generator).float()
    return owner, scores


@settings(max_examples=draws(25), deadline=None)
@given(
    seed=st.integers(0, 2**20),
    videos=st.integers(1, 6),
    most=st.integers(1, 4),
    block=st.integers(1, 5),
)
def test_against_sorting_by_hand(seed, videos, most, block):
    owner, scores = drawn(seed, videos, most)
    several = len(owner) > videos
    rows_of = list(zip(scores.tolist(), owner, strict=True))
    t2v = [p for row, own in rows_of for p in sorted_places(row, row[own])]
    if several:
        # One rank a caption: sorted twice, as the original does where videos have several.
        t2v = [sorted(range(videos), key=lambda v: -row[v]).index(own) + 1 for row, own in rows_of]
    groups = [[t for t, o in enumerate(owner) if o == video] for video in range(videos)]
    v2t = []
    for video in range(videos):
        best = [max(float(scores[t, video]) for t in texts) for texts in groups]
        v2t += sorted_places(best, best[video])
    metric = VideoTextMetric(total=True)
    positives = [[o] for o in owner]
    for start in range(0, len(owner), block):
        rows = slice(start, start + block)
        metric.process(
            None, [{"direction": 0, "scores": scores[rows], "positives": positives[rows]}]
        )
    for start in range(0, videos, block):
        rows = slice(start, start + block)
        sample = {"direction": 1, "scores": scores.t()[rows], "positives": groups[rows]}
        metric.process(None, [{**sample, "groups": torch.tensor(owner)}])
    found = metric.evaluate(videos)
    total = 0.0
    for name, ranks in (("t2v", t2v), ("v2t", v2t)):
        for k in (1, 5, 10):
            share = 100 * sum(rank <= k for rank in ranks) / len(ranks)
            assert found[f"{name}/R{k}"] == pytest.approx(share)
            total += share
        ordered = sorted(ranks)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        if several and name == "t2v":
            middle = ordered[(len(ordered) - 1) // 2]
        assert found[f"{name}/MdR"] == pytest.approx(middle)
        assert found[f"{name}/MnR"] == pytest.approx(sum(ranks) / len(ranks))
    assert found["Rsum"] == pytest.approx(total)


def test_a_tie_counts_with_every_place():
    ranks = tied_ranks(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), torch.tensor([2]))
    assert ranks.tolist() == [1, 2]


def test_a_caption_of_several_has_one_place():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0]]).expand(4, 4)
    assert placed_ranks(scores, torch.arange(4)).tolist() == [4, 1, 2, 3]


def test_bad_input():
    scores = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="NaN"):
        tied_ranks(scores / 0, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="outside"):
        tied_ranks(scores, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="one candidate a query"):
        tied_ranks(scores, torch.tensor([0]))
    with pytest.raises(ValueError, match="numbered from 0"):
        best_of_groups(scores, torch.tensor([0, 2, 2]))
    with pytest.raises(ValueError, match="groups"):
        best_of_groups(scores, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one medium"):
        VideoTextMetric().process(
            None, [{"direction": 0, "scores": scores, "positives": [[0, 1], [1]]}]
        )
