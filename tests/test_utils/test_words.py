"""Answers are compared by what the tokenizer makes of them."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from uniadapter.models.tokenizer import BertTokenizer
from uniadapter.utils.words import words_of

TOKENIZER = BertTokenizer()
PIECES = st.one_of(
    st.sampled_from(["yes", "Yes", "T-Shirt", "t - shirt", "café", "cafe\u0301", "CAFÉ", "[SEP]"]),
    st.sampled_from(["[sep]", " ", "\t", "\u200b", "\ufffd", "\ud800", "İ", "ß", "中文", "中 文"]),
    st.text(max_size=4),
)
TEXTS = st.lists(PIECES, max_size=3).map("".join)


def test_what_is_the_same_to_a_tokenizer() -> None:
    same = [("yes", "YES "), ("t-shirt", "T - Shirt"), ("café", "Cafe\u0301"), ("a  b", "a\tb")]
    for one, other in same:
        assert words_of(one) == words_of(other)
    for one, other in [("t-shirt", "tshirt"), ("yes", "yes."), ("[SEP]", "[sep]")]:
        assert words_of(one) != words_of(other)
    assert words_of(" \u200b\ufffd") == ()


@settings(max_examples=200, deadline=None)
@given(TEXTS)
@example("[SEP]a")
def test_the_words_are_all_that_the_tokenizer_looks_at(text: str) -> None:
    words = words_of(text)
    ids = [token for word in words for token in TOKENIZER.encode(word)[1:-1]]
    assert ids == TOKENIZER.encode(text)[1:-1]


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_same_words_mean_same_tokens(one: str, other: str) -> None:
    ids = [TOKENIZER.encode(text) for text in (one, other)]
    if words_of(one) == words_of(other):
        assert ids[0] == ids[1]
    elif TOKENIZER.unk_token_id not in ids[0] + ids[1]:
        assert ids[0] != ids[1]
