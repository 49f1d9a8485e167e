"""What stands between a prompt and its caption, and how much room the prompt leaves."""

from __future__ import annotations

import pytest
import torch

from tests.test_models.test_tasks.test_vqa_caption import build


@pytest.mark.parametrize("prompt", ["a picture of", " a  picture of  ", "A picture\tof\n"])
def test_blanks_of_a_prompt_change_nothing(vocab, prompt):
    pixels, captions = torch.randn(2, 1, 3, 32, 32), ["red ball", "green"]
    losses, written = [], []
    for text in ("a picture of ", prompt):
        model = build("CaptionModel", vocab, prompt=text, generation={"max_length": 8}).eval()
        with torch.no_grad():
            tokens = model.encode_frames(pixels).flatten(1, 2)
            losses.append(model.loss(tokens, captions)["loss_lm"])
            written.append(model.caption(tokens))
    assert torch.equal(losses[0], losses[1])
    assert written[0] == written[1]


@pytest.mark.parametrize("prompt", ["", " ", "a picture of", "ball-"])
def test_a_caption_begins_behind_the_prompt(vocab, prompt):
    model = build("CaptionModel", vocab, prompt=prompt)
    begin = [model.dec_token_id, *model.tokenizer.encode(prompt)[1:-1]]
    for length in (40, len(begin) + 2, len(begin) + 3):
        ids, mask, labels = model.decoder_words(["big ball", ""], length, "cpu", begin[1:])
        words = [*model.tokenizer.encode("big ball")[1:-1]][: length - len(begin) - 1]
        assert ids[0].tolist() == [*begin, *words, model.tokenizer.sep_token_id]
        assert labels[0].tolist() == [*[-100] * len(begin), *ids[0, len(begin) :].tolist()]
        assert labels[1, len(begin)] == model.tokenizer.sep_token_id
        assert mask.sum(1).tolist() == [ids.shape[1], len(begin) + 1]
        assert bool((labels[1, len(begin) + 1 :] == -100).all())


def test_an_empty_prompt_trains_and_writes(vocab):
    model = build("CaptionModel", vocab, prompt="", max_text_len=3, generation={"max_length": 6})
    tokens = model.eval().encode_frames(torch.randn(2, 1, 3, 32, 32)).flatten(1, 2)
    assert torch.isfinite(model.loss(tokens, ["red", ""])["loss_lm"])
    assert len(model.caption(tokens)) == 2


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("CaptionModel", {"max_text_len": 4}, "takes 4 tokens .*model.max_text_len=4 .*least 6"),
        ("CaptionModel", {"max_text_len": 5}, "takes 4 tokens .*model.max_text_len=5 .*least 6"),
        ("CaptionModel", {"generation": {"max_length": 4}}, "max_length=4 .*at least 5"),
        ("CaptionModel", {"prompt": None}, "model.prompt=None"),
        ("VQAModel", {"max_answer_len": 2}, "model.max_answer_len=2 .*at least 3"),
    ],
)
def test_lengths_without_room_for_a_word_are_refused(vocab, kind, options, message):
    with pytest.raises(ValueError, match=message):
        build(kind, vocab, **options)
