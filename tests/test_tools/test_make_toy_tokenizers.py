"""Tokenizers of the small CLIP, BEiT-3 and RoBERTa: the committed ones, a piece a word."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import ROOT, draws
from tests.toy_parts import load_tool
from uniadapter.models.clip_tokenizer import ClipTokenizer
from uniadapter.models.roberta_tokenizer import RobertaTokenizer
from uniadapter.models.sentencepiece_tokenizer import SentencePieceTokenizer
from uniadapter.models.t5_tokenizer import T5Tokenizer

TINY = ROOT / "configs" / "tiny"
CLIP = ClipTokenizer(str(TINY / "clip_tokenizer.json"))
ROBERTA = RobertaTokenizer(str(TINY / "roberta_tokenizer.json"))
T5 = T5Tokenizer(str(TINY / "t5_tokenizer.json"))
BEIT3 = SentencePieceTokenizer(str(TINY / "beit3_tokenizer.json"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("dataset_converters/make_toy_tokenizers.py")


def test_the_committed_files_are_what_the_tool_writes(tool: ModuleType, tmp_path: Path) -> None:
    tool.main(["--out", str(tmp_path / "new")])
    for kind in ("clip", "beit3", "roberta", "t5"):
        name = f"{kind}_tokenizer.json"
        assert (tmp_path / "new" / name).read_bytes() == (TINY / name).read_bytes()


@given(data=st.data())
@settings(max_examples=draws(20))
def test_a_word_is_a_piece_and_a_text_comes_back(data: st.DataObject, tool: ModuleType) -> None:
    words = st.sampled_from(["a", *tool.words()])
    text = " ".join(data.draw(st.lists(words, min_size=1, max_size=12)))
    for tokenizer in (CLIP, BEIT3, T5):
        pieces = tokenizer.pieces(text)
        assert len(pieces) == len(text.split())
        assert tokenizer.unk_token_id not in pieces
        assert tokenizer.decode(pieces) == text
    # A word without a blank in front is spelled, but for the first of every expression.
    pieces = ROBERTA.pieces(f"the {text}")
    assert len(pieces) == len(text.split()) + 1
    assert ROBERTA.decode(pieces) == f"the {text}"


@given(text=st.text(alphabet="bcdfgXZ 0159.?", min_size=1, max_size=12))
@settings(max_examples=draws(20))
def test_other_words_are_spelled(text: str) -> None:
    found = BEIT3.pieces(text)
    assert BEIT3.unk_token_id not in found
    assert BEIT3.decode(found) == " ".join(text.split())
    # CLIP parts digits and punctuation from words.
    assert CLIP.decode(CLIP.pieces(text)).replace(" ", "") == text.lower().replace(" ", "")
