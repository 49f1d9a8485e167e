"""RoBERTa's tokenizer, by a small vocabulary in its files, against transformers' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import RobertaTokenizerFast

from tests.helpers import draws
from tests.roberta import TEXTS, lists_of, train, write_json, write_lists
from uniadapter.models.roberta_tokenizer import RobertaTokenizer
from uniadapter.registry import TOKENIZERS

WORDS = st.text(st.sampled_from("abe rst 'éß3,.☃\n"), max_size=20) | st.sampled_from(TEXTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def own(folder: Path) -> RobertaTokenizer:
    return RobertaTokenizer(str(folder))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> RobertaTokenizerFast:
    vocab, lines = lists_of(folder)
    rows = [line for line in lines.splitlines() if not line.startswith("#version")]
    merges = [tuple(row.split(" ")) for row in rows]
    return RobertaTokenizerFast(vocab=vocab, merges=merges)


@settings(max_examples=draws(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WORDS)
def test_ids_and_places_are_those_of_transformers(own, theirs, text):
    expected = theirs(text)
    assert own.encode(text) == expected["input_ids"]
    for begin in range(len(text)):
        for end in range(begin + 1, len(text) + 1):
            assert own.places(text, [(begin, end)]) == by_hand(theirs, text, begin, end)


def by_hand(theirs, text: str, begin: int, end: int) -> list[int]:
    """From the first character's token to the last one's, shifted where there is none."""
    encoding = theirs(text)

    def token(*characters: int) -> int | None:
        inside = (c for c in characters if 0 <= c < len(text))
        found = (encoding.char_to_token(c) for c in inside)
        return next((t for t in found if t is not None), None)

    first, last = token(begin, begin + 1, begin + 2), token(end - 1, end - 2, end - 3)
    return [] if first is None or last is None else list(range(first, last + 1))


def test_a_blank_has_no_token_of_its_own(own):
    text = "the red star"
    whole = own.places(text, [(4, 12)])
    # From the blank in front, and to the one behind.
    assert own.places(text, [(3, 12)]) == whole
    assert own.places("the red star ", [(4, 13)]) == whole
    assert own.places(text, [(4, 7), (8, 12)]) == whole
    assert own.places("a   b", [(1, 2)]) == []


def test_json_and_lists_are_one(tmp_path: Path, own):
    single = RobertaTokenizer(str(write_json(tmp_path / "a")))
    file = RobertaTokenizer(str(tmp_path / "a" / "tokenizer.json"))
    for text in TEXTS:
        ids = own.encode(text)
        assert len(ids) > 2
        assert single.decode(single.encode(text)) == file.decode(file.encode(text)) == text
        assert own.decode(ids) == text


def test_rows_are_padded_and_cut(own):
    ids, mask = own(["the red star", "a"], max_length=4)
    assert ids.shape == mask.shape == (2, 4)
    assert ids[0, 0] == 0
    assert ids[0, 3] == 2
    assert ids[1, -1] == 1
    assert mask[1].tolist() == [1, 1, 1, 0]


def test_a_model_is_built_without_the_files(tmp_path: Path):
    tokenizer = TOKENIZERS.build({"type": "RobertaTokenizer", "file": str(tmp_path / "none")})
    assert tokenizer.vocab_size is None
    with pytest.raises(FileNotFoundError, match="roberta-base"):
        tokenizer.encode("a")


def test_wrong_files_are_named(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"vocab\.json and merges\.txt"):
        RobertaTokenizer(str(empty))
    wrong = tmp_path / "tokenizer.json"
    for content, said in (
        ("{", "no JSON"),
        ("{}", "no tokenizer.json"),
        ('{"model": {"type": "Unigram"}}', "Unigram"),
        ('{"model": {"type": "BPE"}}', "bytes"),
    ):
        wrong.write_text(content)
        with pytest.raises(ValueError, match=said):
            RobertaTokenizer(str(wrong))
    other = train()
    content = json.loads(other.to_str())
    vocab = content["model"]["vocab"]
    vocab["<s>"], vocab["<pad>"] = 1, 0
    for token in content["added_tokens"]:
        token["id"] = vocab[token["content"]]
    wrong.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="special tokens"):
        RobertaTokenizer(str(wrong))
    broken = write_lists(tmp_path / "broken")
    (broken / "merges.txt").write_text("#version: 0.2\nnot there\n", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        RobertaTokenizer(str(broken))
