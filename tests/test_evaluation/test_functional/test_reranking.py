from __future__ import annotations

import pytest
import torch

from uniadapter.evaluation.functional import (
    PairTable,
    reranked_blocks,
    reranking,
    shortlist,
    similarity_blocks,
    texts_by_medium,
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranking, "_BLOCK", 2)


def test_similarity_in_blocks_covers_every_query_once() -> None:
    queries, gallery = torch.randn(5, 3), torch.randn(4, 3)
    blocks = list(similarity_blocks(queries, gallery))
    assert [rows for rows, _ in blocks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    torch.testing.assert_close(torch.cat([b for _, b in blocks]), queries @ gallery.t())


def test_shortlist_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    gallery = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    assert shortlist(queries, gallery, 2).tolist() == [[2, 1], [0, 1], [2, 1]]


def test_shortlists_turned_round() -> None:
    of_texts = torch.tensor([[2, 0], [0, 3], [2, 3]])
    texts = texts_by_medium(of_texts, num_media=5)
    assert [t.tolist() for t in texts] == [[0, 1], [], [0, 2], [1, 2], []]


def test_rows_outside_the_shortlist_hold_minus_100() -> None:
    candidates = torch.tensor([[2, 0], [1, 2], [0, 1]])
    scores = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    rows = torch.cat([b for _, b in reranked_blocks(candidates, scores, 3)])
    assert rows.tolist() == [[4.0, -100.0, 3.0], [-100.0, 5.0, 6.0], [7.0, 8.0, -100.0]]


def test_pairs_are_found_in_any_order() -> None:
    texts, media = torch.tensor([3, 0, 2]), torch.tensor([1, 1, 0])
    table = PairTable(texts, media, torch.tensor([1.0, 2.0, 3.0]), num_media=2)
    assert len(table) == 3
    assert table.lookup(torch.tensor([[0], [3]]), torch.tensor([[1], [1]])).tolist() == [[2], [1]]
    with pytest.raises(KeyError, match="1 of 2 pairs were not scored"):
        table.lookup(torch.tensor([2, 2]), torch.tensor([0, 1]))
