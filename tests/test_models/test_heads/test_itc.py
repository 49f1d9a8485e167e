"""The contrastive loss against BLIP's formula, and the queue against one-by-one insertion."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from uniadapter.models.execution import Execution
from uniadapter.models.fast import FastExecution, FastPaths
from uniadapter.models.heads import FeatureQueue, contrastive_loss

FAST = FastExecution(FastPaths())


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def plain_itc(image, text, image_m, text_m, images, texts, ids, all_ids, temp, alpha):
    """Cross-entropy with soft targets, row by row."""
    total = 0.0
    for online, momentum, candidates in ((image, image_m, texts), (text, text_m, images)):
        for row in range(len(ids)):
            same = torch.tensor([float(other == ids[row]) for other in all_ids])
            soft = torch.softmax(candidates @ momentum[row] / temp, dim=0)
            target = alpha * soft + (1 - alpha) * same / same.sum()
            log_probs = torch.log_softmax(candidates @ online[row] / temp, dim=0)
            total = total - (target * log_probs).sum() / len(ids)
    return total / 2


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [0, 1, 0, 3], [5, 5, 5, 5]])
def test_loss_equals_the_plain_formula(alpha, ids):
    torch.manual_seed(0)
    image, text, image_m, text_m = (unit(4, 8) for _ in range(4))
    images, texts = torch.cat((image_m, unit(6, 8))), torch.cat((text_m, unit(6, 8)))
    ids, temp = torch.tensor(ids), torch.tensor(0.07)
    all_ids = torch.cat((ids, torch.tensor([0, -100, 9, 3, 5, -100])))
    got = contrastive_loss(
        image, text, (image_m, text_m), (images, texts), ids, all_ids, temp, alpha
    )
    want = plain_itc(
        image, text, image_m, text_m, images, texts, ids.tolist(), all_ids.tolist(), 0.07, alpha
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("execution", [None, Execution(), FAST], ids=["none", "plain", "fast"])
def test_gradient_reaches_features_and_temperature_but_no_target(execution):
    image, text = unit(3, 8).requires_grad_(), unit(3, 8).requires_grad_()
    targets = tuple(unit(3, 8).requires_grad_() for _ in range(2))
    temp = torch.tensor(0.07, requires_grad=True)
    ids = torch.arange(3)
    candidates = tuple(unit(3, 8).requires_grad_() for _ in range(2))
    loss = contrastive_loss(image, text, targets, candidates, ids, ids, temp, 0.4, execution)
    loss.backward()
    assert all(t.grad is not None for t in (image, text, temp))
    assert all(t.grad is None for t in (*targets, *candidates))


def test_gradients_that_were_taken_at_once_have_none_themselves():
    image, ids = unit(3, 8).requires_grad_(), torch.arange(3)
    rest = (unit(3, 8), (unit(3, 8),) * 2, (unit(3, 8),) * 2, ids, ids, torch.tensor(0.07), 0.4)
    with pytest.raises(RuntimeError, match="contrast_at_once=False"):
        torch.autograd.grad(contrastive_loss(image, *rest, FAST), image, create_graph=True)
    plain = contrastive_loss(image, *rest)
    (gradient,) = torch.autograd.grad(plain, image, create_graph=True)
    gradient.sum().backward()


@pytest.mark.parametrize("wrong", range(7))
def test_features_and_ids_are_as_many(wrong):
    """One row beside many would be taken for all of them."""
    rows = [1 if index == wrong else 3 for index in range(7)]
    image, text, image_m, text_m, images, texts = (unit(n, 8) for n in rows[:6])
    ids, temp = torch.arange(rows[6]), torch.tensor(0.07)
    pair, candidates = (image_m, text_m), (images, texts)
    with pytest.raises(ValueError, match="a row a sample"):
        contrastive_loss(image, text, pair, candidates, ids, torch.arange(3), temp, 0.4)
    with pytest.raises(ValueError, match="FeatureQueue.push"):
        FeatureQueue(8, 4).push(unit(3, 8), unit(3, 8), torch.arange(1))


@pytest.mark.parametrize("sizes", [[3], [5], [2, 2, 2], [4, 3], [7], [1, 12, 2], [5, 5, 5]])
def test_queue_equals_insertion_one_by_one(sizes):
    size, serial = 5, 0
    queue = FeatureQueue(4, size)
    visual, text, ids = queue.visual.clone(), queue.text.clone(), queue.ids.clone()
    place = 0
    for batch in sizes:
        new_visual, new_text = unit(batch, 4), unit(batch, 4)
        new_ids = torch.arange(serial, serial + batch)
        serial += batch
        queue.push(new_visual, new_text, new_ids)
        for row in range(batch):
            visual[place], text[place], ids[place] = new_visual[row], new_text[row], new_ids[row]
            place = (place + 1) % size
    assert torch.equal(queue.visual, visual)
    assert torch.equal(queue.text, text)
    assert torch.equal(queue.ids, ids)
    assert int(queue.ptr) == place


def test_queue_starts_with_unit_vectors_of_no_id():
    queue = FeatureQueue(4, 6)
    torch.testing.assert_close(queue.visual.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(queue.text.norm(dim=1), torch.ones(6))
    assert queue.ids.tolist() == [-100] * 6


def test_queue_keeps_its_dtype_and_takes_no_gradient():
    queue = FeatureQueue(4, 6)
    features = unit(2, 4).to(torch.bfloat16).requires_grad_()
    queue.push(features, features, torch.arange(2))
    assert queue.visual.dtype == torch.float32
    assert not queue.visual.requires_grad
