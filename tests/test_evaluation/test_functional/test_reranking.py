from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.evaluation.functional import (
    Distinct,
    PairTable,
    reranked_rows,
    reranking,
    score_blocks,
    shortlist,
    similarity_blocks,
    similarity_rows,
    texts_by_medium,
)

SIZES = st.integers(1, 9)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "_BLOCK", 2)
        yield


def test_similarity_in_blocks_covers_every_query_once() -> None:
    queries, gallery = torch.randn(5, 3), torch.randn(4, 3)
    blocks = list(similarity_blocks(queries, gallery))
    assert [rows for rows, _ in blocks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    torch.testing.assert_close(torch.cat([b for _, b in blocks]), queries @ gallery.t())


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, st.lists(st.integers(0, 8), max_size=12), st.integers(0, 99))
def test_a_pair_has_one_similarity(texts: int, media: int, rows: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (torch.randn(n, 37, generator=generator) for n in (texts, media))
    there = torch.cat([block for _, block in similarity_blocks(queries, gallery)])
    back = torch.cat([block for _, block in similarity_blocks(gallery, queries, turned=True)])
    # The very same products, so bit for bit on any processor.
    assert torch.equal(there.t(), back)
    chosen = torch.tensor([row for row in rows if row < texts], dtype=torch.long)
    assert torch.equal(similarity_rows(queries, gallery, chosen), there[chosen])
    chosen = torch.tensor([row for row in rows if row < media], dtype=torch.long)
    assert torch.equal(similarity_rows(gallery, queries, chosen, turned=True), back[chosen])


def test_shortlist_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    gallery = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    chosen, lengths = shortlist(queries, gallery, 2)
    assert chosen.tolist() == [[2, 1], [0, 1], [2, 1]]
    assert lengths.tolist() == [2, 2, 2]


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_a_shortlist_holds_what_no_order_could_push_out(
    queries: int, gallery: int, k: int, turned: bool, seed: int
) -> None:
    # Small whole numbers: their products are exact, and many tie.
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.randint(-1, 2, (n, 3), generator=generator).float() for n in (queries, gallery)
    )
    k = min(k, gallery)
    chosen, lengths = shortlist(left, right, k, turned)
    assert chosen.shape == (queries, k)
    for query, row in enumerate((left @ right.t()).tolist()):
        wanted = {c for c in range(gallery) if sum(other >= row[c] for other in row) <= k}
        if k == gallery:
            wanted = set(range(gallery))
        assert set(chosen[query, : lengths[query]].tolist()) == wanted


def test_nan_stays_on_the_shortlist() -> None:
    gallery = torch.tensor([[float("nan")], [1.0], [1.0]])
    chosen, lengths = shortlist(torch.ones(1, 1), gallery, 1)
    assert (chosen.tolist(), lengths.tolist()) == ([[0]], [1])


@given(st.lists(st.integers(0, 4), max_size=12))
def test_equal_items_are_one_kind(labels: list[int]) -> None:
    distinct = Distinct.of(labels)
    assert distinct.first.tolist() == [i for i, x in enumerate(labels) if x not in labels[:i]]
    assert [labels[i] for i in distinct.first[distinct.kind].tolist()] == labels


def test_copies_get_the_scores_of_their_originals() -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    queries, candidates = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([1, 0, 1])
    blocks = list(score_blocks(lambda rows: scores[rows], queries, candidates))
    assert [rows for rows, _ in blocks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    rows = torch.cat([block for _, block in blocks])
    assert rows.tolist() == [[2, 1, 2], [4, 3, 4], [2, 1, 2], [2, 1, 2], [4, 3, 4]]


def test_shortlists_turned_round() -> None:
    of_texts = torch.tensor([[2, 0], [0, 3], [2, 3]])
    texts = texts_by_medium(of_texts, num_media=5)
    assert [t.tolist() for t in texts] == [[0, 1], [], [0, 2], [1, 2], []]


def test_rows_outside_the_shortlist_hold_minus_100() -> None:
    candidates = torch.tensor([[2, 0], [1, 2], [0, 1]])
    scores = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    rows = reranked_rows(candidates, torch.tensor([2, 1, 2]), scores, 3, torch.tensor([2, 0, 1]))
    assert rows.tolist() == [[7.0, 8.0, -100.0], [4.0, -100.0, 3.0], [-100.0, 5.0, -100.0]]


def test_pairs_are_found_in_any_order() -> None:
    texts, media = torch.tensor([3, 0, 2]), torch.tensor([1, 1, 0])
    table = PairTable(texts, media, torch.tensor([1.0, 2.0, 3.0]), num_media=2)
    assert len(table) == 3
    assert table.lookup(torch.tensor([[0], [3]]), torch.tensor([[1], [1]])).tolist() == [[2], [1]]
    with pytest.raises(KeyError, match="1 of 2 pairs were not scored"):
        table.lookup(torch.tensor([2, 2]), torch.tensor([0, 1]))
