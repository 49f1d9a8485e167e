"""Contrastive heads: alone in another project, inside of the model, over several processes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn
from torch.nn import functional as F

from tests.model_helpers import randomize, sgd_steps, tiny_batch, tiny_model
from tests.spawn import spawn
from uniadapter.models.adapters.state import count_parameters
from uniadapter.models.heads import BatchContrastHead, MomentumContrastHead

BATCH = {"type": "BatchContrastHead"}


@pytest.fixture
def foreign_scope():
    """The scope of another project, with a registry of its own."""
    if "otherproject" not in MODELS._children:
        Registry("model", parent=MODELS, scope="otherproject")
    with DefaultScope.overwrite_default_scope("otherproject"):
        yield


class Project(nn.Module):
    """Another project's model around a head: two towers of one layer each."""

    def __init__(self, head: dict[str, Any]) -> None:
        super().__init__()
        self.visual, self.words = nn.Linear(5, 6), nn.Linear(7, 8)
        self.head = MODELS.build({"visual_dim": 6, "text_dim": 8, "embed_dim": 4, **head})
        self.head.follow(self)

    def features(self, pixels: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.head(self.visual(pixels), self.words(texts))

    def loss(self, pixels: torch.Tensor, texts: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        targets = self.head.prepare(self, self.features, pixels, texts)
        return self.head.loss(*self.features(pixels, texts), ids, targets)


@pytest.mark.parametrize(
    "head",
    [
        {"type": "uniadapter.MomentumContrastHead", "queue_size": 6, "momentum": 0.9},
        {"type": "uniadapter.BatchContrastHead"},
    ],
)
def test_a_head_alone_trains_in_another_project(foreign_scope, head):
    torch.manual_seed(0)
    model = Project(head)
    inputs = (torch.randn(4, 5), torch.randn(4, 7), torch.arange(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(10):
        loss = model.loss(*inputs)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    other = Project(head)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.loss(*inputs), model.loss(*inputs))


def test_the_momentum_head_alone_is_that_of_the_whole_model():
    """A step on the states that the model's towers give is the step of the model."""
    model = randomize(tiny_model(momentum=0.9), std=0.1).train()
    model.on_weights_loaded()
    batch = tiny_batch()
    head = MomentumContrastHead(32, 32, 16, queue_size=24, momentum=0.9)
    own = {n: t for n, t in model.state_dict().items() if not n.startswith("ema.")}
    head.load_state_dict({n: own[n] for n in head.state_dict()})
    head.follow(head)
    cls = model.encode_visual(batch["pixels"])[0][:, :, 0].mean(1)
    words = model.encode_text(batch["input_ids"], batch["attention_mask"])[0][:, 0]
    targets = head.prepare(head, head, cls, words)
    loss = head.loss(*head(cls, words), batch["media_ids"], targets)
    want = model(**batch, mode="loss")["loss_itc"]
    torch.testing.assert_close(loss, want)
    for module, name in ((head, "vision_proj.weight"), (head, "temp")):
        got = torch.autograd.grad(loss, module.get_parameter(name), retain_graph=True)
        expected = torch.autograd.grad(want, model.get_parameter(name), retain_graph=True)
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(head.queue.visual, model.queue.visual)


def plain(visual: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss in its own words."""
    logits, labels = scale * visual @ text.t(), torch.arange(len(visual))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


@pytest.mark.parametrize("log_scale", [True, False])
def test_batch_contrast_is_plain_cross_entropy(log_scale):
    torch.manual_seed(1)
    head = BatchContrastHead(6, 8, 4, temperature=0.2, log_scale=log_scale)
    assert set(head.state_dict()) == {
        "vision_proj.weight",
        "text_proj.weight",
        "logit_scale" if log_scale else "temp",
    }
    visual, text = torch.randn(5, 6), torch.randn(5, 8)
    # Two media of one id stay each other's negatives.
    loss = head.loss(*head(visual, text), torch.tensor([0, 1, 1, 2, 3]))
    other = copy.deepcopy(head)
    scale = other.logit_scale.exp() if log_scale else 1 / other.temp
    features = [
        F.normalize(x @ proj.weight.t(), dim=-1)
        for x, proj in ((visual, other.vision_proj), (text, other.text_proj))
    ]
    want = plain(*features, scale)
    torch.testing.assert_close(loss, want)
    loss.backward()
    want.backward()
    for got, expected in zip(head.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad)


@pytest.mark.parametrize("log_scale", [True, False])
def test_the_scale_is_limited_where_an_option_says_so(log_scale):
    head = BatchContrastHead(6, 8, 4, temperature=0.001, log_scale=log_scale, max_scale=100)
    head.prepare(head, head)
    assert float(head.temperature.detach()) == pytest.approx(0.01)
    free = BatchContrastHead(6, 8, 4, temperature=0.001, log_scale=log_scale)
    free.prepare(free, free)
    assert float(free.temperature.detach()) == pytest.approx(0.001)


def rows_of(rank: int, world: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    visual = torch.randn(7, 6, generator=generator)
    return visual[rank::world], torch.randn(7, 8, generator=generator)[rank::world]


def batch_head() -> BatchContrastHead:
    torch.manual_seed(2)
    return BatchContrastHead(6, 8, 4, temperature=0.3)


def share(rank: int, world: int, want: dict[str, torch.Tensor]) -> None:
    """As DistributedDataParallel: the mean over ranks, whose rows are not as many."""
    head = batch_head()
    loss = head.loss(*head(*rows_of(rank, world)))
    loss.backward()
    found = {"loss": loss.detach(), **{n: p.grad for n, p in head.named_parameters()}}
    for name, value in want.items():
        torch_dist.all_reduce(found[name])
        torch.testing.assert_close(found[name] / world, value, msg=name)
    own_share(rank, world, want)


def own_share(rank: int, world: int, want: dict[str, torch.Tensor]) -> None:
    """Every rank has the loss of all pairs, and the ranks' gradients sum up to the whole one."""
    head = batch_head()
    head.gradients = "own"
    loss = head.loss(*head(*rows_of(rank, world)))
    loss.backward()
    torch.testing.assert_close(loss.detach(), want["loss"])
    for name in ("vision_proj.weight", "text_proj.weight"):
        gradient = head.get_parameter(name).grad
        torch_dist.all_reduce(gradient)
        torch.testing.assert_close(gradient, want[name], msg=name)


def test_gradients_of_own_features_alone():
    torch.manual_seed(4)
    one, other = BatchContrastHead(6, 8, 4), BatchContrastHead(6, 8, 4, gradients="own", eps=1e-6)
    other.load_state_dict(one.state_dict())
    results = []
    for head in (one, other):
        loss = head.loss(*head(*rows_of(0, 1)))
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in head.parameters())])
    torch.testing.assert_close(*results)
    with pytest.raises(ValueError, match=r"contrast\.gradients"):
        BatchContrastHead(6, 8, 4, gradients="some")
    with pytest.raises(ValueError, match="eps"):
        BatchContrastHead(6, 8, 4, eps=0.0)


@pytest.mark.parametrize("world", [2, 3])
def test_batch_contrast_of_processes_is_that_of_one(world):
    head = batch_head()
    loss = head.loss(*head(*rows_of(0, 1)))
    loss.backward()
    want = {"loss": loss.detach(), **{n: p.grad for n, p in head.named_parameters()}}
    spawn(share, world, want)


def two_towers(**options: Any) -> Any:
    adapter = {"type": "UniAdapter", "bottleneck": 8, "towers": ["visual", "text"]}
    return tiny_model(
        contrast=BATCH, matching=None, adapter=adapter, pfa=None, queue_size=None, **options
    )


def test_a_model_with_batch_contrast_and_without_matching():
    model = randomize(two_towers(), std=0.1).train()
    names = set(model.state_dict())
    assert {"vision_proj.weight", "text_proj.weight", "logit_scale"} <= names
    assert not {n for n in names if n.startswith(("queue.", "ema.", "itm_head.", "step", "temp"))}
    assert "fusion" not in model.roles()
    counts = count_parameters(model)
    assert counts["heads"] == 2 * 32 * 16
    assert counts["temperature"] == 1
    batch = tiny_batch()
    features = model.features(batch["pixels"], batch["input_ids"], batch["attention_mask"])
    losses = model(**batch, mode="loss")
    assert set(losses) == {"loss_itc"}
    torch.testing.assert_close(losses["loss_itc"], plain(*features, model.logit_scale.exp()))
    history = sgd_steps(model, batch, steps=5)
    assert history[-1]["loss_itc"] < history[0]["loss_itc"]
    assert not hasattr(model, "alpha_scale")
    with pytest.raises(ValueError, match=r"model.matching=None: rank by similarity alone"):
        model.match(batch["input_ids"], batch["attention_mask"], torch.zeros(3, 2, 5, 32))


def test_both_heads_may_be_spelled_out_or_written_flat():
    contrast = {"type": "MomentumContrastHead", "queue_size": 24, "momentum": 0.9, "alpha": 0.2}
    matching = {"type": "MatchingHead", "negatives": "own"}
    spelled = randomize(tiny_model(contrast=contrast, matching=matching)).train()
    flat = randomize(tiny_model(momentum=0.9, alpha=0.2, negatives="own")).train()
    for left, right in zip(
        sgd_steps(spelled, tiny_batch()), sgd_steps(flat, tiny_batch()), strict=True
    ):
        assert left == right


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"contrast": BATCH}, r"model.queue_size=24 is an option of neither head \(BatchContrastH"),
        (
            {"matching": None, "negatives": "own"},
            "model.negatives='own' is an option of neither head .* set model.negatives=None",
        ),
        (
            {"contrast": {"type": "MomentumContrastHead", "queue_size": 6}},
            "model.queue_size=24 and model.contrast.queue_size=6: give it once",
        ),
        ({"contrast": None}, "model.contrast=None must be a dict with a `type`"),
        ({"contrast": {**BATCH, "temperature": 0}, "queue_size": None}, "temperature=0 .* positiv"),
    ],
)
def test_options_that_no_head_takes(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(**options)


def test_a_head_that_follows_nothing_says_so():
    head = MomentumContrastHead(6, 8, 4, queue_size=3)
    with pytest.raises(ValueError, match=r"call follow\(model\)"):
        head.prepare(head, head)


def test_the_view_follows_the_model():
    """Tensors that are replaced in the model are those its heads work with, in copies as well."""
    model = tiny_model()
    model.vision_proj = nn.Linear(32, 16)
    assert model.contrast.vision_proj is model.vision_proj
    other = copy.deepcopy(model)
    assert other.contrast.vision_proj is other.vision_proj
    assert other.contrast.temp is other.temp
    assert other.contrast.temp is not model.temp
    state = {n: t + 0.01 if n == "temp" else t for n, t in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    assert model.contrast.temp is model.temp
    assert math.isclose(float(model.contrast.temperature.detach()), 0.08, abs_tol=1e-6)
