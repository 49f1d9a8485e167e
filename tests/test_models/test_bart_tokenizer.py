"""BART's tokenizer is transformers' own, with words of no text behind it in the published order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.roberta import TEXTS, lists_of, train, write_json, write_lists
from tests.t5_helpers import tokenizer_file
from uniadapter.models import BartTokenizer, T5Tokenizer
from uniadapter.registry import TOKENIZERS

TEXT = st.one_of(st.sampled_from(TEXTS), st.text(max_size=12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("bart"))


def published(folder: Path) -> object:
    """transformers' tokenizer with the words that the released code adds."""
    from transformers import BartTokenizer as Original

    own = Original.from_pretrained(str(folder))
    names = [f"<{kind}_{n}>" for kind in ("extra_id", "vis_extra_id") for n in range(99, -1, -1)]
    own.add_special_tokens({"additional_special_tokens": names})
    return own


@settings(max_examples=draws(20), deadline=None)
@given(text=TEXT, length=st.integers(2, 9))
def test_ids_and_texts_are_transformers_own(text, length, folder):
    own, theirs = BartTokenizer(str(folder)), published(folder)
    assert own.encode(text, length) == theirs(text, truncation=True, max_length=length).input_ids
    ids = own.encode(text)
    skipped = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert own.decode(ids) == skipped


@pytest.mark.parametrize("write", [write_lists, write_json])
def test_words_of_no_text_stand_behind_in_order(write, tmp_path):
    tokenizer = BartTokenizer(str(write(tmp_path)))
    size = train().get_vocab_size()
    assert tokenizer.vocab_size == size + 200
    assert tokenizer.pieces("<extra_id_99>") == [size]
    assert tokenizer.pieces("<extra_id_0>") == [size + 99]
    for number in (0, 35, 99):
        assert tokenizer.pieces(f"<vis_extra_id_{number}>") == [tokenizer.vocab_size - 1 - number]
    assert tokenizer.decode([0, size, size + 199, 2]) == ""
    assert (tokenizer.decoder_start_id, tokenizer.encode("")) == (2, [0, 2])


def test_t5_has_those_of_pictures_alone(tmp_path):
    file = tokenizer_file(tmp_path)
    bare, own = T5Tokenizer(str(file)), T5Tokenizer(str(file), vis_tokens=100)
    assert own.vocab_size == bare.vocab_size + 100
    assert own.pieces("<vis_extra_id_3>") == [own.vocab_size - 4]
    assert own.encode("a red ball") == bare.encode("a red ball")
    assert own.decode([own.vocab_size - 1, *bare.pieces("a red ball")]) == "a red ball"
    assert own.encode("") == [1]


def test_files_that_will_not_do(folder, tmp_path):
    longer = train()
    longer.add_special_tokens(["<vis_extra_id_3>"])
    longer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="the words '<extra_id_99>' to '<vis_extra_id_0>' belong"):
        BartTokenizer(str(tmp_path))
    with pytest.raises(ValueError, match="'<vis_extra_id_0>' must be an int >= 0: -1"):
        BartTokenizer(str(folder), vis_tokens=-1)
    absent = TOKENIZERS.build({"type": "BartTokenizer", "file": str(tmp_path / "none")})
    assert absent.vocab_size is None
    with pytest.raises(FileNotFoundError, match="name BART's folder"):
        absent.encode("a")
    assert lists_of(folder)[0]["<pad>"] == 1
