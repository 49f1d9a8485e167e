"""What tasks are trained on and how they answer; what of VL-BART and VL-T5 is drawn and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.vl_helpers import (
    ANSWERS,
    KINDS,
    NEW,
    TASKS,
    WIDTH,
    batch,
    inputs,
    logits_of,
    original,
    samples,
    vl,
    vl_cfg,
    written_by,
)
from uniadapter.apis.model import build_model
from uniadapter.models.components import count_parameters
from uniadapter.models.generation import GenerationConfig
from uniadapter.models.necks.visual_embedding import pool_grid
from uniadapter.models.precision import cast_frozen
from uniadapter.utils.finite import NotFiniteError


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@settings(max_examples=draws(6), deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    task=st.sampled_from(["vqa", "gqa", "nlvr", "caption", "tvc"]),
    picks=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    seed=st.integers(0, 9),
)
def test_losses_are_those_of_the_table(kind, task, picks, seed, tokens):
    texts = ["a red ball", "", "true", "left of the blue ring", "0"]
    targets = [texts[index] for index in picks]
    model = vl(kind, seed, tokens=tokens / kind, tasks=["vqa", "gqa", "nlvr", "caption", "tvc"])
    drawn = torch.Generator().manual_seed(seed)
    features = torch.randn(len(picks), 1, 4, WIDTH, generator=drawn)
    weights = torch.rand(len(picks), generator=drawn).tolist()
    data = model.data_preprocessor(batch(task, targets, features, targets, weights), True)
    loss = model(**data, mode="loss")["loss_lm"]
    words, hf = model.tokenizer, original(model)
    limit = {"vqa": 10, "caption": 40, "tvc": 20}.get(task)
    rows = [words.encode(target, limit) for target in targets]
    labels = torch.full((len(rows), max(map(len, rows))), -100)
    for row, ids in enumerate(rows):
        labels[row, : len(ids)] = torch.tensor(ids)
    states, mask = model.encode(data["input_ids"], data["attention_mask"], data["features"])
    from transformers.modeling_outputs import BaseModelOutput

    out = hf(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        labels=labels,
    ).logits
    cost = F.cross_entropy(out.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    count = torch.tensor([len(row) for row in rows])
    want = (cost.sum(1) / count).mean()
    if task == "vqa":
        want = (torch.tensor(weights) * cost.sum(1) / count).mean()
    if task == "caption":
        want = cost.sum() / count.sum()
    assert_close(loss, want)
    assert int(model.loss_items) == (count.sum() if task == "caption" else len(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_answers(kind, tokens):
    """Two pictures: the likelier of two words; else what is written, to the task's length."""
    rules = {"vqa": {"generation": {"max_length": 7}}, "nlvr": {"answers": ANSWERS[kind]}}
    model = vl(kind, 3, tokens=tokens / kind, rules=rules)
    texts = ["left of the blue ring", "a red ball moves", "woman"]
    features = torch.randn(3, 2, 9, WIDTH)
    data = model.data_preprocessor(batch("nlvr", texts, features, texts))
    found = model(**data, mode="predict")
    hf, words = original(model), model.tokenizer
    states, mask = model.encode(data["input_ids"], data["attention_mask"], data["features"])
    begin = torch.tensor([[2, 0]] if kind == "Bart" else [[0]]).expand(3, -1)
    false, true = (words.pieces(word)[0] for word in ANSWERS[kind])
    logits = logits_of(hf, states, mask, begin)[:, -1]
    labels = (logits[:, true] > logits[:, false]).long().tolist()
    assert [sample.pred_label for sample in found] == labels
    assert [sample.pred_text for sample in found] == [ANSWERS[kind][n] for n in labels]
    for task, beams, length in (("vqa", 1, 7), ("caption", 5, 20)):
        data = model.data_preprocessor(batch(task, texts, features[:, :1], texts))
        found = model(**data, mode="predict")
        states, mask = model.encode(data["input_ids"], data["attention_mask"], data["features"])
        rows = written_by(hf, states, mask, beams, length)[:, 1:].tolist()
        ends = [row.index(words.sep_token_id) if words.sep_token_id in row else 99 for row in rows]
        want = [words.decode(row[:end]) for row, end in zip(rows, ends, strict=True)]
        assert [sample.pred_text for sample in found] == want


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_and_new_parts_are_drawn_as_the_backbone_does(kind):
    torch.manual_seed(0)
    text = {"arch": {**SIZES_LARGE, **({"head_dim": 64} if kind == "T5" else {})}}
    model = build_model(vl_cfg(kind, text={**text, "new_words": 200}, feature_width=256))
    std = {"Bart": 0.02, "T5": 1.0}[kind]
    rows, own = model.text.new_words.weight, model.visual_embedding.requires_grad_(False)
    assert rows.std() == pytest.approx(std, rel=0.02)
    assert not rows.requires_grad
    matrix = own.feat_embedding[0]
    assert matrix.weight.std() == pytest.approx(
        std if kind == "Bart" else 256**-0.5 / 3**0.5, rel=0.02
    )
    assert own.img_order_embedding.weight.std() == pytest.approx(std, rel=0.1)
    norms = [own.feat_embedding[1], own.absolute_vis_pos_embedding[1]]
    assert all(bool((norm.weight == 1).all()) for norm in norms)
    if kind == "Bart":
        assert not matrix.bias.any()
        assert [norm.eps for norm in norms] == [1e-5, 1e-5]
    else:
        assert matrix.bias.abs().max() == pytest.approx(256**-0.5, rel=0.02)
        assert [norm.variance_epsilon for norm in norms] == [1e-6, 1e-6]
        assert not hasattr(norms[0], "bias")
    model.finish()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"visual_embedding.{n}" for n, _ in own.named_parameters()}


SIZES_LARGE = {"hidden_size": 128, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("kind", "new", "width", "language", "embedding"),
    [
        ("Bart", 200, 2048, 139_574_016, 1_582_848),
        ("Bart", 200, 512, 139_574_016, 403_200),
        ("T5", 72, 2048, 222_958_848, 1_581_312),
    ],
)
def test_published_sizes(kind, new, width, language, embedding):
    with torch.device("meta"):
        model = build_model(
            {
                "type": "VLSeq2Seq",
                "text": {"type": kind, "new_words": new},
                "tasks": TASKS,
                "feature_width": width,
            }
        )
    counts = count_parameters(model)
    assert counts["backbone"] == language
    assert counts["heads"] == counts["trainable"] == embedding
    assert counts["total"] == language + embedding


def test_all_of_it_is_trained_where_that_is_asked_for():
    model = vl("Bart", train_backbone=True)
    assert all(p.requires_grad for p in model.parameters())


def test_a_grid_of_7_becomes_6_and_8_stays():
    grid = torch.randn(2, 2, 49, 3)
    want = F.adaptive_max_pool2d(grid.view(4, 7, 7, 3).permute(0, 3, 1, 2), 6)
    assert torch.equal(pool_grid(grid, 36), want.permute(0, 2, 3, 1).reshape(2, 2, 36, 3))
    frames = torch.randn(2, 1, 64, 3)
    assert pool_grid(frames, 64) is frames
    assert pool_grid(grid, None) is grid
    with pytest.raises(ValueError, match="7 features are to become model.visual_tokens=36"):
        pool_grid(grid[:, :, :7], 36)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tasks": []}, "tasks=.* must be a list of names"),
        ({"tasks": ["vqa", "colour"]}, "model.tasks has 'colour', for which there is no rule"),
        ({"rules": {"gqa": {}}}, "model.rules has .'gqa'., which model.tasks="),
        ({"rules": {"vqa": {"beams": 3}}}, "model.rules.vqa: .'beams'. are no options of a task"),
        ({"rules": {"vqa": {"loss": "mean"}}}, "model.rules.vqa.loss='mean' is unknown"),
        ({"rules": {"vqa": {"target_len": 1}}}, "model.rules.vqa.target_len=1 must be"),
        ({"rules": {"vqa": {"answers": ["yes"]}}}, "model.rules.vqa.answers=.* several answers"),
        ({"visual_tokens": 0}, "model.visual_tokens=0 must be None or"),
        ({"text": {"new_words": -1}}, "new_words=-1 must be an int"),
        ({"text": {"max_positions": 30}}, "text_lens.caption allows texts of 40 tokens, but"),
        ({"text": {"new_words": 3}}, "set model.text.new_words=12"),
        ({"adapter": {"type": "UniPT", "decoder": "side", "reduction": 2}}, "UniPT takes the pla"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], match: str, tokens: Path) -> None:
    with pytest.raises(ValueError, match=match):
        build_model(vl_cfg("Bart", **{"tokens": tokens / "Bart", **options}))


def test_a_task_of_ones_own_has_a_rule():
    rule = {"loss": "per_token", "generation": {"num_beams": 2}, "answers": ["a", "b"]}
    model = vl("Bart", tasks=["mine"], rules={"mine": rule})
    found = model.rules["mine"]
    assert (found.loss, found.target_len, found.answers) == ("per_token", None, ("a", "b"))
    assert found.generation == GenerationConfig(2, 20, 0)


def test_inputs_that_do_not_fit(tokens):
    model = vl("Bart", tokens=tokens / "Bart")
    given_ = inputs([2, 3])
    with pytest.raises(ValueError, match=r"Features must be \(B, I, N, 5\)"):
        model.encode(**{**given_, "features": torch.zeros(2, 4, WIDTH)})
    with pytest.raises(ValueError, match="3 pictures of 4 features: there may be one"):
        model.encode(**{**given_, "features": torch.zeros(2, 3, 4, WIDTH)})
    with pytest.raises(ValueError, match=r"Boxes of features .* must be \(2, 1, 4, 4\)"):
        model.encode(**given_, boxes=torch.zeros(2, 1, 3, 4))
    with pytest.raises(ValueError, match="as many rows behind them"):
        model.encode(**{**given_, "features": given_["features"][:1]})
    with pytest.raises(ValueError, match="A batch is of one task, which its samples name"):
        model(**given_, data_samples=samples("vqa", ["a"]) + samples("nlvr", ["b"]), mode="loss")
    with pytest.raises(ValueError, match="2 texts have 1 samples"):
        model(**given_, data_samples=samples("vqa", ["a"]), mode="loss")
    with pytest.raises(ValueError, match="There is no task 'gqa'"):
        model(**given_, data_samples=samples("gqa", ["a", "b"]), mode="loss")
    for key in ("target", "target_weight"):
        bare = samples("vqa", ["a", "b"])
        delattr(bare[1], key)
        with pytest.raises(ValueError, match=f"needs '{key}' of every sample, and sample 1 of"):
            model(**given_, data_samples=bare, mode="loss")


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_weights_in_half_precision_are_those_of_autocast(kind, tokens):
    model, cast = (vl(kind, 2, tokens=tokens / kind) for _ in range(2))
    cast_frozen(cast, "bfloat16")
    features = torch.randn(2, 1, 4, WIDTH)
    data = batch("caption", ["a red ball", ""], features, ["left of the blue ring", "0"])
    data = model.data_preprocessor(data, True)
    with torch.autocast("cpu", torch.bfloat16):
        want = model(**data, mode="loss")["loss_lm"]
        texts = [sample.pred_text for sample in model(**data, mode="predict")]
    with cast.frozen_autocast():
        assert torch.equal(cast(**data, mode="loss")["loss_lm"], want)
        assert [sample.pred_text for sample in cast(**data, mode="predict")] == texts


def test_a_vocabulary_that_comes_later_is_held_against_the_table(tokens, tmp_path):
    cfg = vl_cfg("Bart", tokens=tokens / "Bart", text={"new_words": NEW})
    cfg["data_preprocessor"]["tokenizer"]["file"] = str(tmp_path / "later")
    cfg["text"]["vocab_size"] += 1
    model = build_model(cfg)
    (tmp_path / "later").symlink_to(tokens / "Bart")
    data = model.data_preprocessor(batch("vqa", ["a"], torch.zeros(1, 1, 4, WIDTH), ["b"]))
    for mode in ("loss", "predict"):
        with pytest.raises(ValueError, match=r"set model.text.new_words=11"):
            model(**data, mode=mode)


def test_features_in_half_precision_are_pooled_too():
    model, given = vl("T5"), inputs([2], things=9)
    half = {**given, "features": given["features"].half()}
    whole = {**given, "features": half["features"].float()}
    assert torch.equal(model.encode(**half)[0], model.encode(**whole)[0])


def test_answers_that_begin_alike_are_refused(tokens):
    model = vl("T5", tokens=tokens / "T5")
    data = batch("nlvr", ["a"], torch.zeros(1, 2, 4, WIDTH), [""])
    with pytest.raises(ValueError, match=r"by their first tokens, and those are \[3, 3\]"):
        model(**model.data_preprocessor(data), mode="predict")


@pytest.mark.parametrize("prompt", [0, 3])
def test_a_decoder_has_as_many_positions_as_tokens(prompt, tokens):
    """A mark and the prompt stand in front of a target; gqa's are of any length."""
    text = {"max_positions": 12}
    adapter = {"type": "PromptTuning", "length": 3, "hidden": 4, "roles": ["decoder"]}
    names = {"tasks": ["gqa"], "adapter": adapter if prompt else None}
    length = {"text_lens": {"gqa": 9}}
    cfg = vl_cfg("Bart", tokens / "Bart", text=text, rules={}, **names)
    cfg["data_preprocessor"].update(length)
    cfg["rules"] = {"gqa": {"generation": {"max_length": 12}}}
    model = build_model(cfg).eval()
    features = torch.zeros(1, 1, 4, WIDTH)

    def data(words: int) -> Any:
        return model.data_preprocessor(batch("gqa", ["a"], features, ["0" * words]))

    assert data(1)["data_samples"][0].target == "0"
    most = 12 - 3 - prompt
    assert len(model.tokenizer.encode("0" * most)) == most + 2
    assert model(**data(most), mode="loss")["loss_lm"].isfinite()
    match = "The length of a target .* allows texts of 13 tokens, but their tower has 12 positions"
    with pytest.raises(ValueError, match=match):
        model(**data(most + 1), mode="loss")
    if not prompt:
        model(**data(1), mode="predict")
        return
    with pytest.raises(ValueError, match=r"generation.max_length.* of 14 tokens"):
        model(**data(1), mode="predict")


@pytest.mark.parametrize("task", ["vqa", "nlvr", "caption"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_are_no_numbers_answer_nothing(kind, task, tokens):
    """As after a run that diverged: greedy, beams and the choice of an answer."""
    model = vl(kind, tokens=tokens / kind, rules={"nlvr": {"answers": ANSWERS[kind]}})
    features = torch.full((1, 1, 4, WIDTH), torch.nan)
    data = model.data_preprocessor(batch(task, ["a"], features, [""]))
    with pytest.raises(NotFiniteError, match=r"are NaN.*features that are not finite"):
        model(**data, mode="predict")
