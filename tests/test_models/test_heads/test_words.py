from __future__ import annotations

import pytest
import torch

from uniadapter.models.heads import language_model_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_the_sum_over_predicted_tokens(smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 6), torch.tensor([[1, 2, 3, -100], [1, 5, -100, -100]])
    log_probs = torch.log_softmax(logits, dim=-1)
    sums = []
    for row, label in zip(log_probs, labels.tolist(), strict=True):
        terms = [
            -(1 - smoothing) * row[i, label[i + 1]] - smoothing * row[i].mean()
            for i in range(3)
            if label[i + 1] != -100
        ]
        sums.append(sum(terms))
    per_text = torch.stack(sums)
    got = language_model_loss(logits, labels, smoothing, reduction="sum")
    torch.testing.assert_close(got, per_text)
    # Three tokens are predicted altogether.
    mean = language_model_loss(logits, labels, smoothing)
    torch.testing.assert_close(mean, per_text.sum() / 3)


def test_there_is_a_label_a_position():
    with pytest.raises(ValueError, match=r"need labels \(2, 4\), got \(4, 2\)"):
        language_model_loss(torch.randn(2, 4, 6), torch.ones(4, 2, dtype=torch.long))
