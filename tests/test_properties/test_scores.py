"""Measures against their definitions, written as plainly as they can be."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.evaluation.functional import caption_scores, ranking

tied_scores = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])


@st.composite
def galleries(draw: st.DrawFn) -> tuple[list[list[float]], list[list[int]]]:
    """Scores of queries with candidates, many of them tied, and each query's right candidates."""
    queries, candidates = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    row = st.lists(tied_scores, min_size=candidates, max_size=candidates)
    right = st.lists(st.integers(0, candidates - 1), min_size=1)
    return (
        draw(st.lists(row, min_size=queries, max_size=queries)),
        draw(st.lists(right, min_size=queries, max_size=queries)),
    )


@settings(max_examples=draws(100))
@given(galleries())
def test_ranks_and_measures(gallery):
    """A rank is one more than the wrong candidates that are as good as the best right one."""
    scores, positives = gallery
    ranks = []
    for row, right in zip(scores, positives, strict=True):
        best = max(row[i] for i in right)
        ranks.append(1 + sum(s >= best for i, s in enumerate(row) if i not in right))
    got = ranking.ranks_of_best_positives(torch.tensor(scores), positives)
    assert got.tolist() == ranks
    measures = ranking.retrieval_measures(got)
    ordered, half = sorted(ranks), len(ranks) // 2
    median = ordered[half] if len(ranks) % 2 else (ordered[half - 1] + ordered[half]) / 2
    assert measures["MdR"] == median
    for k in (1, 5, 10):
        assert measures[f"R{k}"] == pytest.approx(100 * sum(r <= k for r in ranks) / len(ranks))
    mean = (measures["R1"] + measures["R5"] + measures["R10"]) / 3
    assert measures["RMean"] == pytest.approx(mean)


WORDS = st.lists(st.sampled_from(["a", "red", "dog", "runs", "big"]), max_size=7)


def ngrams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu(references: list[list[list[str]]], predictions: list[list[str]], order: int) -> float:
    """BLEU of a corpus: clipped precisions, closest reference lengths (Papineni et al., 2002)."""
    length = sum(len(words) for words in predictions)
    wanted = sum(
        min((abs(len(r) - len(words)), len(r)) for r in rows)[1]
        for rows, words in zip(references, predictions, strict=True)
    )
    product = 1.0
    for n in range(1, order + 1):
        right = total = 0
        for rows, words in zip(references, predictions, strict=True):
            counts = ngrams(words, n)
            total += max(0, len(words) - n + 1)
            right += sum(min(c, max(ngrams(r, n)[g] for r in rows)) for g, c in counts.items())
        # pycocoevalcap's constants keep an empty numerator or denominator from being 0.
        product *= (right + 1e-15) / (total + 1e-9)
    brevity = 1.0 if length > wanted else math.exp(1 - (wanted + 1e-9) / (length + 1e-9 + 1e-15))
    return 100 * product ** (1 / order) * brevity


def cider_d(references: list[list[list[str]]], predictions: list[list[str]]) -> float:
    """CIDEr-D with sigma 6 (Vedantam et al., 2015)."""
    images = len(references)
    seen: Counter = Counter()
    for rows in references:
        seen.update({g for row in rows for n in range(1, 5) for g in ngrams(row, n)})

    def vector(words: list[str], n: int) -> dict:
        weights = ngrams(words, n)
        return {g: c * (math.log(images) - math.log(max(1, seen[g]))) for g, c in weights.items()}

    total = 0.0
    for rows, words in zip(references, predictions, strict=True):
        for row in rows:
            # Lengths are compared in pairs of words, as the published code counts them.
            gap = max(0, len(words) - 1) - max(0, len(row) - 1)
            for n in range(1, 5):
                left, right = vector(words, n), vector(row, n)
                dot = sum(min(v, right.get(g, 0)) * right.get(g, 0) for g, v in left.items())
                norms = math.sqrt(sum(v * v for v in left.values()))
                norms *= math.sqrt(sum(v * v for v in right.values()))
                if norms:
                    dot /= norms
                total += dot * math.exp(-(gap**2) / (2 * 6**2)) / len(rows) / 4 * 10
    return 100 * total / images


@settings(max_examples=draws(40))
@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), WORDS), min_size=1, max_size=5))
def test_caption_scores(corpus):
    """BLEU-1 to 4 and CIDEr of drawn captions, empty ones among them."""
    references = [rows for rows, _ in corpus]
    predictions = [words for _, words in corpus]
    if not any(word for rows in references for words in rows for word in words):
        references[0][0] = ["a"]
    got = caption_scores.score_captions(
        {i: [" ".join(words) for words in rows] for i, rows in enumerate(references)},
        {i: " ".join(words) for i, words in enumerate(predictions)},
        ["Bleu", "CIDEr"],
    )
    for order in (1, 2, 3, 4):
        assert got[f"Bleu_{order}"] == pytest.approx(bleu(references, predictions, order), abs=1e-3)
    assert got["CIDEr"] == pytest.approx(cider_d(references, predictions), abs=1e-6)
