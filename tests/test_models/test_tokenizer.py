from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer as ReferenceTokenizer

from uniadapter.models import tokenizer as module
from uniadapter.models.tokenizer import BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# The reference refuses lone surrogates, which are no text.
CHARACTERS = st.characters(exclude_categories=["Cs"])
# Text as people write it, any characters at all, and pieces that tokenizers treat specially.
PIECES = st.one_of(
    st.text(CHARACTERS),
    st.text(alphabet="abcdefg ,.!'-\n\t0123"),
    st.sampled_from(
        [
            *SPECIAL,
            "[sep]",
            "##ing",
            "unaffable",
            "é",
            "e\u0301",
            "İ",
            "ß",
            "中文",
            "\u200b",
            "\ufffd",
        ]
    ),
    CHARACTERS,
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ReferenceTokenizer:
    folder = tmp_path_factory.mktemp("vocab")
    (folder / "vocab.txt").write_bytes(module._PACKAGED.read_bytes())
    return ReferenceTokenizer.from_pretrained(str(folder), local_files_only=True)


@pytest.fixture(scope="module")
def ours() -> BertTokenizer:
    return BertTokenizer()


@given(text=TEXTS)
@example(text="A [SEP] B[MASK]c [CLS]")
@example(text="   ")
@example(text="a" * 150)
@example(text="Hello\u00a0World\x00 naïve café, 東京 😀")
@settings(max_examples=300, deadline=None)
def test_equal_to_transformers_on_any_text(
    reference: ReferenceTokenizer, ours: BertTokenizer, text: str
) -> None:
    assert ours.encode(text) == reference(text)["input_ids"]


def test_lone_surrogates_are_left_out(ours: BertTokenizer) -> None:
    assert ours.encode("a \ud800 b") == ours.encode("a b")


@given(text=TEXTS, length=st.integers(3, 20))
@settings(max_examples=150, deadline=None)
def test_equal_to_transformers_when_truncated(
    reference: ReferenceTokenizer, ours: BertTokenizer, text: str, length: int
) -> None:
    found = ours.encode(text, length)
    assert found == reference(text, truncation=True, max_length=length)["input_ids"]
    assert found[0] == ours.cls_token_id
    assert found[-1] == ours.sep_token_id
    assert len(found) <= length


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_padding_equals_transformers(
    reference: ReferenceTokenizer, ours: BertTokenizer, texts: list[str]
) -> None:
    ids, mask = ours(texts)
    expected = reference(
        texts, padding="longest", truncation=True, max_length=35, return_tensors="pt"
    )
    assert torch.equal(ids, expected["input_ids"])
    assert torch.equal(mask, expected["attention_mask"])
    assert ids.dtype == mask.dtype == torch.long


def test_ids_of_the_packaged_vocabulary(ours: BertTokenizer) -> None:
    assert ours.vocab_size == 30524
    assert (ours.dec_token_id, ours.enc_token_id) == (30522, 30523)
    assert (ours.pad_token_id, ours.unk_token_id) == (0, 100)
    assert (ours.cls_token_id, ours.sep_token_id, ours.mask_token_id) == (101, 102, 103)


def test_marks_of_blip_cannot_be_written_in_a_text(ours: BertTokenizer) -> None:
    assert max(ours.encode("[DEC] [ENC] [dec]")) < 30522


def test_half_a_surrogate_pair_is_no_character(ours: BertTokenizer) -> None:
    assert ours.encode("a \ud83d dog") == ours.encode("a dog")


@pytest.mark.parametrize("text", ["a man is running, fast.", "it's the cat's unaffable friend"])
def test_decode(reference: ReferenceTokenizer, ours: BertTokenizer, text: str) -> None:
    ids, _ = ours([text])
    expected = reference.decode(ids[0], skip_special_tokens=True)
    assert ours.decode(ids[0]).replace(" ", "") == expected.replace(" ", "")
    assert ours.decode(ids[0].tolist()).replace(" ", "") == text.replace(" ", "")


def test_decode_with_special_tokens(ours: BertTokenizer) -> None:
    ids = [30523, *ours.encode("a dog")[1:], 0, 30522]
    assert ours.decode(ids) == "a dog"
    assert ours.decode(ids, skip_special_tokens=False) == "[ENC] a dog [SEP] [PAD] [DEC]"


@pytest.mark.parametrize("index", [30524, -1])
def test_decode_of_an_unknown_id(ours: BertTokenizer, index: int) -> None:
    with pytest.raises(ValueError, match="outside the vocabulary"):
        ours.decode([index])


def test_no_texts(ours: BertTokenizer) -> None:
    ids, mask = ours([])
    assert ids.shape == mask.shape == (0, 0)


def test_copies_work(ours: BertTokenizer) -> None:
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(twin(["A dog's life"])[0], ours(["A dog's life"])[0])
        assert twin.decode([30523, 1037]) == ours.decode([30523, 1037])


def test_small_vocabulary_with_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join([*SPECIAL, "dog", "##s", "a"]).encode() + b"\r\n"
    )
    small = BertTokenizer(str(path))
    assert small.vocab_size == 10
    assert (small.dec_token_id, small.enc_token_id) == (8, 9)
    assert small.encode("A dogs cat") == [2, 7, 5, 6, 1, 3]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (SPECIAL[:3], r"special tokens \['\[SEP\]', '\[MASK\]'\] are missing"),
        ([], "special tokens .* are missing"),
        ([*SPECIAL, "dog", "dog"], "line 7: token 'dog' stands on line 6 already"),
    ],
)
def test_bad_vocabulary(tmp_path: Path, tokens: list[str], message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("\n".join(tokens))
    with pytest.raises(ValueError, match=r"bad\.txt: .*" + message):
        BertTokenizer(str(path))


def test_files_of_other_tokenizers_are_refused(ours: BertTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for pretty in (False, True):
        path.write_text(ours._backend.to_str(pretty), encoding="utf-8")
        with pytest.raises(ValueError, match=r"this is a tokenizer\.json; a vocabulary has one"):
            BertTokenizer(str(path))
    path.write_bytes(b"\x0a\x0e\xff\xfe")
    with pytest.raises(ValueError, match=r"tokenizer\.json: this is no text; a vocabulary has"):
        BertTokenizer(str(path))


def test_without_extra_tokens(ours: BertTokenizer) -> None:
    plain = BertTokenizer(extra_tokens=())
    assert plain.vocab_size == 30522
    assert plain.decoder_start_id == plain.cls_token_id == 101
    assert ours.decoder_start_id == ours.dec_token_id == 30522
    assert plain.encode("A dog's life") == ours.encode("A dog's life")
    with pytest.raises(ValueError, match="outside the vocabulary of 30522 ids"):
        plain.decode([30522])


@pytest.mark.parametrize("extra", ["[DEC]", ["[CLS]"], ["[A]", "[A]"]])
def test_bad_extra_tokens(extra: list[str]) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.extra_tokens=.* must be a list"):
        BertTokenizer(extra_tokens=extra)


def test_missing_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vocab_file = .*none\.txt' does not exist"):
        BertTokenizer(str(tmp_path / "none.txt"))


def test_bad_arguments(ours: BertTokenizer) -> None:
    with pytest.raises(ValueError, match="list of texts"):
        ours("a dog")
    with pytest.raises(ValueError, match="must be a string, got int"):
        ours([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="room for"):
        ours(["a dog"], max_length=1)
