"""Damaged vocabularies: the tokenizer is built, or one error of ours names the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import OTHERS, damaged
from tests.helpers import draws, load_tool, write_vocab
from tests.malformed import Text, outcome, spoiled
from tests.roberta import write_json, write_lists
from tests.test_models.test_sentencepiece_tokenizer import train
from uniadapter.models.bart_tokenizer import BartTokenizer
from uniadapter.models.clip_merges import byte_letters
from uniadapter.models.clip_tokenizer import ClipTokenizer
from uniadapter.models.roberta_tokenizer import RobertaTokenizer
from uniadapter.models.sentencepiece_tokenizer import SentencePieceTokenizer
from uniadapter.models.t5_tokenizer import T5Tokenizer
from uniadapter.models.tokenizer import BertTokenizer

TEXT = "a red ball moves"
_numbers = itertools.count()


def _clip(folder: Path) -> None:
    letters = byte_letters()
    merges = [("r", "e"), ("re", "d</w>"), ("b", "a")]
    words = [*letters, *(x + "</w>" for x in letters), *(a + b for a, b in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


def _pieces(ids: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        kinds = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if ids == "t5" else {}
        (folder / "a.spm").write_bytes(train("unigram", **kinds))
        tool = load_tool("model_converters/convert_sentencepiece.py")
        tool.convert(folder / "a.spm", folder / "a.json", ids)

    return write


def _convert(folder: Path) -> int:
    before = sorted(path.name for path in folder.iterdir())
    tool = load_tool("model_converters/convert_sentencepiece.py")
    try:
        return tool.convert(folder / "a.spm", folder / "made.json")
    except Exception:
        assert sorted(path.name for path in folder.iterdir()) == before
        raise


#: By name: what writes right files, those that are spoiled, and what reads them.
KINDS: dict[str, tuple[Callable[[Path], Any], list[str], Callable[[Path], Any]]] = {
    "bert": (
        lambda f: write_vocab(f / "vocab.txt"),
        ["vocab.txt"],
        lambda f: BertTokenizer(str(f / "vocab.txt")).encode(TEXT),
    ),
    "clip": (
        _clip,
        ["vocab.json", "merges.txt"],
        lambda f: ClipTokenizer(vocab=str(f / "vocab.json"), merges=str(f / "merges.txt")).pieces(
            TEXT
        ),
    ),
    "clip merges": (
        _clip,
        ["merges.txt"],
        lambda f: ClipTokenizer(bpe=str(f / "merges.txt")).pieces(TEXT),
    ),
    "roberta": (
        write_json,
        ["tokenizer.json"],
        lambda f: RobertaTokenizer(str(f)).pieces(TEXT),
    ),
    "roberta lists": (
        write_lists,
        ["vocab.json", "merges.txt"],
        lambda f: RobertaTokenizer(str(f)).pieces(TEXT),
    ),
    "bart": (
        write_lists,
        ["vocab.json", "merges.txt"],
        lambda f: BartTokenizer(str(f)).pieces(TEXT),
    ),
    "sentencepiece": (
        _pieces("xlmr"),
        ["a.json"],
        lambda f: SentencePieceTokenizer(str(f / "a.json")).pieces(TEXT),
    ),
    "t5": (_pieces("t5"), ["a.json"], lambda f: T5Tokenizer(str(f / "a.json")).pieces(TEXT)),
    "a sentencepiece model": (_pieces("xlmr"), ["a.spm"], _convert),
}


@pytest.fixture(scope="module")
def right(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Contents of right files, those that are spoiled, and what reads them."""
    write, spoil, call = KINDS[request.param]
    folder = tmp_path_factory.mktemp("right")
    write(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, spoil, call


def spoiled_file(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    ways = [damaged(content)]
    if name.endswith(".json"):
        ways += [spoiled(json.loads(content))] * 2
    elif name.endswith(".txt"):
        ways += [spoiled(Text(content.decode()))]
    return st.one_of(ways)


@pytest.mark.parametrize("right", KINDS, indirect=True)
@settings(max_examples=draws(8, deep=200))
@given(data=st.data())
def test_damaged(right: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    contents, names, call = right
    folder = tmp_path_factory.getbasetemp() / f"damaged_words{next(_numbers)}"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    name = data.draw(st.sampled_from(names))
    (folder / name).write_bytes(data.draw(spoiled_file(name, contents[name])))
    outcome(lambda: call(folder), folder)


@pytest.mark.parametrize("right", KINDS, indirect=True)
def test_right_and_other_files(right: Any, tmp_path: Path):
    contents, names, call = right
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert call(tmp_path)
    for other in OTHERS.values():
        (tmp_path / names[0]).write_bytes(other)
        if (tmp_path / "made.json").exists():
            (tmp_path / "made.json").unlink()
        outcome(lambda: call(tmp_path), tmp_path)


@pytest.mark.parametrize("right", ["sentencepiece", "t5"], indirect=True)
def test_a_panic_of_the_library_is_an_error_of_ours(right: Any, tmp_path: Path):
    contents, [name], call = right
    content = json.loads(contents[name])
    [rule] = [
        step for step in content["normalizer"]["normalizers"] if step["type"] == "Precompiled"
    ]
    rule["precompiled_charsmap"] = "=" + rule["precompiled_charsmap"]
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name} is damaged \(Precompiled"):
        call(tmp_path)


def test_messages_are_short(tmp_path: Path):
    (tmp_path / "merges.txt").write_text("9" * 5000)
    with pytest.raises(ValueError, match=r"merges\.txt has .*where a merge of two") as error:
        ClipTokenizer(bpe=str(tmp_path / "merges.txt"))
    assert len(str(error.value)) < 1000
