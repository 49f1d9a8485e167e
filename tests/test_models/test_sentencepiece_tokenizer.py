from __future__ import annotations

import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.helpers import ROOT
from uniadapter.models import MultimodalDataPreprocessor
from uniadapter.models.build import check_model_cfg
from uniadapter.models.sentencepiece_tokenizer import SentencePieceTokenizer
from uniadapter.models.tokenizer import BertTokenizer
from uniadapter.registry import TOKENIZERS

TOOL = ROOT / "tools" / "model_converters" / "convert_sentencepiece.py"
LINES = [
    "A red ball moves over the grey ground",
    "Two big boxes, under a small ball.",
    "Is it BLUE? naïve café 東京 1/2 ...",
    "the dog's toy isn't here",
    "moving movers moved",
] * 20
SPECIAL = re.compile("(<s>|<pad>|</s>|<unk>|<mask>)")
TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(alphabet="abcdeABIs ,.'\n\t"),
        st.sampled_from(["<s>", "<mask>", "\u2581", "  ", "é", "e\u0301", "東京", "½", "\u200b"]),
        st.sampled_from(LINES[:5]),
    ),
    max_size=8,
).map("".join)


def load_tool() -> Any:
    spec = importlib.util.spec_from_file_location("convert_sentencepiece", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(kind: str, vocab_size: int = 58, **options: Any) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=written,
        vocab_size=vocab_size,
        model_type=kind,
        character_coverage=1.0,
        minloglevel=2,
        **options,
    )
    return written.getvalue()


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tiny.spm").write_bytes(train(request.param))
    file = folder / "tokenizer.json"
    load_tool().main([str(folder / "tiny.spm"), str(file)])
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tiny.spm"))
    return file, SentencePieceTokenizer(str(file)), reference


def ids_by_the_rule(reference: Any, text: str, mask: int) -> list[int]:
    """XLM-R's ids: written special tokens are split off, a piece's id is one higher, unknown 3."""
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": mask}
    ids: list[int] = []
    for part in SPECIAL.split(text):
        if part in special:
            ids.append(special[part])
        else:
            ids += [index + 1 if index else 3 for index in reference.encode(part)]
    return ids


@given(text=TEXTS)
@example(text=" a  b\t\nBall ")
@example(text="<s> ball<mask>")
@example(text="")
@settings(max_examples=60, deadline=None)
def test_ids_are_sentencepieces(converted: Any, text: str) -> None:
    _, ours, reference = converted
    ids, wanted = ours.pieces(text), ids_by_the_rule(reference, text, ours.mask_token_id)
    if ids != wanted:
        # Two ways to split with one score: the libraries break ties differently.
        scores = [
            sum(reference.get_score(i - 1) for i in row if 3 < i < ours.mask_token_id)
            for row in (ids, wanted)
        ]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
        assert ours.decode(ids) == ours.decode(wanted)


def test_marks_padding_and_length(converted: Any) -> None:
    _, ours, reference = converted
    assert ours.vocab_size == reference.get_piece_size() + 2
    ids, mask = ours(["a red ball moves", "ball"], max_length=6)
    assert ids.shape == mask.shape == (2, 6)
    assert ids[0].tolist() == [0, *ids_by_the_rule(reference, "a red ball moves", -1)[:4], 2]
    length = int(mask[1].sum())
    row = [0, *ids_by_the_rule(reference, "ball", -1)[:4], 2]
    assert ids[1].tolist() == row + [1] * (6 - length)
    assert mask[1].tolist() == [1] * length + [0] * (6 - length)
    assert ours.decode(ours.encode("A red ball")) == "A red ball"
    with pytest.raises(ValueError, match="Id 60 is outside the vocabulary of 60 ids"):
        ours.decode([60])


def test_a_preprocessor_builds_the_tokenizer_of_its_config(converted: Any) -> None:
    file, ours, _ = converted
    config = {"type": "SentencePieceTokenizer", "file": str(file)}
    built = MultimodalDataPreprocessor(tokenizer=config).tokenizer
    assert isinstance(built, SentencePieceTokenizer)
    assert built.encode("A ball") == ours.encode("A ball")
    assert isinstance(MultimodalDataPreprocessor().tokenizer, BertTokenizer)
    assert isinstance(TOKENIZERS.build({"type": "BertTokenizer"}), BertTokenizer)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "SentencPieceTokenizer"}, "tokenizer.type=.* Did you mean 'SentencePiece"),
        ({"type": "SentencePieceTokenizer", "path": "x"}, "tokenizer.path is no option of Sent"),
        ({"type": "RetrievalModel"}, "tokenizer.type='RetrievalModel' is not registered"),
    ],
)
def test_a_wrong_tokenizer_names_its_key(config: dict[str, Any], message: str) -> None:
    cfg = {"type": "MultimodalDataPreprocessor", "tokenizer": config}
    with pytest.raises(ValueError, match=message):
        check_model_cfg(cfg, "model.data_preprocessor")


def test_a_file_of_another_kind_is_one_clear_error(tmp_path: Path) -> None:
    def refused(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match="convert_sentencepiece.py") as error:
            SentencePieceTokenizer(str(path))
        assert str(path) in str(error.value)
        return str(error.value)

    # Only texts need the file.
    gone = SentencePieceTokenizer(str(tmp_path / "gone.json"))
    assert gone.vocab_size is None
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not .*convert_sentencepiece.py"):
        gone(["a ball"])
    assert "is a sentencepiece model" in refused("beit3.spm", train("unigram"))
    assert "is no JSON" in refused("vocab.txt", "[PAD]\n[UNK]\n")
    assert "is no tokenizer.json" in refused("config.json", '{"model": {}}')
    words = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert "'WordLevel'" in refused("words.json", words.to_str())
    gpt = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    assert "special tokens" in refused("gpt.json", json.dumps({"model": gpt, "added_tokens": []}))
    assert "is damaged" in refused("cut.json", json.dumps({"model": {"type": "Unigram"}}))


def test_what_the_tool_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = load_tool()

    def refused(src: Path, dst: str = "t.json") -> str:
        with pytest.raises(SystemExit) as error:
            tool.main([str(src), str(tmp_path / dst)])
        assert not (tmp_path / dst).exists()
        return str(error.value)

    source = tmp_path / "m.spm"
    assert "does not exist" in refused(source)
    source.write_bytes(b"\x00 no model")
    assert "is no sentencepiece model" in refused(source)
    source.write_bytes(train("word", 30))
    assert "unigram and bpe models" in refused(source)
    source.write_bytes(train("unigram", bos_id=0, unk_id=1))
    assert "first pieces are <unk>, <s> and </s>" in refused(source)
    assert "name a .json file" in refused(source, "t.txt")
