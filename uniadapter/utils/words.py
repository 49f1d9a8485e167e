"""What the tokenizer of BERT makes of a text before it looks a word up."""

from __future__ import annotations

import re
from functools import lru_cache

from tokenizers import normalizers, pre_tokenizers

#: Tokens that keep their meaning when they are written in a text.
WRITTEN_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WRITTEN = re.compile("(" + "|".join(map(re.escape, WRITTEN_TOKENS)) + ")")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Lower case, no accents, no control characters, blanks around Chinese characters.
NORMALIZER = normalizers.BertNormalizer(
    clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
)
#: Words between blanks, every mark of punctuation a word of its own.
PRE_TOKENIZER = pre_tokenizers.BertPreTokenizer()


def without_surrogates(text: str) -> str:
    """Put U+FFFD, which BERT drops, in the place of halves of surrogate pairs.

    Such a half, as a broken JSON escape leaves it, is no character.
    """
    return _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=2**16)
def words_of(text: str) -> tuple[str, ...]:
    """Split a text into the words that an uncased tokenizer looks up.

    Texts with the same words have the same tokens, whatever the vocabulary: ``'T-Shirt'`` and
    ``'t - shirt '``, ``'Café'`` and ``'cafe'``. The reverse doesn't hold for words that a
    vocabulary lacks, which are all ``[UNK]``.

    Args:
        text: Any text.

    Returns:
        Its words; none where the text is blank for the tokenizer.
    """
    words: list[str] = []
    for part in _WRITTEN.split(without_surrogates(text)):
        if part in WRITTEN_TOKENS:
            words.append(part)
        else:
            plain = NORMALIZER.normalize_str(part)
            words += [word for word, _ in PRE_TOKENIZER.pre_tokenize_str(plain)]
    return tuple(words)
