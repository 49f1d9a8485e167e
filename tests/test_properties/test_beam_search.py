"""Decoding under drawn settings, token for token against transformers' generate."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoder_twins import EOS, VOCAB, decoder_twins
from tests.helpers import draws
from uniadapter.models.generation import GenerationConfig, generate

from .cases import seeds

THEIRS, OURS = decoder_twins()


@settings(max_examples=draws(20, deep=800))
@given(
    beams=st.integers(1, 5),
    batch=st.integers(1, 3),
    prompt_length=st.integers(1, 4),
    room=st.integers(1, 9),
    least=st.integers(0, 14),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    bias=st.floats(0, 10, width=32),
    seed=seeds,
)
@torch.no_grad()
def test_token_for_token(beams, batch, prompt_length, room, least, penalty, bias, seed):
    """Any number of beams, lengths, penalty, and ends that come early, late or never."""
    torch.manual_seed(seed)
    for head in (THEIRS.text_decoder.cls.predictions, OURS.cls.predictions):
        head.bias.data[EOS] = bias
    pixels = torch.randn(batch, 3, 32, 32)
    words = torch.randint(5, VOCAB - 2, (batch, prompt_length - 1))
    prompt = torch.cat((torch.full((batch, 1), VOCAB - 2), words), dim=1)
    longest = prompt_length + room
    # Their model cuts the last token off a prompt, the end that a tokenizer writes.
    expected = THEIRS.generate(
        pixel_values=pixels,
        input_ids=torch.cat((prompt, torch.full((batch, 1), EOS)), dim=1),
        num_beams=beams,
        max_length=longest,
        min_length=least,
        length_penalty=penalty,
        do_sample=False,
    )
    states = THEIRS.vision_model(pixel_values=pixels)[0]
    config = GenerationConfig(beams, longest, least, penalty)
    got = generate(OURS, prompt, OURS.memory(states), config, EOS)
    # Behind the end their beam search writes the end again when [PAD] is 0; ours pads.
    behind = (expected == EOS).int().cumsum(1) - (expected == EOS).int() > 0
    expected = expected.masked_fill(behind, 0)
    assert torch.equal(got[:, : expected.shape[1]], expected)
    assert not got[:, expected.shape[1] :].any()
