"""VQA and captioning: losses and inference against plain references."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.test_models.test_tasks.conftest import WORDS
from uniadapter.engine.optimizers import TrainableOptimWrapperConstructor
from uniadapter.models.adapters.state import (
    count_parameters,
    trained_state_dict,
)
from uniadapter.models.fast import FastPaths
from uniadapter.models.fast.memory import AbsorbedMemory
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample

ANSWERS = ["red", "green", "red ball", "two", "two big ball", "big red ball"]


def tower(vocab_size: int = len(WORDS) + 7) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 48,
        "encoder_width": 32,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


def build(kind: str, vocab: str, **options: Any) -> Any:
    torch.manual_seed(0)
    arch = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 48}
    config = {
        "type": kind,
        "visual": {"type": "BlipViT", "arch": arch, "img_size": 32},
        "decoder": {"type": "BertDecoder", **tower()},
        "adapter": {"type": "UniAdapter", "bottleneck": 4},
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": vocab},
        },
        **options,
    }
    if kind == "VQAModel":
        config["text"] = {"type": "BertModel", **tower()}
    model = MODELS.build(config)
    # Far from the start, where every term counts.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def questions(model: Any, frames: int = 2) -> dict[str, Any]:
    torch.manual_seed(1)
    ids, mask = model.tokenizer(["what is it", "what is the big red ball", "red"])
    return {"pixels": torch.randn(3, frames, 3, 32, 32), "input_ids": ids, "attention_mask": mask}


def test_vqa_loss_is_the_weighted_sum_over_answers(vocab):
    model = build("VQAModel", vocab).eval()
    batch = questions(model)
    answers = [["red", "two big ball"], ["green"], ["two", "red", "red ball"]]
    weights = [[0.7, 0.3], [1.0], [0.5, 0.3, 0.2]]
    samples = [
        MultimodalSample(metainfo={"answers": a, "answer_weights": w})
        for a, w in zip(answers, weights, strict=True)
    ]
    got = model(**batch, data_samples=samples, mode="loss")["loss_lm"]
    expected = torch.zeros(())
    for i in range(3):
        length = int(batch["attention_mask"][i].sum())
        states = model.encode_question(
            batch["pixels"][i : i + 1],
            batch["input_ids"][i : i + 1, :length],
            torch.ones(1, length),
        )
        for answer, weight in zip(answers[i], weights[i], strict=True):
            ids = torch.tensor([model.tokenizer.encode(answer)])
            ids[0, 0] = model.dec_token_id
            logits, _ = model.decoder(ids, None, model.decoder.memory(states))
            loss = F.cross_entropy(logits[0, :-1], ids[0, 1:], label_smoothing=0.1, reduction="sum")
            expected = expected + weight * loss / 3
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_every_trained_tensor_of_vqa_gets_a_gradient(vocab):
    model = build("VQAModel", vocab).train()
    sample = MultimodalSample(metainfo={"answers": ["red"], "answer_weights": [1.0]})
    model(**questions(model), data_samples=[sample] * 3, mode="loss")["loss_lm"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert set(trained_state_dict(model)) == {
        name for name, _ in model.named_parameters() if name.startswith("adapter.")
    }


@pytest.mark.parametrize("kind", ["VQAModel", "CaptionModel"])
def test_a_skipped_sample_takes_no_part_in_the_loss(kind, vocab):
    samples = [
        MultimodalSample(metainfo={"answers": [t], "answer_weights": [1.0], "text": t})
        for t in ("red", "two ball", "green")
    ]
    skipped = MultimodalSample(
        metainfo={"answers": ["big"], "answer_weights": [1.0], "text": "big", "skipped": True}
    )
    model = build(kind, vocab, **({"prompt": "a "} if kind == "CaptionModel" else {})).eval()
    batch = questions(model)
    want = model(**batch, data_samples=samples, mode="loss")["loss_lm"]
    got = model(**batch, data_samples=[skipped, *samples], mode="loss")["loss_lm"]
    assert got == want
    with pytest.raises(ValueError, match="3 questions have 2|2 texts read 3 media"):
        model(**batch, data_samples=samples[:2], mode="loss")


def one_step(kind: str, vocab: str, fast: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    texts = [["red", "two big ball"], ["green"], ["two", "red", "red ball"]]
    samples = [
        MultimodalSample(metainfo={"answers": t, "answer_weights": [1 / len(t)] * len(t)})
        for t in texts
    ]
    for sample, caption in zip(samples, ("a big red ball", "red", "two ball"), strict=True):
        sample.set_metainfo({"text": caption})
    options = {"prompt": "a picture of "} if kind == "CaptionModel" else {}
    model = build(kind, vocab, fast=fast, **options).train()
    # 80 visual tokens to a few words: few enough for the weights to change sides.
    loss = model(**questions(model, frames=16), data_samples=samples, mode="loss")["loss_lm"]
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["absorb_kv", "pack_texts", "predicted_only", None])
@pytest.mark.parametrize("kind", ["VQAModel", "CaptionModel"])
def test_a_step_with_fast_paths_equals_the_plain_one(kind, name, vocab, monkeypatch):
    absorbed = AbsorbedMemory._absorbed
    calls: list[int] = []
    monkeypatch.setattr(
        AbsorbedMemory, "_absorbed", lambda *args: calls.append(1) or absorbed(*args)
    )
    want, want_gradients = one_step(kind, vocab, False)
    assert not calls
    others = {field.name: field.name == name for field in fields(FastPaths)}
    got, gradients = one_step(kind, vocab, others if name else True)
    # Both of the tower's layers.
    assert len(calls) == (2 if name in ("absorb_kv", None) else 0)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    for parameter, gradient in want_gradients.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(
            gradients[parameter] / scale, gradient / scale, atol=1e-3, rtol=0, msg=parameter
        )


def test_answers_do_not_depend_on_the_width_of_questions(vocab):
    found = []
    for fast, extra in ((False, 0), (False, 7), (True, 0), (True, 7)):
        model = build("VQAModel", vocab, k_test=4, fast=fast).eval()
        batch = questions(model)
        ids, mask = (F.pad(batch[name], (0, extra)) for name in ("input_ids", "attention_mask"))
        with torch.no_grad():
            states = model.encode_question(batch["pixels"], ids, mask)
            assert states.shape[:2] == ids.shape
            found.append(model.rank_answers(states, mask, ANSWERS))
    for scores in found[1:]:
        torch.testing.assert_close(scores, found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k_test", [3, 100])
def test_ranking_with_fast_paths_equals_the_plain_one(k_test, vocab):
    scores = []
    for fast in (False, True):
        model = build("VQAModel", vocab, k_test=k_test, fast=fast).eval()
        batch = questions(model)
        with torch.no_grad():
            states = model.encode_question(**batch)
            scores.append(model.rank_answers(states, batch["attention_mask"], ANSWERS))
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-4)


def test_ranking_is_the_log_likelihood_of_each_answer(vocab):
    model = build("VQAModel", vocab, k_test=100).eval()
    batch = questions(model)
    mask = batch["attention_mask"]
    with torch.no_grad():
        states = model.encode_question(**batch)
        got = model.rank_answers(states, mask, ANSWERS)
        for i in range(3):
            length = int(mask[i].sum())
            for j, answer in enumerate(ANSWERS):
                ids = torch.tensor([model.tokenizer.encode(answer)])
                ids[0, 0] = model.dec_token_id
                cross = model.decoder.memory(states[i : i + 1, :length])
                log_probs = model.decoder(ids, None, cross)[0].log_softmax(-1)
                expected = log_probs[0, :-1].gather(1, ids[0, 1:, None]).sum()
                torch.testing.assert_close(got[i, j], expected, rtol=1e-4, atol=1e-4)


def blips_ranking(
    model: Any, states: torch.Tensor, mask: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """BLIP's ``rank_answer`` for one question after the other, the answers padded together."""
    ids, answer_mask = model.tokenizer(ANSWERS, None)
    ids[:, 0] = model.dec_token_id
    targets = ids.masked_fill(answer_mask == 0, -100)
    criterion = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing)
    rows = []
    for i, length in enumerate(mask.sum(1).tolist()):
        seen = states[i : i + 1, :length]
        start = torch.full((1, 1), model.dec_token_id)
        logits, _ = model.decoder(start, None, model.decoder.memory(seen))
        first = logits[0, 0].softmax(0)[ids[:, 1]].tolist()
        order = sorted(range(len(ANSWERS)), key=lambda a: (-first[a], a))
        row = torch.full((len(ANSWERS),), -torch.inf)
        for a in order[: model.answer_head.k_test]:
            cross = model.decoder.memory(seen)
            logits, _ = model.decoder(ids[a : a + 1], answer_mask[a : a + 1], cross)
            row[a] = -criterion(logits[0, :-1], targets[a, 1:]).sum()
        rows.append(row)
    return torch.stack(rows)


@settings(max_examples=8, deadline=None)
@given(
    smoothing=st.sampled_from([0.0, 0.1]) | st.floats(0, 0.99),
    k_test=st.integers(1, 8),
    fast=st.booleans(),
    seed=st.integers(0, 99),
)
def test_ranking_by_the_smoothed_loss_is_blips(vocab, smoothing, k_test, fast, seed):
    model = build("VQAModel", vocab, k_test=k_test, rank_label_smoothing=smoothing, fast=fast)
    model.eval()
    batch = questions(model)
    mask = batch["attention_mask"]
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(3, mask.shape[1], 32, generator=generator)
    with torch.no_grad():
        got = model.rank_answers(states, mask, ANSWERS)
        want = blips_ranking(model, states, mask, smoothing)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_smoothing_changes_the_ranking_only_where_it_is_set(vocab):
    plain = build("VQAModel", vocab).eval()
    smoothed = build("VQAModel", vocab, rank_label_smoothing=0.1).eval()
    assert plain.rank_label_smoothing == 0.0
    batch = questions(plain)
    with torch.no_grad():
        states, mask = plain.encode_question(**batch), batch["attention_mask"]
        first, second = (m.rank_answers(states, mask, ANSWERS) for m in (plain, smoothed))
    assert (first - second).abs().min() > 1e-3
    with pytest.raises(ValueError, match="rank_label_smoothing=1"):
        build("VQAModel", vocab, rank_label_smoothing=1)


def test_k_test_keeps_the_best_first_words(vocab):
    model = build("VQAModel", vocab, k_test=2).eval()
    batch = questions(model)
    states = model.encode_question(**batch)
    scores = model.rank_answers(states, batch["attention_mask"], ANSWERS)
    assert torch.isfinite(scores).sum(1).tolist() == [2, 2, 2]


@pytest.mark.parametrize("inference", ["rank", "generate"])
def test_predict_answers_every_question(vocab, inference):
    model = build("VQAModel", vocab, inference=inference, answer_list=ANSWERS).eval()
    samples = [MultimodalSample() for _ in range(3)]
    with torch.no_grad():
        got = model(**questions(model), data_samples=samples, mode="predict")
    assert [type(sample.pred_answer) for sample in got] == [str] * 3
    if inference == "rank":
        assert {sample.pred_answer for sample in got} <= set(ANSWERS)


def test_own_decoder_adapters_are_counted(vocab):
    shared = build("VQAModel", vocab)
    own = build(
        "VQAModel", vocab, adapter={"type": "UniAdapter", "bottleneck": 4, "decoder": "own"}
    )
    down, up = 32 * 4 + 4, 4 * 32 + 32
    assert count_parameters(shared)["adapter"] == 2 * (down + 3 * up)
    assert count_parameters(own)["adapter"] == 2 * (down + 3 * up) + 2 * (down + 2 * up)


def test_vqa_errors_name_the_remedy(vocab):
    model = build("VQAModel", vocab).eval()
    batch = questions(model)
    states = model.encode_question(**batch)
    with pytest.raises(ValueError, match="needs model.answer_list"):
        model.answer(states, batch["attention_mask"])
    with pytest.raises(ValueError, match="0 answers and 0 weights"):
        model.loss(states, batch["attention_mask"], [[], ["red"], ["red"]], [[], [1.0], [1.0]])
    decoder = {"type": "BertDecoder", **tower(), "encoder_width": 16}
    with pytest.raises(ValueError, match="encoder_width=16 must be text.hidden_size=32"):
        build("VQAModel", vocab, decoder=decoder)


def test_caption_loss_leaves_the_prompt_out(vocab):
    model = build("CaptionModel", vocab, prompt="a picture of ").eval()
    pixels = torch.randn(2, 1, 3, 32, 32)
    captions = ["red ball", "two big green ball"]
    samples = [MultimodalSample(metainfo={"text": text}) for text in captions]
    got = model(pixels, data_samples=samples, mode="loss")["loss_lm"]
    total, words = torch.zeros(()), 0
    for i, text in enumerate(captions):
        ids = torch.tensor([model.tokenizer.encode("a picture of " + text)])
        ids[0, 0] = model.dec_token_id
        cross = model.decoder.memory(model.encode_frames(pixels[i : i + 1]).flatten(1, 2))
        logits = model.decoder(ids, None, cross)[0]
        # [DEC] a picture of | caption [SEP]: the first predicted word is at position 4.
        total = total + F.cross_entropy(
            logits[0, 3:-1], ids[0, 4:], label_smoothing=0.1, reduction="sum"
        )
        words += ids.shape[1] - 4
    torch.testing.assert_close(got, total / words, rtol=1e-5, atol=1e-5)


def test_captions_come_without_the_prompt(vocab):
    model = build("CaptionModel", vocab, generation={"max_length": 8}).eval()
    samples = [MultimodalSample() for _ in range(2)]
    with torch.no_grad():
        got = model(torch.randn(2, 1, 3, 32, 32), data_samples=samples, mode="predict")
    for sample in got:
        assert not sample.pred_caption.startswith("a picture of")
        assert len(sample.pred_caption.split()) <= 4


def test_caption_adapter_is_the_unimodal_and_cross_modal_one(vocab):
    model = build("CaptionModel", vocab)
    down, up = 32 * 4 + 4, 4 * 32 + 32
    assert count_parameters(model)["adapter"] == 2 * (down + 3 * up)
    model.train()
    sample = MultimodalSample(metainfo={"text": "red"})
    model(torch.randn(1, 1, 3, 32, 32), data_samples=[sample], mode="loss")["loss_lm"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("inference", ["rank", "generate"])
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_of_nan_are_refused(vocab, inference, beams):
    options = {"inference": inference, "generation": {"num_beams": beams}}
    model = build("VQAModel", vocab, answer_list=ANSWERS, **options).eval()
    batch = questions(model)
    states = model.encode_question(**batch)
    model.answer(states, batch["attention_mask"])
    next(model.decoder.cls.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="are NaN"):
        model.answer(states, batch["attention_mask"])


@pytest.mark.parametrize("kind", ["CaptionModel", "VQAModel"])
def test_accumulated_steps_equal_one_batch(vocab, kind):
    captions = ["red", "two big ball", "red ball green two"]
    answers = [["red"], ["two", "big ball"], ["green"]]
    plain = {} if kind == "VQAModel" else {"prompt": "a picture of "}

    def steps(parts: list[list[int]]) -> torch.Tensor:
        model = build(kind, vocab, **plain)
        batch = questions(model)
        cfg = {
            "type": "uniadapter.OptimWrapper",
            "accumulative_counts": len(parts),
            "optimizer": {"type": "SGD", "lr": 0.1},
        }
        wrapper = TrainableOptimWrapperConstructor(cfg)(model)
        for rows in parts:
            if kind == "CaptionModel":
                tokens = model.encode_frames(batch["pixels"][rows]).flatten(1, 2)
                losses = model.loss(tokens, [captions[row] for row in rows])
            else:
                ids, mask = (batch[key][rows] for key in ("input_ids", "attention_mask"))
                states = model.encode_question(batch["pixels"][rows], ids, mask)
                own = [answers[row] for row in rows]
                losses = model.loss(states, mask, own, [[0.5] * len(texts) for texts in own])
            wrapper.update_params(losses["loss_lm"])
        return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])

    whole, parts = steps([[0, 1, 2]]), steps([[0, 1], [2]])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
