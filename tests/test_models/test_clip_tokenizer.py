from __future__ import annotations

import gzip
import html
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from uniadapter.models import ClipTokenizer, MultimodalDataPreprocessor
from uniadapter.models.clip_merges import NAME

LINES = [
    "a red ball moves over the grey ground",
    "two big boxes, under a small ball.",
    "is it blue? naïve café 東京 1/2 ...",
    "the dog's toy isn't here",
    "moving movers moved",
] * 4
START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(alphabet="abcdeABIs ,.'&;\n\t"),
        st.sampled_from([START, END, "</w>", "  ", "É", "e\u0301", "東京", "½", "İ", "&amp;"]),
        st.sampled_from(LINES[:5]),
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with the three files of a small tokenizer, and transformers' tokenizer of it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=400, end_of_word_suffix="</w>", show_progress=False)
    backend.train_from_iterator(LINES, trainer)
    model = json.loads(backend.to_str())["model"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words = list(dict.fromkeys([*words, *model["vocab"], START, END]))
    vocab = {word: index for index, word in enumerate(words)}
    merges = [tuple(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    theirs = transformers.CLIPTokenizerFast.from_pretrained(folder)
    theirs.save_pretrained(folder)
    return folder, theirs


@given(text=TEXTS)
@example(text=" A  red\t\nBall ")
@example(text=f"{START} ball{END} ball")
@example(text="")
@settings(max_examples=60, deadline=None)
def test_ids_are_those_of_transformers(trained: tuple[Path, Any], text: str) -> None:
    folder, theirs = trained
    ours = ClipTokenizer(file=str(folder / "tokenizer.json"))
    clean = html.unescape(html.unescape(text))
    assert ours.encode(text) == theirs(clean)["input_ids"]
    pair = ClipTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    assert pair.encode(text, 9) == ours.encode(text, 9)


def test_marks_padding_length_and_decoding(trained: tuple[Path, Any]) -> None:
    folder, _ = trained
    file = str(folder / "tokenizer.json")
    tokenizer = {"type": "ClipTokenizer", "file": file}
    ours = MultimodalDataPreprocessor(tokenizer=tokenizer, max_text_len=77).tokenizer
    assert isinstance(ours, ClipTokenizer)
    end = ours.vocab_size - 1
    assert (ours.cls_token_id, ours.sep_token_id, ours.pad_token_id) == (end - 1, end, end)
    ids, mask = ours(["A red ball moves over it", "ball " * 90], max_length=77)
    assert ids.shape == (2, 77)
    length = int(mask[0].sum())
    assert ids[0, 0] == end - 1
    assert ids[0, length - 1 :].tolist() == [end] * (78 - length)
    assert ids[1, -1] == end
    assert ours.decode(ids[0]) == "a red ball moves over it"
    assert ours.decode(ids[0, :length], skip_special_tokens=False).endswith(END)
    assert ours.encode("the &amp;lt; box") == ours.encode("the < box")
    ours.check_rows(end + 1, exact=False)
    with pytest.raises(ValueError, match=f"text.vocab_size={end + 2}, but the tokenizer"):
        ours.check_rows(end + 2, exact=False)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        ours.decode([end + 1])


def test_a_model_is_built_before_there_is_a_file(tmp_path: Path) -> None:
    ours = ClipTokenizer(file=str(tmp_path / "gone.json"))
    assert ours.vocab_size is None
    with pytest.raises(FileNotFoundError, match="gone.json does not exist: copy it"):
        ours.encode("a ball")
    with pytest.raises(ValueError, match="either file .* or both vocab"):
        ClipTokenizer()
    with pytest.raises(ValueError, match="either file .* or both vocab"):
        ClipTokenizer(vocab="vocab.json")


def test_a_file_of_another_kind_is_one_clear_error(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    content = json.loads((trained[0] / "tokenizer.json").read_text(encoding="utf-8"))

    def refused(text: str | bytes) -> str:
        path = tmp_path / "t.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match="transformers CLIP model") as error:
            ClipTokenizer(file=str(path))
        assert str(path) in str(error.value)
        return str(error.value)

    assert "is no text" in refused(b"\xff\xfe")
    assert "is no JSON" in refused("[PAD]\n[UNK]\n")
    assert "holds no dictionary" in refused("[1]")
    assert "is no tokenizer.json" in refused("{}")
    assert "'Unigram'" in refused(json.dumps({"model": {"type": "Unigram", "vocab": []}}))
    gpt = {**content["model"], "end_of_word_suffix": None}
    assert "ends words with None" in refused(json.dumps({**content, "model": gpt}))
    words = {**content["model"], "vocab": {"a": 0, "b": 7}}
    assert "no vocabulary" in refused(json.dumps({**content, "model": words}))
    merges = {**content["model"], "merges": ["a b c"]}
    assert "where a merge" in refused(json.dumps({**content, "model": merges}))
    few = {"model": {**content["model"], "vocab": {START: 0, END: 1}}}
    assert "disagree" in refused(json.dumps(few))
    other = {**content["model"], "vocab": {"a": 0, "b": 1}, "merges": []}
    plain = {"model": other, "added_tokens": []}
    assert "special tokens" in refused(json.dumps(plain))


def write_bpe(folder: Path, target: Path, compressed: bool) -> None:
    """The original's form of a tokenizer: its merges behind a line of the version."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    text = "\n".join(['"a file of merges#version: 0.2', *lines, ""]).encode()
    target.write_bytes(gzip.compress(text) if compressed else text)


@pytest.mark.parametrize("compressed", [True, False])
def test_merges_alone_are_a_vocabulary(trained, tmp_path: Path, compressed: bool) -> None:
    folder, _ = trained
    write_bpe(folder, tmp_path / "merges.gz", compressed)
    own = ClipTokenizer(bpe=str(tmp_path / "merges.gz"))
    pairs = [line for line in (folder / "merges.txt").read_text("utf-8").split("\n")[1:] if line]
    # Bytes in the original's order, printable ones first; those that end a word; merges; marks.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]
    words = [*letters, *(x + "</w>" for x in letters)]
    words += [pair.replace(" ", "") for pair in pairs] + [START, END]
    assert own.vocab_size == len(words)
    theirs = ClipTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    names = {index: word for word, index in json.loads((folder / "vocab.json").read_text()).items()}
    for text in LINES[:5]:
        assert [words[i] for i in own.pieces(text)] == [names[i] for i in theirs.pieces(text)]
        assert own.decode(own.encode(text)) == theirs.decode(theirs.encode(text))


def test_a_file_of_the_published_name_is_the_published_one(trained, tmp_path: Path) -> None:
    write_bpe(trained[0], tmp_path / NAME, True)
    with pytest.raises(ValueError, match="is not the published file.*open_clip_torch"):
        ClipTokenizer(bpe=str(tmp_path / NAME))
    missing = ClipTokenizer(bpe=str(tmp_path / "none.gz"))
    assert missing.vocab_size is None
    with pytest.raises(FileNotFoundError, match="open_clip_torch"):
        missing.encode("a")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (gzip.compress(b"a b\n" * 99)[:-20], "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (b"a b\na b c\n", "a merge of two pieces"),
        (b"a b\na b\n", "makes 'ab' again"),
    ],
    # A compressed file holds the time, and test processes must name their tests alike.
    ids=["cut", "no-text", "three-pieces", "twice"],
)
def test_damaged_merges(data: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "merges").write_bytes(data)
    with pytest.raises(ValueError, match=match):
        ClipTokenizer(bpe=str(tmp_path / "merges"))


def test_one_way_of_naming_files() -> None:
    for options in ({}, {"file": "a", "bpe": "b"}, {"vocab": "a"}, {"bpe": "a", "merges": "b"}):
        with pytest.raises(ValueError, match="bpe"):
            ClipTokenizer(**options)


def test_repair_is_of_texts_beyond_ascii(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = trained
    files = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
    plain, repairing = ClipTokenizer(**files), ClipTokenizer(**files, repair=True)
    assert repairing.encode("The dog's toy, <b> 1/2!") == plain.encode("The dog's toy, <b> 1/2!")
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ImportError, match="pip install ftfy"):
        repairing.encode("cafÃ©")
    module = ModuleType("ftfy")
    module.fix_text = lambda text: text.encode("latin1").decode("utf-8")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ftfy", module)
    assert repairing.encode("cafÃ©") == plain.encode("café")
