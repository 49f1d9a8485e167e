"""Decoding against transformers' generate on the same weights."""

from __future__ import annotations

import pytest
import torch
from transformers import BlipForConditionalGeneration

from tests.decoder_twins import EOS, VOCAB, WIDTH, decoder_twins
from uniadapter.models.backbones import BertDecoder
from uniadapter.models.generation import GenerationConfig, generate


@pytest.fixture(scope="module")
def models() -> tuple[BlipForConditionalGeneration, BertDecoder]:
    """The same random decoder, theirs and ours."""
    return decoder_twins()


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_token_for_token_equal_to_transformers(models, num_beams, batch):
    theirs, ours = models
    lengths = set()
    for seed in range(10):
        torch.manual_seed(seed)
        # The end's bias decides whether texts end early, late or never.
        for head in (theirs.text_decoder.cls.predictions, ours.cls.predictions):
            head.bias.data[EOS] = 1.0 * seed
        pixels = torch.randn(batch, 3, 32, 32)
        prompt = torch.tensor([[VOCAB - 2, 7, 8, 9, EOS]]).repeat(batch, 1)
        with torch.no_grad():
            expected = theirs.generate(
                pixel_values=pixels,
                input_ids=prompt.clone(),
                attention_mask=torch.ones_like(prompt),
                num_beams=num_beams,
                max_length=14,
                min_length=6,
                do_sample=False,
            )
            states = theirs.vision_model(pixel_values=pixels)[0]
        config = GenerationConfig(num_beams=num_beams, max_length=14, min_length=6)
        got = generate(ours, prompt[:, :-1], ours.memory(states), config, EOS)
        # Behind the end their beam search writes the end again when [PAD] is 0; ours pads.
        behind = (expected == EOS).int().cumsum(1) - (expected == EOS).int() > 0
        expected = expected.masked_fill(behind, 0)
        assert torch.equal(got[:, : expected.shape[1]], expected)
        assert not got[:, expected.shape[1] :].any()
        lengths.update((got != 0).sum(1).tolist())
    assert len(lengths) > 2, f"the cases should end at several lengths, not {lengths}"


def test_no_end_before_min_length(models):
    _, ours = models
    ours.cls.predictions.bias.data[EOS] = 50.0
    states = torch.randn(2, 5, WIDTH)
    prompt = torch.full((2, 1), VOCAB - 2)
    for beams in (1, 3):
        config = GenerationConfig(num_beams=beams, max_length=12, min_length=7)
        got = generate(ours, prompt, ours.memory(states), config, EOS)
        assert ((got == EOS).float().argmax(1) == 7).all()


def test_long_prompt_is_refused(models):
    _, ours = models
    prompt = torch.full((1, 6), 7)
    cross = ours.memory(torch.randn(1, 5, WIDTH))
    with pytest.raises(ValueError, match="max_length=6 leaves no room"):
        generate(ours, prompt, cross, GenerationConfig(max_length=6), EOS)


def test_bad_config_is_refused():
    with pytest.raises(ValueError, match="num_beams=0"):
        GenerationConfig(num_beams=0)
