"""BlipForConditionalGeneration and BlipForQuestionAnswering: decoder logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from tests.test_checkpoints.test_layouts.states import towers
from tests.test_models.test_parity_hf.twins import (
    NAMES,
    SIZES,
    SMALL,
    bert_cfg,
    blip_config,
    close,
    images,
    load_twin,
    pad,
    randomise,
    visual_cfg,
    words,
)

# transformers gives the decoder of VQA the encoder width of the vision tower, so they are alike.
EQUAL = {**SMALL, "vision": SMALL["text"]}


@pytest.fixture(scope="module", params=SIZES, ids=NAMES)
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return request.param


@pytest.fixture(scope="module")
def captioners(size: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    theirs = randomise(BlipForConditionalGeneration(blip_config(size)))
    ours = towers(visual=visual_cfg(size), decoder=bert_cfg(size, "BertDecoder"))
    return load_twin(theirs, ours, tmp_path_factory.mktemp("hf")), theirs


@pytest.fixture(scope="module", params=[EQUAL, SIZES[1]], ids=NAMES)
def answerers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any, dict[str, int]]:
    size = request.param
    theirs = randomise(BlipForQuestionAnswering(blip_config(size)))
    ours = towers(
        visual=visual_cfg(size), text=bert_cfg(size), decoder=bert_cfg(size, "BertDecoder")
    )
    folder: Path = tmp_path_factory.mktemp("hf")
    return load_twin(theirs, ours, folder), theirs, size


@torch.no_grad()
def test_caption_logits(captioners: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = captioners
    pixels = images(size)
    ids, mask = pad(words(size, size["vocab"] - 2), [9, 6])
    cross = ours.decoder.memory(ours.visual.tokens(pixels))
    logits, _ = ours.decoder(ids, mask, cross)
    expected = theirs(pixel_values=pixels, input_ids=ids, attention_mask=mask).logits
    close(logits[mask.bool()], expected[mask.bool()])


@torch.no_grad()
def test_caption_logits_word_by_word(captioners: tuple[Any, Any], size: dict[str, int]) -> None:
    """Cached keys and values, self- and cross-attention's, give transformers' logits too."""
    ours, theirs = captioners
    pixels = images(size)
    ids = words(size, size["vocab"] - 2)
    cross = ours.decoder.memory(ours.visual.tokens(pixels)).kept()
    expected = theirs(pixel_values=pixels, input_ids=ids).logits
    past = None
    for position in range(ids.shape[1]):
        logits, past = ours.decoder(ids[:, position : position + 1], None, cross, past)
        close(logits[:, 0], expected[:, position])


@torch.no_grad()
def answer_logits(
    theirs: Any, pixels: torch.Tensor, ids: torch.Tensor, answers: torch.Tensor
) -> torch.Tensor:
    """Logits of the decoder, which BlipForQuestionAnswering.forward does not return."""
    question = theirs.text_encoder(
        input_ids=ids, encoder_hidden_states=theirs.vision_model(pixels).last_hidden_state
    ).last_hidden_state
    return theirs.text_decoder(input_ids=answers, encoder_hidden_states=question).logits


def our_answer_logits(
    ours: Any, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, answers: torch.Tensor
) -> torch.Tensor:
    question = ours.text(ids, mask, ours.text.memory(ours.visual.tokens(pixels)))
    return ours.decoder(answers, None, ours.decoder.memory(question, mask))[0]


@torch.no_grad()
def test_question_states_with_padding(answerers: tuple[Any, Any, dict[str, int]]) -> None:
    ours, theirs, size = answerers
    pixels = images(size)
    ids, mask = pad(words(size, size["vocab"] - 1), [9, 5])
    states = ours.text(ids, mask, ours.text.memory(ours.visual.tokens(pixels)))
    expected = theirs.text_encoder(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=theirs.vision_model(pixels).last_hidden_state,
    ).last_hidden_state
    close(states[mask.bool()], expected[mask.bool()])


@torch.no_grad()
def test_answer_logits(answerers: tuple[Any, Any, dict[str, int]]) -> None:
    ours, theirs, size = answerers
    pixels = images(size)
    ids = words(size, size["vocab"] - 1)
    answers = words(size, size["vocab"] - 2, length=4)
    expected = answer_logits(theirs, pixels, ids, answers)
    close(our_answer_logits(ours, pixels, ids, torch.ones_like(ids), answers), expected)


@torch.no_grad()
def test_padding_of_a_question_is_not_seen_by_the_decoder(
    answerers: tuple[Any, Any, dict[str, int]],
) -> None:
    """A padded question gives the logits of the unpadded one.

    transformers 5.23 can't be asked with padding: its cross-attention drops the encoder's mask,
    so the decoder attends to padding. Our padded result is compared with its unpadded one.
    """
    ours, theirs, size = answerers
    pixels = images(size)[:1]
    full = words(size, size["vocab"] - 1, rows=1)
    ids, mask = pad(full, [5])
    short = full[:, :5]
    answers = words(size, size["vocab"] - 2, rows=1, length=4)
    padded = our_answer_logits(ours, pixels, ids, mask, answers)
    unpadded = our_answer_logits(ours, pixels, short, torch.ones_like(short), answers)
    torch.testing.assert_close(padded, unpadded, atol=1e-5, rtol=0)
    close(padded, answer_logits(theirs, pixels, short, answers))
    question = ours.text(ids, mask, ours.text.memory(ours.visual.tokens(pixels)))
    without_mask, _ = ours.decoder(answers, None, ours.decoder.memory(question))
    assert (padded - without_mask).abs().max() > 1e-3
