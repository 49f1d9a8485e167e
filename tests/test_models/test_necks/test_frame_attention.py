"""Frame-aware attention equals the formula computed pair by pair."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, randomize, tiny_batch, tiny_model
from uniadapter.models.execution import PaddedRows
from uniadapter.models.necks import FrameAwareAttention, MeanPooling

FRAMES = 3


def pfa_cfg(variant: str) -> dict:
    return {"type": "FrameAwareAttention", "variant": variant}


def random_biases(model) -> None:
    """Biases of the projections are zero at random initialisation, which would hide them."""
    with torch.no_grad():
        for layer in model.text.encoder.layer:
            attention = layer.crossattention.self
            for projection in (attention.query, attention.key, attention.value):
                projection.bias.normal_(std=0.5)


def naive_attention(block, x, key, value):
    """Softmax attention written out; x (L, D), key and value (S, D)."""
    heads = block.num_heads
    split = [t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (block.query(x), key, value)]
    query, key, value = split
    probs = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1)
    return (probs @ value).transpose(0, 1).flatten(1)


def naive_match(model, input_ids, attention_mask, tokens, weights, variant):
    """Matching logits of one pair: tokens (N, M, D) weighed for this text, then attended to."""
    text, length = model.text, int(attention_mask.sum())
    ids = input_ids[:length].clone()
    ids[0] = model.enc_token_id
    factor = torch.ones(tokens.shape[:2])
    factor[:, 1:] = weights[:, None]
    factor = factor.flatten()[:, None]
    states = tokens.flatten(0, 1)
    if variant == "paper":
        states = states * factor
    delta = text.kv_slot.term(states[None])
    x = text.embeddings(ids[None])[0]
    for layer in text.encoder.layer:
        attended = layer.attention.self(x[None], 0, PaddedRows())
        query = layer.attention.output(attended[0], x)
        cross = layer.crossattention.self
        key, value = cross.key(states), cross.value(states)
        if delta is not None:
            key, value = key + delta[0][0], value + delta[1][0]
        if variant == "released":
            key = key * factor
        hidden = layer.crossattention.output(naive_attention(cross, query, key, value), query)
        x = layer.output(layer.intermediate(hidden), hidden)
        for name, source in (("after_self", query), ("after_cross", hidden)):
            x = layer.at["fusion"].slots[name].add(x, source)
    return model.itm_head(x[0])


def naive_weights(variant, frame_cls, frame_features, text_cls, text_feature):
    if variant == "paper":
        return torch.softmax(frame_cls @ text_cls, dim=0)
    return len(frame_cls) * torch.softmax(frame_features @ text_feature / 4, dim=0)


def case(variant, adapter):
    model = tiny_model(adapter=adapter_cfg(**adapter), pfa=pfa_cfg(variant))
    random_biases(randomize(model))
    batch = tiny_batch(size=4, frames=FRAMES)
    with torch.no_grad():
        tokens, _, frames = model.encode_visual(batch["pixels"])
        texts, feature = model.encode_text(batch["input_ids"], batch["attention_mask"])
        # Class tokens of a random tower are long; shorten them, or the paper's softmax is 0 or 1.
        cls, text_cls = tokens[:, :, 0] / 4, texts[:, 0] / 4
        sims = model.frame_sims(cls, frames, text_cls, feature)
    return model.eval(), batch, tokens, (cls, frames, text_cls, feature), sims


ADAPTERS = [{}, {"kv_rank": 4}, {"variant": "released", "kv_rank": 4}]


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("adapter", ADAPTERS)
@torch.no_grad()
def test_match_equals_the_formula_pair_by_pair(variant, adapter):
    model, batch, tokens, parts, sims = case(variant, adapter)
    texts, media = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 3, 2, 2])
    got = model.match(
        batch["input_ids"][texts],
        batch["attention_mask"][texts],
        tokens[media],
        sims[texts, media],
    )
    unweighted = model.match(
        batch["input_ids"][texts], batch["attention_mask"][texts], tokens[media]
    )
    for row, (text, medium) in enumerate(zip(texts, media, strict=True)):
        weights = naive_weights(
            variant, parts[0][medium], parts[1][medium], parts[2][text], parts[3][text]
        )
        want = naive_match(
            model,
            batch["input_ids"][text],
            batch["attention_mask"][text],
            tokens[medium],
            weights,
            variant,
        )
        torch.testing.assert_close(got[row], want, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got, unweighted, atol=1e-4)


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("chunk", [1, 3, 64])
@torch.no_grad()
def test_score_texts_equals_the_formula_pair_by_pair(variant, adapter, chunk):
    model, batch, tokens, parts, sims = case(variant, adapter)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    for medium in (0, 2):
        got = model.score_texts(tokens[medium], ids, mask, sims[:, medium], chunk=chunk)
        for text in range(len(ids)):
            weights = naive_weights(
                variant, parts[0][medium], parts[1][medium], parts[2][text], parts[3][text]
            )
            want = naive_match(model, ids[text], mask[text], tokens[medium], weights, variant)
            torch.testing.assert_close(got[text], want[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["released", "paper"])
@torch.no_grad()
def test_one_frame_has_weight_one(variant):
    model = randomize(tiny_model(pfa=pfa_cfg(variant))).eval()
    batch = tiny_batch(frames=1)
    texts = (batch["input_ids"], batch["attention_mask"])
    tokens, _, _ = model.encode_visual(batch["pixels"])
    sims = torch.randn(len(tokens), 1)
    assert torch.equal(model.pfa.weights(sims), torch.ones(len(tokens), 1))
    # Ones that are multiplied may take other kernels.
    torch.testing.assert_close(model.match(*texts, tokens, sims), model.match(*texts, tokens))


@torch.no_grad()
def test_weights_of_both_variants_by_hand():
    sims = torch.tensor([[0.0, math.log(3.0)]])
    paper = FrameAwareAttention("paper").weights(sims)
    torch.testing.assert_close(paper, torch.tensor([[0.25, 0.75]]))
    released = FrameAwareAttention("released").weights(4 * sims)
    torch.testing.assert_close(released, torch.tensor([[0.5, 1.5]]))
    tokens = FrameAwareAttention("released").token_weights(4 * sims, 3)
    torch.testing.assert_close(tokens, torch.tensor([[1.0, 0.5, 0.5, 1.0, 1.5, 1.5]]))


def test_only_the_paper_variant_has_a_gradient():
    sims = torch.randn(2, FRAMES, requires_grad=True)
    assert not FrameAwareAttention("released").weights(sims).requires_grad
    assert FrameAwareAttention("paper").weights(sims).requires_grad


def test_frame_sims_are_cosines_or_dot_products():
    cls, features = torch.randn(2, FRAMES, 5), torch.randn(2, FRAMES, 4)
    text_cls, text = torch.randn(3, 5), torch.randn(3, 4)
    released = FrameAwareAttention().frame_sims(cls, features, text_cls, text)
    paper = FrameAwareAttention("paper").frame_sims(cls, features, text_cls, text)
    assert released.shape == paper.shape == (3, 2, FRAMES)
    torch.testing.assert_close(released[2, 1, 0], text[2] @ features[1, 0])
    torch.testing.assert_close(paper[2, 1, 0], text_cls[2] @ cls[1, 0])


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_autocast_leaves_similarities_and_logits_in_float32(variant):
    batch = tiny_batch(frames=FRAMES)
    model = randomize(tiny_model(adapter=adapter_cfg(), pfa=pfa_cfg(variant))).eval()
    tokens = torch.randn(3, FRAMES, 5, 32)
    features = torch.nn.functional.normalize(torch.randn(3, FRAMES, 16), dim=-1)
    inputs = (tokens[:, :, 0], features, torch.randn(3, 32), features[:, 0])
    want = model.frame_sims(*inputs)
    cls = torch.randn(3, 32)
    logits = model.matching(cls)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.frame_sims(*inputs), want)
        assert torch.equal(model.matching(cls), logits)
        states, _, frames = model.encode_visual(batch["pixels"])
        scores = model.match(batch["input_ids"], batch["attention_mask"], states, want[0])
        assert scores.dtype == torch.float32
    assert model.double().matching(cls.double()).dtype == torch.double


def test_wrong_options_name_key_and_remedy():
    with pytest.raises(ValueError, match=r"pfa.variant='ours' is unknown: choose from"):
        FrameAwareAttention("ours")
    with pytest.raises(ValueError, match="pfa.temperature=0 must be positive"):
        FrameAwareAttention(temperature=0)


def test_the_paper_variant_needs_towers_of_one_width():
    cfg = tiny_retrieval_cfg()
    arch = {**cfg["visual"]["arch"], "embed_dims": 48}
    towers = {
        "visual": {**cfg["visual"], "arch": arch},
        "text": {**cfg["text"], "encoder_width": 48},
    }
    with pytest.raises(ValueError, match="towers' widths differ .48 and 32.: use pfa.variant"):
        tiny_model(**towers, pfa=pfa_cfg("paper"))
    # Alone the neck sees its features only.
    frames, texts = torch.randn(2, 3, 48), torch.randn(4, 32)
    with pytest.raises(ValueError, match="towers' widths differ .48 and 32.: use pfa.variant"):
        FrameAwareAttention("paper")(frames, frames, texts, texts)


def test_a_model_that_matches_nothing_has_no_use_for_it():
    heads = {"contrast": {"type": "BatchContrastHead"}, "matching": None, "queue_size": None}
    with pytest.raises(ValueError, match="model.matching=None: set model.pfa=None"):
        tiny_model(**heads, adapter=None, pfa=pfa_cfg("released"))


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_the_neck_can_be_called_and_has_no_state(variant):
    neck = FrameAwareAttention(variant)
    cls, features = torch.randn(4, FRAMES, 8), torch.randn(4, FRAMES, 5)
    texts, text_features = torch.randn(2, 8), torch.randn(2, 5)
    weights = neck(cls, features, texts, text_features)
    assert weights.shape == (2, 4, FRAMES)
    total = FRAMES if variant == "released" else 1
    torch.testing.assert_close(weights.sum(-1), torch.full((2, 4), float(total)))
    left, right = (features, text_features) if variant == "released" else (cls, texts)
    sims = torch.stack([(left[3, i] * right[1]).sum() for i in range(FRAMES)])
    torch.testing.assert_close(weights[1, 3], total * (sims / neck.temperature).softmax(0))
    assert not neck.state_dict()


def test_mean_pooling_can_be_called():
    states = torch.randn(2, FRAMES, 4)
    torch.testing.assert_close(MeanPooling()(states), sum(states.unbind(1)) / FRAMES)
