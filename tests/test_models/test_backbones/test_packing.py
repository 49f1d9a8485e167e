"""Packed texts: offsets by hand, shapes that are refused, and any padding against none packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws, tiny_retrieval_cfg
from tests.model_helpers import WORDS, adapter_cfg, randomize, tiny_model
from uniadapter.models.execution import visible
from uniadapter.models.fast import Packing
from uniadapter.registry import MODELS

FRAMES = 2
DTYPES = [torch.long, torch.bool, torch.float32]
# Lengths of the texts, and how much wider than the longest they are padded.
PADDED = {
    "lengths": st.lists(st.integers(1, 9), min_size=1, max_size=5),
    "extra": st.integers(0, 6),
}


def texts(lengths: list[int], extra: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    ids = torch.randint(5, WORDS, (len(lengths), max(lengths) + extra), generator=generator)
    # Whatever stands at padding must not be read: it is not zeroed.
    return ids, (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long()


def media(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, FRAMES, 3, 32, 32, generator=generator)


def retrieval(fast: Any) -> Any:
    return randomize(tiny_model(fast=fast, pfa={"type": "FrameAwareAttention"}), std=0.1)


def question_model(fast: Any) -> Any:
    cfg = tiny_retrieval_cfg()
    words = ["type", "pfa", "embed_dim", "queue_size"]
    cfg = {key: value for key, value in cfg.items() if key not in words}
    decoder = {**cfg["text"], "type": "BertDecoder"}
    model = MODELS.build(
        {**cfg, "type": "VQAModel", "decoder": decoder, "adapter": adapter_cfg(), "fast": fast}
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def graded(model: Any, out: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """The output and the gradients of all that is trained, of a sum in which nothing cancels."""
    weights = torch.arange(1.0, out.numel() + 1).view_as(out).sin()
    (out * weights).sum().backward()
    return {"output": out.detach(), **{n: p.grad for n, p in model.named_parameters()}}


def assert_alike(got: dict[str, torch.Tensor | None], want: dict[str, torch.Tensor | None]) -> None:
    assert set(got) == set(want)
    for name, value in want.items():
        found = got[name]
        assert (found is None) == (value is None), name
        if value is not None and found is not None:
            scale = value.abs().max().clamp(min=1e-3)
            assert_close(found / scale, value / scale, atol=2e-4, rtol=0, msg=name)


@settings(max_examples=draws(5))
@given(**PADDED)
def test_matching_is_the_same_however_wide_texts_are_padded(lengths, extra):
    found = []
    for fast in (False, True):
        model = retrieval(fast)
        tokens, _, frames = model.encode_visual(media(len(lengths)))
        ids, mask = texts(lengths, extra)
        _, features = model.encode_text(ids, mask, class_only=True)
        sims = (features[:, None] * frames).sum(-1)
        found.append(graded(model, model.match(ids, mask, tokens, sims)))
    assert_alike(found[1], found[0])


@settings(max_examples=draws(5))
@given(**PADDED)
def test_text_features_are_the_same_however_wide_texts_are_padded(lengths, extra):
    found = []
    for fast in (False, True):
        model = retrieval(fast)
        found.append(graded(model, model.encode_text(*texts(lengths, extra), class_only=True)[1]))
    assert_alike(found[1], found[0])
    # A text is what it is alone, too.
    with torch.no_grad():
        alone = [
            model.encode_text(ids[None, :n], mask[None, :n])[1]
            for ids, mask, n in zip(*texts(lengths, extra), lengths, strict=True)
        ]
    assert_close(found[1]["output"], torch.cat(alone), atol=2e-5, rtol=1e-4)


@settings(max_examples=draws(5))
@given(**PADDED)
def test_question_states_have_the_width_of_their_mask(lengths, extra):
    found = []
    ids, mask = texts(lengths, extra)
    for fast in (False, True):
        model = question_model(fast)
        states = model.encode_question(media(len(lengths)), ids, mask)
        assert states.shape == (*ids.shape, 32)
        # The decoder reads them: what stands at padding changes nothing.
        cross = model.decoder.memory(states, mask)
        logits, _ = model.decoder(ids, mask, cross, wanted=mask.bool())
        found.append(graded(model, logits))
    assert_alike(found[1], found[0])


@settings(max_examples=draws(5))
@given(**PADDED, chunk=st.integers(1, 6))
def test_scores_are_the_same_whichever_texts_share_a_chunk(lengths, extra, chunk):
    ids, mask = texts(lengths, extra)
    found = []
    for fast in (False, {"first_layer_once": False}, True):
        model = retrieval(fast).eval()
        with torch.no_grad():
            tokens, _, frames = model.encode_visual(media(1))
            sims = model.encode_text(ids, mask)[1] @ frames[0].t()
            scorer = model.scorer(ids, mask, chunk)
            scorer.prepare(2)
            scores = scorer.score(tokens[0], frame_sims=sims)
        found.append(scores)
    assert_close(found[1], found[0], atol=5e-5, rtol=1e-4)
    assert_close(found[2], found[0], atol=5e-5, rtol=1e-4)


@settings(max_examples=draws(5))
@given(
    data=st.data(), count=st.integers(0, 4), width=st.integers(1, 6), dtype=st.sampled_from(DTYPES)
)
def test_any_mask_gives_what_the_plain_way_gives(data, count, width, dtype):
    """Padding on the left, gaps and texts that are masked out: packed only where it is right."""
    rows = st.lists(st.integers(0, 1), min_size=width, max_size=width)
    drawn = data.draw(st.lists(rows, min_size=count, max_size=count))
    mask = torch.tensor(drawn, dtype=torch.long).view(count, width)
    generator = torch.Generator().manual_seed(width)
    ids = torch.randint(5, WORDS, (count, width), generator=generator)
    found = []
    for fast in (False, True):
        model, asking = retrieval(fast).eval(), question_model(fast).eval()
        given_mask = mask.to(dtype)
        with torch.no_grad():
            tokens, _, frames = model.encode_visual(media(max(count, 1)))
            _, features = model.encode_text(ids, given_mask, class_only=True)
            sims = features @ frames[0].t()
            scorer = model.scorer(ids, given_mask, 3)
            scorer.prepare(3)
            states = asking.encode_question(media(count), ids, given_mask) if count else features
            found.append(
                [
                    model.match(ids, given_mask, tokens[:count], sims),
                    features,
                    scorer.score(tokens[0], frame_sims=sims),
                    states[mask.bool()] if count else states,
                ]
            )
    for got, want in zip(found[1], found[0], strict=True):
        assert_close(got, want, atol=5e-5, rtol=1e-4)


@given(**PADDED)
def test_packed_tokens_are_those_of_the_texts(lengths, extra):
    ids, mask = texts(lengths, extra)
    packing = Packing.of_mask(mask, padded_only=False)
    row = packing.pack(packing.trim(ids)[..., None])
    assert row[0, :, 0].tolist() == [word for i, n in enumerate(lengths) for word in ids[i, :n]]
    apart = packing.unpack(row)[..., 0]
    assert torch.equal(apart, (ids * mask)[:, : max(lengths)])


def test_a_packing_refuses_texts_of_another_shape():
    packing = Packing.of(torch.tensor([3, 1]))
    with pytest.raises(ValueError, match=r"shape \(2, 3\).* does not fit .*\(2, 5, 4\).*trim"):
        packing.pack(torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match=r"2 texts of up to 3 tokens .*\(2, 2\)"):
        packing.trim(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"2 texts of up to 3 tokens .*\(3, 4\)"):
        packing.trim(torch.zeros(3, 4))
    for lengths in ([], [2, 0], [3, -1]):
        with pytest.raises(ValueError, match="at least one token"):
            Packing.of(torch.tensor(lengths, dtype=torch.long))
    with pytest.raises(ValueError, match="packing of 4 tokens"):
        packing.unpack(torch.zeros(1, 5, 4))


def test_owners_outside_the_media_are_refused():
    packing = Packing.of(torch.tensor([3, 1]))
    with pytest.raises(ValueError, match="reads medium 2, but there are 2 media"):
        packing.by_medium(torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match="2 texts need as many owners"):
        packing.by_medium(torch.tensor([0, 1, 1]), 2)


def test_masks_are_zeros_and_ones_of_any_type():
    want = [[True, False]]
    for dtype in (torch.bool, torch.long, torch.uint8, torch.float32, torch.bfloat16):
        assert visible(torch.tensor([[1, 0]]).to(dtype)).tolist() == want
    with pytest.raises(ValueError, match="holds 1 where a token is and 0 at padding"):
        visible(torch.tensor([[0.0, -10000.0]]))
