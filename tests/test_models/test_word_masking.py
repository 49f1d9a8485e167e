"""Words that training masks, exchanges and leaves out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.models import BertTokenizer, MultimodalDataPreprocessor
from uniadapter.models.word_masking import WordMasking
from uniadapter.structures import MultimodalSample

TOKENIZER = BertTokenizer(extra_tokens=())
TEXT = "Two kayakers' lightweight boats, near the [MASK] Zürich-lake"


@given(st.text(max_size=30) | st.text("aI.'#é[]MASK \u0130\u4e00", max_size=20))
@settings(max_examples=draws(100))
def test_words_are_the_text(text):
    """The pieces of all words are those of the text, whatever it is."""
    assert sum(TOKENIZER.words(text), []) == TOKENIZER.pieces(text)


def test_words_are_told_apart():
    words = TOKENIZER.words(TEXT)
    assert [TOKENIZER.decode(word, skip_special_tokens=False) for word in words] == [
        *("two", "kayakers", "'", "lightweight", "boats", ",", "near", "the", "[MASK]"),
        *("zurich", "-", "lake"),
    ]
    assert len(words[1]) > 1


@pytest.mark.parametrize(("mask", "exchange"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_what_becomes_of_words(mask, exchange):
    """All words: a mask or any word of the vocabulary a piece, or nothing at all."""
    masking = WordMasking(1.0, mask, exchange)
    words = TOKENIZER.words(TEXT)
    ids = masking(TOKENIZER, TEXT)
    if mask:
        assert ids == [TOKENIZER.mask_token_id] * len(sum(words, []))
    elif exchange:
        assert len(ids) == len(sum(words, []))
        assert len(set(ids)) > len(ids) // 2
        assert TOKENIZER.pad_token_id not in ids
    else:
        assert ids == []
    assert WordMasking(0.0, mask, exchange)(TOKENIZER, TEXT) == sum(words, [])


def test_shares_of_the_published_recipe():
    """20 % of the words: 50 % masked, 10 % exchanged, 40 % left out, pieces of a word alike."""
    torch.manual_seed(0)
    masking, word = WordMasking(), TOKENIZER.words("kayakers")[0]
    found = {"same": 0, "masked": 0, "left out": 0, "exchanged": 0}
    for _ in range(6000):
        ids = masking(TOKENIZER, "kayakers")
        kinds = {
            tuple(word): "same",
            (TOKENIZER.mask_token_id,) * len(word): "masked",
            (): "left out",
        }
        found[kinds.get(tuple(ids), "exchanged")] += 1
    # Five standard deviations.
    for kind, share in (("same", 0.8), ("masked", 0.1), ("left out", 0.08), ("exchanged", 0.02)):
        spread = 5 * (6000 * share * (1 - share)) ** 0.5
        assert abs(found[kind] - 6000 * share) < spread, found


@pytest.mark.parametrize("padding", [0, 2, 4])
def test_any_word_may_be_drawn_but_padding(padding):
    """Each as often as the others, wherever padding stands in the vocabulary."""
    torch.manual_seed(0)
    tokenizer = SimpleNamespace(vocab_size=5, pad_token_id=padding)
    counts = np.bincount(WordMasking._any(tokenizer, 4000), minlength=5)
    assert len(counts) == 5
    assert counts[padding] == 0
    # Seven standard deviations of a quarter of the draws.
    assert np.delete(counts, padding).min() > 1000 - 7 * (4000 * 0.25 * 0.75) ** 0.5


def test_in_training_alone():
    """What is deleted shortens a text; tests see texts as they are."""
    preprocessor = MultimodalDataPreprocessor(
        tokenizer={"extra_tokens": ()}, word_masking={"prob": 1.0, "mask": 0.0, "random": 0.0}
    )
    data = {
        "inputs": [torch.zeros(1, 3, 2, 2, dtype=torch.uint8)],
        "data_samples": [MultimodalSample(metainfo={"text": TEXT, "media_id": 0})],
    }
    ids = preprocessor(data, training=True)["input_ids"]
    assert ids.tolist() == [[TOKENIZER.cls_token_id, TOKENIZER.sep_token_id]]
    ids = preprocessor(data, training=False)["input_ids"]
    assert ids[0].tolist() == TOKENIZER.encode(TEXT)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="shares outside"):
        WordMasking(mask=0.9, random=0.2)
    with pytest.raises(
        ValueError, match=r"word_masking=\{'share': 1\} takes \['mask', 'prob', 'random'\]"
    ):
        MultimodalDataPreprocessor(word_masking={"share": 1})
    with pytest.raises(ValueError, match="ClipTokenizer does not"):
        MultimodalDataPreprocessor(
            word_masking={},
            tokenizer={"type": "ClipTokenizer", "file": "configs/tiny/clip_tokenizer.json"},
        )
