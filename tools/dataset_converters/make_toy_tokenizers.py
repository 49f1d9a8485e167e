"""Write the tokenizers of the small models, of the words of the embedded data.

    python tools/dataset_converters/make_toy_tokenizers.py --out configs/tiny

writes ``clip_tokenizer.json`` (byte pairs, as CLIP's), ``beit3_tokenizer.json`` (sentencepiece's
pieces, as BEiT-3's), ``roberta_tokenizer.json`` (pairs of bytes, as RoBERTa's),
``t5_tokenizer.json`` (T5's pieces), and ``vl_bart_tokenizer.json`` and ``vl_t5_tokenizer.json``,
which have the words of VL-Adapter's tasks as well. Every word of the vocabulary is one piece; any
other is spelled. The same words give the same files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from string import ascii_letters
from types import SimpleNamespace
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from toy_world.language import vocabulary
from toy_world.statements import WORDS as STATEMENT_WORDS

from tools.model_converters.convert_sentencepiece import T5, build_tokenizer
from uniadapter.models.clip_tokenizer import END, START
from uniadapter.models.roberta_tokenizer import FIRST_TOKENS, MASK_TOKEN
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

_SUFFIX = "</w>"
_MORE_PIECES = 10_000
#: What names tasks, parts of a text and choices in VL-Adapter's texts.
VL_MARKS = (
    *("vqa:", "gpa:", "nlvr:", "caption:", "tvqa:", "tvc:"),
    *("[Subs]", "[Q]", "[TS]", "[Choices]", "a0:", "a1:", "a2:", "a3:", "a4:"),
    *("a0", "a1", "a2", "a3", "a4"),
)


def words() -> list[str]:
    """The words of the world that are longer than a letter, without pieces of words."""
    return [word for word in vocabulary() if len(word) > 1 and word[0] != "#" and word[0] != "["]


def clip_tokenizer() -> dict[str, Any]:
    """CLIP's ``tokenizer.json``: all bytes, inside a word and at its end, and merges.

    Returns:
        dict: What :class:`uniadapter.ClipTokenizer` reads of the file.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{letter}{_SUFFIX}" for letter in alphabet)]
    trained = Tokenizer(BPE(end_of_word_suffix=_SUFFIX))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Special tokens are numbered as they come here, and ties go by number; the last letters of
    # words would be numbered as they are met, in an order that changes from run to run.
    options = {"end_of_word_suffix": _SUFFIX, "show_progress": False, "special_tokens": pieces}
    trained.train_from_iterator(words(), BpeTrainer(vocab_size=_MORE_PIECES, **options))
    merges = json.loads(trained.to_str())["model"]["merges"]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    pieces += [left + right for left, right in merges]
    # Two ways may lead to one piece.
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, START, END]))}
    model = {"type": "BPE", "end_of_word_suffix": _SUFFIX, "vocab": vocab, "merges": merges}
    return {"model": model}


def beit3_tokenizer() -> Tokenizer:
    """BEiT-3's ``tokenizer.json``, of a sentencepiece model with a piece a word.

    Letters cost so much that a word of the world is never spelled.
    """
    others = [piece for piece in vocabulary() if len(piece) == 1 and not piece.isalpha()]
    spelled = ["\u2581", *ascii_letters, *others]
    rows = [("\u2581" + word, -1.0) for word in ("a", *words())]
    rows += [(piece, -20.0) for piece in spelled]
    pieces = [(token, 0.0) for token in ("<unk>", "<s>", "</s>")] + rows
    model = SimpleNamespace(
        pieces=[SimpleNamespace(piece=piece, score=score) for piece, score in pieces],
        trainer_spec=SimpleNamespace(model_type=1),
        normalizer_spec=SimpleNamespace(
            precompiled_charsmap=b"", remove_extra_whitespaces=True, add_dummy_prefix=True
        ),
    )
    return build_tokenizer(model)


def roberta_tokenizer(more: Sequence[str] = ()) -> Tokenizer:
    """RoBERTa's ``tokenizer.json``, with a piece a word that follows a blank, and one for "the".

    Merges only lengthen what begins with a blank, so that no other word's can break a word; those
    of a word without one come last.

    Args:
        more (Sequence[str]): Further words.
    """
    chains = [["\u0120", *word] for word in ("a", *words(), *more)] + [list("the")]
    merges = list(
        dict.fromkeys(
            ("".join(chain[:end]), chain[end]) for chain in chains for end in range(1, len(chain))
        )
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*FIRST_TOKENS, *alphabet, *(a + b for a, b in merges), MASK_TOKEN]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*FIRST_TOKENS, MASK_TOKEN])
    return tokenizer


def t5_tokenizer(more: Sequence[str] = (), letters: str = "") -> Tokenizer:
    """T5's ``tokenizer.json``, with a piece a word, a field of a task, a digit and a letter.

    Args:
        more (Sequence[str]): Further words.
        letters (str): Further signs.
    """
    fields = ("cola", "mrpc", "rte", "sentence:", "sentence1:", "sentence2:", "plain:", "turn:")
    others = [piece for piece in vocabulary() if len(piece) == 1 and not piece.isalpha()]
    spelled = ["\u2581", *ascii_letters, *others, ":", *letters]
    rows = [("\u2581" + word, -1.0) for word in ("a", *words(), *fields, *more)]
    rows += [(piece, -20.0) for piece in spelled]
    pieces = [*((token, 0.0) for token in T5.first), *rows]
    model = SimpleNamespace(
        pieces=[SimpleNamespace(piece=piece, score=score) for piece, score in pieces],
        trainer_spec=SimpleNamespace(model_type=1),
        normalizer_spec=SimpleNamespace(
            precompiled_charsmap=b"", remove_extra_whitespaces=True, add_dummy_prefix=True
        ),
    )
    return build_tokenizer(model, T5)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Tokenizers of the embedded data.")
    parser.add_argument("--out", default="configs/tiny", help="folder of the files")
    out = Path(parser.parse_args(argv).out)
    out.mkdir(parents=True, exist_ok=True)
    made = {"clip": clip_tokenizer()}
    for name, tokenizer in (
        ("beit3", beit3_tokenizer()),
        ("roberta", roberta_tokenizer()),
        ("t5", t5_tokenizer()),
        ("vl_bart", roberta_tokenizer(STATEMENT_WORDS)),
        ("vl_t5", t5_tokenizer((*STATEMENT_WORDS, *VL_MARKS), "[]()")),
    ):
        made[name] = json.loads(tokenizer.to_str())
    for name, content in made.items():
        text = json.dumps(content, ensure_ascii=False) + "\n"
        atomic_write(out / f"{name}_tokenizer.json", text.encode())
        print(out / f"{name}_tokenizer.json")


if __name__ == "__main__":
    main()
