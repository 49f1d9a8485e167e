"""T5's tokenizer gives sentencepiece's pieces, and reads what transformers reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.helpers import draws, load_tool
from tests.t5_helpers import LINES, spiece, tokenizer_file
from uniadapter.models.t5_tokenizer import T5Tokenizer

TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(alphabet="abcd ,.'\n\t019:"),
        st.sampled_from(["\u2581", "  ", "é", "e\u0301", "東京", "½", "\u200b", *LINES[:5]]),
    ),
    max_size=6,
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    tokenizer_file(folder)
    return folder


@settings(max_examples=draws(60), deadline=None)
@given(text=TEXTS)
@example(text="")
@example(text="  two  blanks ")
def test_ids_are_sentencepieces(folder: Path, text: str) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = T5Tokenizer(str(folder / "t5.json"))
    ids = model.encode(text)
    assert tokenizer.pieces(text) == ids
    assert tokenizer.encode(text) == [*ids, 1]
    assert tokenizer.decode([*ids, 1, 0]) == model.decode([i for i in ids if i != 2]).strip()


def test_marks_lengths_and_ids_without_a_word(folder: Path) -> None:
    tokenizer = T5Tokenizer(str(folder / "t5.json"))
    assert tokenizer.vocab_size == 160
    marks = (tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.decoder_start_id)
    assert marks == (0, 1, 0)
    ids, mask = tokenizer(["a ball", "a red ball moves"], 4)
    assert ids.shape == (2, 4)
    assert ids[1, -1] == 1
    assert (ids == 0).equal(mask == 0)
    assert tokenizer.pieces("<extra_id_0>") == [159]
    # A model may write rows of its table that no word uses.
    assert tokenizer.decode([180, *tokenizer.pieces("a ball"), 189]) == "a ball"
    tokenizer.check_rows(190, False)
    with pytest.raises(ValueError, match="the tokenizer of data_preprocessor has 160 words"):
        tokenizer.check_rows(159, False)
    with pytest.raises(ValueError, match="Id -3 is below 0"):
        tokenizer.decode([5, -3])
    with pytest.raises(ValueError, match="must be a string, got int"):
        tokenizer.encode(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must leave room for </s>"):
        tokenizer.encode("a", 0)


def test_a_folder_of_transformers_is_read(folder: Path, tmp_path: Path) -> None:
    """Its ``T5Tokenizer`` writes a tokenizer.json, whose special tokens stand elsewhere."""
    from transformers import T5Tokenizer as Theirs

    vocab = json.loads((folder / "t5.json").read_text())["model"]["vocab"][:60]
    theirs = Theirs(vocab=[tuple(row) for row in vocab])
    theirs.save_pretrained(tmp_path)
    ours = T5Tokenizer(str(tmp_path / "tokenizer.json"))
    for text in LINES[:5]:
        assert ours.encode(text) == theirs(text).input_ids


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    missing = T5Tokenizer(str(tmp_path / "none.json"))
    assert missing.vocab_size is None
    with pytest.raises(FileNotFoundError, match=r"none.json does not exist: .*--ids t5"):
        missing(["a"])
    with pytest.raises(
        ValueError, match=r"is a sentencepiece model, not a tokenizer.json: .*--ids"
    ):
        T5Tokenizer(str(folder / "spiece.model"))
    tool = load_tool("model_converters/convert_sentencepiece.py")
    other = spiece(tmp_path / "other.model", pad_id=-1, unk_id=0, bos_id=1, eos_id=2)
    with pytest.raises(ValueError, match="first pieces are <pad>, </s> and <unk>"):
        tool.convert(other, tmp_path / "other.json", "t5")
    tool.convert(other, tmp_path / "xlmr.json")
    with pytest.raises(ValueError, match="has the special tokens"):
        T5Tokenizer(str(tmp_path / "xlmr.json"))


def test_a_length_that_a_file_was_saved_with_is_not_applied(folder: Path, tmp_path: Path) -> None:
    """transformers saves a tokenizer with the length that it was called with last."""
    used = Tokenizer.from_file(str(folder / "t5.json"))
    used.enable_truncation(3)
    used.enable_padding(length=7)
    used.save(str(tmp_path / "t5.json"))
    own, plain = (T5Tokenizer(str(place / "t5.json")) for place in (tmp_path, folder))
    for text in ("", *LINES[:5]):
        assert own.encode(text) == plain.encode(text)
