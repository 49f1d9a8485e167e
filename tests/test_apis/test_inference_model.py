"""One call from a name to a result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uniadapter.apis import encode_text, encode_video, get_model, inference_model

PICTURES = list(np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8))
TEXTS = ["a red ball", "two blue boxes"]


def test_a_retrieval_model_names_the_nearest_text():
    results = inference_model("tiny_zero_shot", PICTURES, TEXTS)
    model = get_model("tiny_zero_shot", pretrained=True)
    wanted = encode_video(model, PICTURES) @ encode_text(model, TEXTS).T
    for result, row in zip(results, wanted, strict=True):
        torch.testing.assert_close(torch.tensor(result["similarity"]), row, atol=2e-6, rtol=0)
        assert result["pred_text"] == TEXTS[int(row.argmax())]
        assert result["pred_score"] == max(result["similarity"])
    single = inference_model(model, PICTURES[0], TEXTS[0], batch_size=1)
    assert single["pred_text"] == TEXTS[0]
    with pytest.raises(ValueError, match="compares media with texts"):
        inference_model(model, PICTURES[0])


def test_a_captioner_writes_and_takes_no_text():
    model = get_model("tiny_coco_caption_zero_shot", pretrained=True)
    result = inference_model(model, PICTURES[0])
    assert isinstance(result["pred_caption"], str)
    assert inference_model(model, PICTURES[:1]) == [result]
    with pytest.raises(ValueError, match="takes none"):
        inference_model(model, PICTURES[0], "a text")


def test_a_model_that_answers_needs_a_question():
    options = {"inference": "generate", "answer_list": None}
    model = get_model("tiny_vqav2_uniadapter_r32", pretrained="blip_tiny", **options)
    result = inference_model(model, PICTURES[0], "what is red?")
    assert result["question"] == "what is red?"
    assert isinstance(result["pred_answer"], str)
    assert len(inference_model(model, PICTURES[0], ["what is red?", "is it blue?"])) == 2
    with pytest.raises(ValueError, match="answers questions"):
        inference_model(model, PICTURES[0])


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="not a GroundingModel"):
        inference_model("tiny_mdetr_zero_shot", PICTURES[0])
