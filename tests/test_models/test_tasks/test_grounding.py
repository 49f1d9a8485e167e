"""MDETR with UniPT against a second implementation that knows no padding; and what it promises."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws, tiny_retrieval_cfg
from tests.mdetr_reference import MAP, VOCAB, ReferenceMDETR, config, reference_losses
from uniadapter.checkpoints.layouts.fused import split_fused
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.checkpoints.layouts.mdetr import MDETR
from uniadapter.models.build import build_model
from uniadapter.models.components import count_parameters
from uniadapter.models.heads.boxes import Predictions
from uniadapter.models.tasks import GroundingModel
from uniadapter.structures import MultimodalSample
from uniadapter.utils.finite import NotFiniteError


def converted(reference: ReferenceMDETR, adapter: bool = True) -> GroundingModel:
    """The package's model with the reference's weights, by way of the layout."""
    state, _ = map_keys(split_fused(reference.state_dict()), MDETR, "reference")
    model: Any = build_model(config(adapter, train_backbone=not adapter))
    if not adapter:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("adapter.")}
    model.load_state_dict(state)
    return model.eval()


def draw_batch(seed: int, rows: int = 3, wider: int = 0, longer: int = 0) -> dict[str, Any]:
    """Pictures and texts of uneven odd sizes, padded to the largest and beyond."""
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    sizes = [(number(17, 41), number(17, 41)) for _ in range(rows)]
    lengths = [number(3, 9) for _ in range(rows)]
    height, width = (max(size[i] for size in sizes) + wider for i in (0, 1))
    pixels = torch.zeros(rows, 3, height, width)
    mask = torch.zeros(rows, height, width, dtype=torch.bool)
    ids = torch.ones(rows, max(lengths) + longer, dtype=torch.long)
    positive = torch.zeros(rows, MAP, dtype=torch.bool)
    for row, ((h, w), length) in enumerate(zip(sizes, lengths, strict=True)):
        pixels[row, :, :h, :w] = torch.randn(3, h, w, generator=generator)
        mask[row, :h, :w] = True
        ids[row, :length] = torch.randint(4, VOCAB, (length,), generator=generator)
        positive[row, 1 : number(2, length - 1)] = True
    centers = torch.rand(rows, 2, generator=generator) * 0.4 + 0.3
    boxes = torch.cat((centers, torch.rand(rows, 2, generator=generator) * 0.5 + 0.05), 1)
    batch = {"pixels": pixels, "pixel_mask": mask, "input_ids": ids}
    return {**batch, "attention_mask": (ids != 1).long(), "boxes": boxes, "positive": positive}


def inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: batch[key] for key in ("pixels", "pixel_mask", "input_ids", "attention_mask")}


def reference_outputs(
    reference: ReferenceMDETR, batch: dict[str, Any], side: bool
) -> list[dict[str, torch.Tensor]]:
    maps = reference.features(batch["pixels"])
    found = []
    for row, cells in enumerate(maps):
        # Nearest cells of the mask, from its upper left corner.
        height, width = batch["pixel_mask"].shape[1:]
        rows = [i * height // cells.shape[1] for i in range(cells.shape[1])]
        columns = [i * width // cells.shape[2] for i in range(cells.shape[2])]
        real = batch["pixel_mask"][row][rows][:, columns]
        h, w = int(real[:, 0].sum()), int(real[0].sum())
        length = int(batch["attention_mask"][row].sum())
        found.append(reference(cells[:, :h, :w], batch["input_ids"][row, :length], side))
    return found


@pytest.mark.parametrize("side", [True, False], ids=["unipt", "plain"])
@settings(max_examples=draws(2))
@given(seed=st.integers(0, 2**20), wider=st.integers(0, 9), longer=st.integers(0, 4))
def test_outputs_are_those_of_the_formulas(side, seed, wider, longer):
    reference = ReferenceMDETR(seed % 7)
    model = converted(reference, side)
    batch = draw_batch(seed, 2, wider, longer)
    with torch.no_grad():
        found = model.ground(**inputs(batch))
        head = model.head("grounding")
        said, tokens = head.predict(found.queries), head.tokens(found.tokens)
        expected = reference_outputs(reference, batch, side)
    for row, wanted in enumerate(expected):
        torch.testing.assert_close(said.logits[:, row], wanted["logits"], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(said.boxes[:, row], wanted["boxes"], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(said.queries[:, row], wanted["queries"], atol=2e-4, rtol=1e-4)
        length = len(wanted["tokens"])
        torch.testing.assert_close(tokens[row, :length], wanted["tokens"], atol=2e-5, rtol=1e-4)


def losses_by_hand(model: GroundingModel, batch: dict[str, Any]) -> dict[str, float]:
    """Of the model's own outputs: the sum over pictures divided by their number."""
    with torch.no_grad():
        found = model.ground(**inputs(batch))
        head = model.head("grounding")
        said, tokens = head.predict(found.queries), head.tokens(found.tokens)
    weights = {"ce": 1, "bbox": 5, "giou": 2, "contrastive_align": 1}
    totals: dict[str, float] = {}
    outputs, rows = said.boxes.shape[:2]
    for number in range(outputs):
        for row in range(rows):
            output = {
                "logits": said.logits[number, row],
                "boxes": said.boxes[number, row],
                "queries": said.queries[number, row],
                "tokens": tokens[row],
            }
            positive = set(batch["positive"][row].nonzero()[:, 0].tolist())
            losses, _ = reference_losses(output, batch["boxes"][row], positive)
            for name, loss in losses.items():
                behind = "" if number == outputs - 1 else f"_{number}"
                key = f"loss_{name}{behind}"
                totals[key] = totals.get(key, 0) + weights[name] * loss / rows
    return totals


@pytest.mark.parametrize("side", [True, False], ids=["unipt", "plain"])
def test_losses_are_those_of_the_formulas(side):
    model = converted(ReferenceMDETR(3), side)
    batch = draw_batch(11)
    found = model(**batch, mode="loss")
    expected = losses_by_hand(model, batch)
    assert set(found) == set(expected)
    assert len(found) == 4 * (4 if side else 6)
    for name, loss in found.items():
        assert loss.item() == pytest.approx(expected[name], rel=2e-4, abs=2e-4), name


def test_gradients_reach_what_is_trained_and_nothing_else():
    model = converted(ReferenceMDETR(1)).train()
    before = copy.deepcopy(model.state_dict())
    sum(model(**draw_batch(5), mode="loss").values()).backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    heads = ("class_embed.", "bbox_embed.", "contrastive_align_projection_")
    assert all(name.startswith(("adapter.", *heads)) for name in trained)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in trained), name
    # Nothing that runs in training changes a buffer.
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_the_frozen_towers_are_quiet_in_training_unless_told_otherwise():
    batch = draw_batch(4)
    for dropout in (False, True):
        model = build_model(config(adapter={"type": "CoupledUniPT", "tower_dropout": dropout}))
        model.train()
        first, second = (model(**batch, mode="loss")["loss_ce"] for _ in range(2))
        assert torch.equal(first, second) != dropout


def test_what_stands_at_padding_does_not_matter():
    model = converted(ReferenceMDETR(2))
    batch = draw_batch(8, wider=6, longer=3)
    with torch.no_grad():
        clean = model(**inputs(batch))
        dirty = copy.deepcopy(inputs(batch))
        noise = torch.randn_like(dirty["pixels"]) * 50
        noise[noise > 80] = torch.inf
        dirty["pixels"] = torch.where(dirty["pixel_mask"][:, None], dirty["pixels"], noise)
        found = model(**dirty)
    assert torch.equal(clean.boxes, found.boxes)
    assert torch.equal(clean.logits, found.logits)


def test_disabled_is_the_bare_model():
    reference = ReferenceMDETR(6)
    model, bare = converted(reference), converted(reference, adapter=False)
    batch = inputs(draw_batch(9))
    with torch.no_grad():
        with model.adapter_disabled():
            off = model(**batch)
        assert not torch.equal(off.boxes, model(**batch).boxes)
        assert torch.equal(off.boxes, bare(**batch).boxes)


def test_a_frozen_start_is_the_bare_model():
    """At step 0; then it trains, by the loss of its one output alone."""
    bare = converted(ReferenceMDETR(8), adapter=False)
    model = build_model(config(adapter={"type": "CoupledUniPT", "start": "frozen"}))
    model.load_state_dict(bare.state_dict(), strict=False)
    batch = draw_batch(10)
    with torch.no_grad():
        found, wanted = (one.eval()(**inputs(batch)) for one in (model, bare))
    assert torch.equal(found.boxes[-1], wanted.boxes[-1])
    assert torch.equal(found.logits[-1], wanted.logits[-1])
    optimizer = torch.optim.Adam(model.adapter.parameters(), lr=1e-2)
    norm = model.adapter.sides["decoder"].up.norm.weight
    assert not norm.any()
    for _ in range(2):
        losses = model.train()(**batch, mode="loss")
        assert len(losses) == 4
        sum(losses.values()).backward()
        optimizer.step()
    assert norm.all()
    # What lies behind the zeros has a gradient since they are none.
    first = model.adapter.sides["encoder"].down[0].linear.weight.grad
    assert first is not None
    assert first.any()


@pytest.mark.parametrize(
    "options", [{"confidence": "uniform"}, {"identity": False}, {"taps": "1,3"}, {"reduction": 4}]
)
def test_an_ablation_is_another_model(options):
    """With the same weights, as far as it has them, it answers something else."""
    reference = ReferenceMDETR(4)
    full = converted(reference)
    model = build_model(config(adapter={"type": "CoupledUniPT", **options})).eval()
    batch = draw_batch(2)
    assert len(model(**batch, mode="loss")) == 4 * (3 if "taps" in options else 4)
    own = model.state_dict()
    state = {n: t for n, t in full.state_dict().items() if n in own and own[n].shape == t.shape}
    model.load_state_dict(state, strict=False)
    widths = {side.side_dim for side in model.adapter.sides.values()}
    assert widths == {16 // options.get("reduction", 2)}
    with torch.no_grad():
        found, other = (one.ground(**inputs(batch)).queries[-1] for one in (model, full))
    assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "LoRA", "rank": 2},
        {
            "type": "BottleneckAdapter",
            "preset": "pfeiffer",
            "bottleneck": 3,
            "roles": ["encoder", "decoder"],
        },
    ],
    ids=["lora", "bottleneck"],
)
def test_methods_that_fill_sites_train_too(adapter):
    model = build_model(config(adapter=adapter)).train()
    sum(model(**draw_batch(3), mode="loss").values()).backward()
    own = [p for p in model.adapter.parameters() if p.requires_grad]
    assert own
    assert all(p.grad is not None for p in own)


def test_counts_are_the_published_ones():
    cfg: dict[str, Any] = {
        "type": "GroundingModel",
        "visual": {"type": "FrozenResNet"},
        "text": {"type": "RobertaText"},
        "detr": {"type": "DetrTower"},
        "adapter": {"type": "CoupledUniPT"},
    }
    with torch.device("meta"):
        model: Any = build_model(cfg)
    counts = count_parameters(model)
    assert counts["adapter"] == 481_666
    assert counts["heads"] == 231_300
    assert counts["trainable"] == 712_966
    for run, count in (("encoder", 198_913), ("decoder", 282_753)):
        assert sum(p.numel() for p in model.adapter.sides[run].parameters()) == count
    # ResNet-101 has 42.5 million without its classifier, RoBERTa 124.1 without its pooling layer.
    assert sum(p.numel() for p in model.text.parameters()) == 124_055_040


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fast": False}, "model.fast"),
        ({"prefix_cache": {"dir": "x"}}, "model.prefix_cache"),
        ({"train_backbone": True}, "train_backbone"),
        ({"head": {"weights": {"l1": 3}}}, "weights"),
        ({"head": {"temperature": 0}}, "temperature"),
        ({"adapter": {"type": "CoupledUniPT", "taps": "1,6"}}, "adapter.taps"),
        ({"adapter": {"type": "CoupledUniPT", "reduction": 5}}, "adapter.reduction"),
        ({"adapter": {"type": "CoupledUniPT", "confidence": "no"}}, "adapter.confidence"),
        ({"adapter": {"type": "CoupledUniPT", "start": "auto"}}, "adapter.start"),
    ],
)
def test_wrong_options_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        build_model({**config(), **change})


def test_a_side_network_for_two_needs_two_roles():
    with pytest.raises(ValueError, match="encoder and its decoder"):
        build_model({**tiny_retrieval_cfg(), "adapter": {"type": "CoupledUniPT"}})


def test_shapes_that_do_not_fit_are_refused():
    model = converted(ReferenceMDETR(0))
    batch = inputs(draw_batch(1))
    with pytest.raises(ValueError, match="pixel_mask"):
        model(**{**batch, "pixel_mask": batch["pixel_mask"][:1]})
    with pytest.raises(ValueError, match="input_ids"):
        model(**{**batch, "input_ids": batch["input_ids"][:1]})
    with pytest.raises(ValueError, match="boxes"):
        model(**batch, mode="loss")


def test_skipped_pictures_keep_their_samples():
    model = converted(ReferenceMDETR(0))
    batch = inputs(draw_batch(1, rows=2))
    shapes = [{"ori_shape": (30, 50)}, {"skipped": True}, {"ori_shape": (9, 7)}]
    samples = [MultimodalSample(metainfo=facts) for facts in shapes]
    with torch.no_grad():
        found = model(**batch, data_samples=samples, mode="predict")
        said = model(**batch)
    assert [len(sample.get("pred_boxes") or ()) for sample in found] == [5, 0, 5]
    scores = 1 - said.logits.softmax(-1)[..., -1]
    for row, sample, (height, width) in ((0, found[0], (30, 50)), (1, found[2], (9, 7))):
        best = int(scores[row].argmax())
        x, y, w, h = said.boxes[row, best].tolist()
        corners = [(x - w / 2) * width, (y - h / 2) * height]
        corners += [(x + w / 2) * width, (y + h / 2) * height]
        assert sample.pred_boxes[0] == pytest.approx(corners, abs=1e-3)
        assert sample.pred_scores == sorted(sample.pred_scores, reverse=True)
    none = {key: value[:0] for key, value in batch.items()}
    skipped = [samples[1]]
    assert model(**none, data_samples=skipped, mode="predict") == skipped
    with pytest.raises(ValueError, match="mode='train'"):
        model(**batch, mode="train")


def test_checkpointing_gives_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        model = converted(ReferenceMDETR(5), adapter=False)
        for tower in model.towers().values():
            tower.grad_checkpointing = recompute
            for part in tower.modules():
                if hasattr(part, "p"):
                    part.p = 0.0
        model.train()
        for part in model.modules():
            for name in ("dropout", "attention_dropout", "activation_dropout"):
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, 0.0)
        sum(model(**draw_batch(7), mode="loss").values()).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.deep
@settings(max_examples=50)
@given(seed=st.integers(0, 2**20))
def test_losses_of_drawn_batches(seed):
    model = converted(ReferenceMDETR(seed % 11), adapter=bool(seed % 2))
    batch = draw_batch(seed, rows=1 + seed % 4)
    expected = losses_by_hand(model, batch)
    for name, loss in model(**batch, mode="loss").items():
        assert loss.item() == pytest.approx(expected[name], rel=1e-3, abs=1e-3), name


def test_boxes_are_not_ordered_by_scores_that_are_no_numbers() -> None:
    logits = torch.zeros(1, 2, 3)
    logits[0, 1, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="Scores of the boxes: 1 of 2 are NaN"):
        GroundingModel._ranked(Predictions(logits, *torch.zeros(2, 1, 2, 4)))
