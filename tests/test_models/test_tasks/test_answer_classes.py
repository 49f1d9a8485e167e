"""CLIP-ViL as a task: against the reference, frozen where it says so, one process or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.clip_vil_helpers import ANSWERS, draw_batch, small_cfg, small_model
from tests.helpers import draws
from tests.test_models import clip_vil_reference as reference
from uniadapter.apis import convert_checkpoint
from uniadapter.checkpoints import backbone_fingerprint, load_adapter, load_weights, save_adapter
from uniadapter.models.build import build_model
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample
from uniadapter.utils.finite import NotFiniteError

pytest.importorskip("transformers")


VIT = {"embed_dims": 8, "num_layers": 1, "num_heads": 1, "feedforward_channels": 8}
BERT = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_layers": 1,
    "num_heads": 1,
    "intermediate_size": 8,
    "encoder_width": 128,
}
LADDER = {"type": "Ladder", "roles": ["fusion"], "reduction": 2, "num_heads": 2}


def samples(count: int) -> list[MultimodalSample]:
    """Samples with no, one and several answers."""
    labels = [{}, {"yes": 1.0}, {"a red ball": 0.3, "2": 0.6}, {"gray": 0.9, "no": 0.3}]
    return [
        MultimodalSample(
            metainfo={
                "question_id": index,
                "answers": list(labels[index % 4]),
                "answer_weights": list(labels[index % 4].values()),
            }
        )
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, reference.State]:
    """A model with weights of a file in the authors' layout, and that file's tensors."""
    folder = tmp_path_factory.mktemp("published")
    state = reference.draw_state(torch.Generator().manual_seed(5))
    torch.save(state, folder / "BEST.pth")
    config = Config({"model": small_cfg()})
    convert_checkpoint(folder / "BEST.pth", folder / "own.safetensors", config, "clip-vil")
    model = MODELS.build(small_cfg())
    load_weights(model, folder / "own.safetensors")
    return model.eval(), state


@settings(max_examples=draws(3))
@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
)
def test_logits_are_the_reference(published, seed, lengths, rows, columns) -> None:
    model, state = published
    batch = draw_batch(seed, lengths, rows, columns)
    with torch.no_grad():
        found = model(**batch)
        with model.adapter_disabled():
            bare = model(**batch)
    for index, length in enumerate(lengths):
        ids, image = batch["input_ids"][index, :length].tolist(), batch["pixels"][index, 0]
        for got, adapted in ((found, True), (bare, False)):
            want = reference.logits(ids, image, state, 2, adapted)
            torch.testing.assert_close(got[index], want, rtol=1e-4, atol=1e-4)


@settings(max_examples=draws(3))
@given(seed=st.integers(0, 2**16), more=st.integers(1, 6))
def test_padding_never_reaches_real_tokens(seed: int, more: int) -> None:
    """Neither its number nor what stands there."""
    model = small_model(seed % 7).eval()
    batch = draw_batch(seed, [3, 5], 1, 2)
    words = {key: batch[key] for key in ("input_ids", "attention_mask")}
    longer = {key: torch.nn.functional.pad(value, (0, more)) for key, value in words.items()}
    ids = torch.where(longer["attention_mask"] > 0, longer["input_ids"], 7)
    other = {**longer, "input_ids": ids}
    with torch.no_grad():
        want = model(**batch)
        for changed in (longer, other):
            found = model(pixels=batch["pixels"], **changed)
            torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_what_trains_and_what_does_not() -> None:
    model = small_model().train()
    loss = model(**draw_batch(0, [4, 2], 1, 2), data_samples=samples(2), mode="loss")
    loss["loss_answers"].backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"adapter", "logit_fc"}
    for name, parameter in model.named_parameters():
        if name in trained:
            assert parameter.grad is not None, name
        else:
            assert parameter.grad is None, name
    # The pooler is frozen between the two; its input has a gradient all the same.
    assert model.adapter.sides["fusion"].up.linear.weight.grad.abs().max() > 0


def test_the_backbone_stands_still_in_training() -> None:
    """Its dropout is off and its batch norm averages stay; a switch brings both back."""
    batch = draw_batch(1, [4, 4], 1, 2)
    model = small_model().train()
    assert torch.equal(model(**batch), model(**batch))
    parity = small_model(
        adapter={"type": "UniPT", "tower_dropout": True},
        visual={**small_cfg()["visual"], "norm_eval": False},
    ).train()
    before = parity.visual.model.bn1.running_mean.clone()
    assert not torch.equal(parity(**batch), parity(**batch))
    assert not torch.equal(parity.visual.model.bn1.running_mean, before)


def test_averages_that_move_are_saved_with_the_adapter(tmp_path: Path) -> None:
    visual = {**small_cfg()["visual"], "norm_eval": False}
    model = small_model(visual=visual).train()
    start = small_model(visual=visual)
    before = backbone_fingerprint(model)
    model(**draw_batch(1, [4, 4], 1, 2))
    # They are no part of what must stay, but of what is saved.
    assert backbone_fingerprint(model) == before
    load_adapter(start, save_adapter(model, tmp_path / "adapter"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(start.state_dict()[name], tensor), name
    fixed = save_adapter(small_model(), tmp_path / "fixed")
    with pytest.raises(ValueError, match="missing in the file"):
        load_adapter(small_model(visual=visual), fixed)


def test_full_fine_tuning_trains_all_of_it() -> None:
    model = small_model(adapter=None, train_backbone=True).train()
    model(**draw_batch(0, [4, 2], 1, 2), data_samples=samples(2), mode="loss")[
        "loss_answers"
    ].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_loss_is_the_mean_over_questions_and_answers_times_500() -> None:
    model = small_model(loss_weight=500.0).eval()
    batch, labelled = draw_batch(2, [4, 2, 3, 1], 2, 1), samples(4)
    with torch.no_grad():
        logits = model(**batch).double()
        found = model(**batch, data_samples=labelled, mode="loss")["loss_answers"]
    total = 0.0
    for row, sample in zip(logits.sigmoid(), labelled, strict=True):
        scores = dict(zip(sample.answers, sample.answer_weights, strict=True))
        for answer, share in zip(ANSWERS, row, strict=True):
            score = scores.get(answer, 0.0)
            total -= score * share.log() + (1 - score) * (1 - share).log()
    torch.testing.assert_close(found.double(), 500 * total / (4 * len(ANSWERS)), rtol=1e-4, atol=0)


def test_an_adapter_brings_its_answers(tmp_path: Path) -> None:
    model = small_model()
    folder = save_adapter(model, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["extras"] == {"answer_list": ANSWERS}
    gone = small_model(answer_list=str(tmp_path / "gone.json"))
    load_adapter(gone, folder)
    batch = draw_batch(0, [4, 2], 1, 1)
    answered = [MultimodalSample(metainfo={"question_id": n, "skipped": n == 1}) for n in range(3)]
    seen = gone.eval()(**batch, data_samples=answered, mode="predict")
    assert [sample.get("pred_answer") for sample in seen][1] is None
    best = model.eval()(**batch).argmax(1).tolist()
    assert [seen[n].pred_answer for n in (0, 2)] == [ANSWERS[index] for index in best]
    other = small_model(answer_list=ANSWERS[::-1])
    with pytest.raises(ValueError, match="is another list than the one this head was trained with"):
        load_adapter(other, folder)


def test_logits_that_are_no_numbers_choose_nothing() -> None:
    model = small_model().eval()
    batch = draw_batch(0, [4], 1, 1)
    batch["pixels"][0, 0, 0, 0, 0] = torch.nan
    answered = [MultimodalSample(metainfo={"question_id": 0})]
    with pytest.raises(NotFiniteError, match="Scores of the answers: .* are NaN"):
        model(**batch, data_samples=answered, mode="predict")


def test_lists_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    with pytest.raises(ValueError, match=r"has 2 answers, and model\.num_answers=5"):
        MODELS.build(small_cfg(answer_list=["yes", "no"]))
    with pytest.raises(ValueError, match=r"entry 1, 'a', stands at 0 already"):
        MODELS.build(small_cfg(answer_list=["a", "a", "b", "c", "d"]))
    model = MODELS.build(small_cfg(answer_list=str(path)))
    with pytest.raises(FileNotFoundError, match=r"answers\.json does not exist"):
        model.init_weights()
    for content, message in (
        ("{}", "a list of answers is expected"),
        ("[1]", "entry 0 is 1, no text"),
        ("[", "is not valid JSON"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            model.init_weights()
    nameless = MODELS.build(small_cfg(answer_list=None))
    nameless.init_weights()
    with pytest.raises(ValueError, match=r"set model\.answer_list"):
        _ = nameless.answer_list


def test_batches_that_do_not_fit() -> None:
    model = small_model()
    batch = draw_batch(0, [4, 2], 1, 1)
    wrong = MultimodalSample(metainfo={"question_id": 9, "answers": ["x"], "answer_weights": [1]})
    with pytest.raises(ValueError, match=r"The answer 'x' of question 9 is none"):
        model(**batch, data_samples=[wrong, wrong], mode="loss")
    with pytest.raises(ValueError, match="2 questions have 1 samples"):
        model(**batch, data_samples=[wrong], mode="loss")
    with pytest.raises(ValueError, match="mode='train'"):
        model(**batch, mode="train")
    with pytest.raises(ValueError, match=r"attention_mask \(2, 3\) must have the shape"):
        model(**{**batch, "attention_mask": batch["attention_mask"][:, :3]})
    with pytest.raises(ValueError, match="positions"):
        model(**draw_batch(0, [25], 1, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {"grid_width": 64}}, r"set model\.text\.grid_width=128"),
        ({"text": {"num_heads": 3}}, "no multiple of 3 attention heads"),
        ({"num_answers": 0, "answer_list": None}, "num_answers=0 must be"),
        ({"loss_weight": 0.0}, r"loss_weight=0\.0 must be above 0"),
        ({"adapter": {"type": "UniPT", "side_dim": 4}}, r"set adapter\.reduction"),
        ({"adapter": {"type": "UniPT", "reduction": 3}}, "does not divide the width 8"),
        ({"adapter": {"type": "UniPT"}, "train_backbone": True}, "train_backbone=True would train"),
        ({"adapter": LADDER}, r"fusion\.kv"),
        ({"decoder": {**BERT, "type": "BertDecoder"}}, r"leave out model\.decoder"),
        ({"text": {**BERT, "type": "BertModel"}}, r"set model\.text\.type='BertStream'"),
        ({"prefix_cache": {"dir": "x"}}, "ClipGrid has nothing to keep"),
        ({"visual": {"type": "BlipViT", "arch": VIT, "img_size": 32}}, r"grid_width=8"),
    ],
)
def test_options_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    cfg = small_cfg()
    for key, value in changes.items():
        merged = isinstance(value, dict) and "type" not in value and key in cfg
        cfg[key] = {**cfg[key], **value} if merged else value
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "BottleneckAdapter", "preset": "houlsby", "roles": ["fusion"], "bottleneck": 2},
        {"type": "LoRA", "rank": 2},
    ],
)
def test_other_methods_fill_the_streams_places(adapter: dict[str, Any]) -> None:
    """A term in every layer of the stream, and none where it is empty."""
    batch = draw_batch(3, [3, 2], 1, 2)
    bare = small_model(adapter=None).eval()
    model = small_model(adapter=adapter).eval()
    model.load_state_dict(bare.state_dict(), strict=False)
    with torch.no_grad(), model.adapter_disabled():
        assert torch.equal(model(**batch), bare(**batch))
    with torch.no_grad():
        assert not torch.allclose(model(**batch), bare(**batch))
