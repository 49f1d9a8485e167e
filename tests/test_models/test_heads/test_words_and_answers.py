"""Heads of words and answers, alone and inside of the model."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

from uniadapter.models.backbones import BertDecoder
from uniadapter.models.execution import CausalRows
from uniadapter.models.heads import AnswerHead, LanguageModelHead


def build(**options):
    with DefaultScope.overwrite_default_scope("mmengine"):
        return MODELS.build(options)


def test_the_word_head_alone_is_that_of_a_decoder():
    torch.manual_seed(0)
    sizes = {"vocab_size": 12, "hidden_size": 8, "num_layers": 1, "num_heads": 2}
    decoder = BertDecoder(**sizes, intermediate_size=16, encoder_width=8, max_positions=8).eval()
    head = build(type="uniadapter.LanguageModelHead", hidden_size=8, vocab_size=12)
    head.load_state_dict(decoder.cls.state_dict())
    ids = torch.randint(1, 12, (3, 5))
    labels = ids.masked_fill(torch.rand(3, 5) < 0.3, -100)
    cross = decoder.memory(torch.randn(3, 4, 8))
    rows = CausalRows(ids.shape[1], None, None, ids.device)
    states = decoder.bert(ids, None, cross, rows=rows)
    words = decoder.bert.embeddings.word_embeddings.weight
    logits, _ = decoder(ids, None, cross)
    torch.testing.assert_close(head(states, words), logits)
    want = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(head.loss(states, labels, words), want)


def test_a_word_head_with_a_matrix_of_its_own_trains():
    torch.manual_seed(0)
    head = build(type="uniadapter.LanguageModelHead", hidden_size=8, vocab_size=12, tied=False)
    states, labels = torch.randn(2, 4, 8), torch.randint(0, 12, (2, 4))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = head.loss(states, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(ValueError, match="tied to word embeddings"):
        head(states, torch.zeros(12, 8))
    with pytest.raises(ValueError, match="tied to word embeddings"):
        LanguageModelHead(8, 12)(states)


def test_answers_are_weighed_and_divided_by_questions():
    losses = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    loss = AnswerHead().loss(losses, torch.tensor([0.5, 0.25, 1.0]), 2)
    assert loss.item() == pytest.approx((0.5 + 0.5 + 4.0) / 2)
    loss.backward()
    assert losses.grad.tolist() == [0.25, 0.125, 0.5]


@pytest.mark.parametrize("k_test", [1, 3, 600])
def test_only_the_likeliest_first_words_are_scored(k_test):
    """More pairs than one call takes; equal first words in the order of the list."""
    torch.manual_seed(1)
    head = build(type="uniadapter.AnswerHead", k_test=k_test)
    first, words = torch.randn(2, 9).log_softmax(-1), torch.randint(0, 9, (500,))
    table = torch.randn(2, 500)
    calls = []

    def score(owner: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return table[owner, rows]

    got = head.rank(first, words, score)
    for question in range(2):
        order = sorted(range(500), key=lambda a, q=question: -float(first[q, words[a]]))
        for place, answer in enumerate(order):
            want = table[question, answer] if place < k_test else torch.tensor(float("-inf"))
            assert got[question, answer] == want
    assert sum(calls) == 2 * min(k_test, 500)
    assert max(calls) <= 256
    with pytest.raises(ValueError, match="k_test=0 must be at least 1"):
        AnswerHead(0)
