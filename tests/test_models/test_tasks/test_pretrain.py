from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.model_helpers import seeded_model, sgd_steps, tiny_batch, tiny_pretrain_cfg
from uniadapter.models.adapters.state import count_parameters


def test_all_three_losses_train_every_tower():
    model = seeded_model(tiny_pretrain_cfg(adapter=None, pfa=None)).train()
    counts = count_parameters(model)
    assert counts["trainable"] == counts["total"]
    batch = tiny_batch(size=4, frames=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = sgd_steps(model, batch, steps=6, lr=0.02)
    assert set(losses[0]) == {"loss_itc", "loss_itm", "loss_lm"}
    assert losses[-1]["loss_lm"] < losses[0]["loss_lm"]
    still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    # Constants added to all keys of a query leave a softmax as it is.
    assert all(name.endswith(".key.bias") for name in still)


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_language_model_loss_equals_a_plain_reference(smoothing):
    cfg = tiny_pretrain_cfg(adapter=None, pfa=None, label_smoothing=smoothing)
    model, batch = seeded_model(cfg).eval(), tiny_batch()
    got = model(**batch, mode="loss")["loss_lm"]
    tokens = model.encode_visual(batch["pixels"])[0]
    total, count = 0.0, 0
    for row, mask in enumerate(batch["attention_mask"]):
        words = batch["input_ids"][row, : int(mask.sum())].clone()
        words[0] = model.dec_token_id
        cross = model.decoder.memory(tokens[row].flatten(0, 1)[None])
        logits, _ = model.decoder(words[None], memory=cross)
        total += F.cross_entropy(
            logits[0, :-1], words[1:], label_smoothing=smoothing, reduction="sum"
        )
        count += len(words) - 1
    torch.testing.assert_close(got, total / count, atol=1e-5, rtol=1e-5)


def test_the_decoder_has_no_momentum_copy():
    model = seeded_model(tiny_pretrain_cfg(adapter=None))
    assert not any(name.startswith("decoder.") for name in model.ema.averages())
    assert any(name.startswith("text.") for name in model.ema.averages())
