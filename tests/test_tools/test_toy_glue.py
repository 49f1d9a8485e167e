"""The embedded GLUE: labels are true, files are GLUE's, and what is to be written follows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.helpers import ROOT, draws
from tests.toy_parts import draw_parts, load_tool
from uniadapter.apis.model import build_model
from uniadapter.datasets import GLUE, TextToTextJson
from uniadapter.models.t5_tokenizer import T5Tokenizer
from uniadapter.utils.config import load_config

COLOR = "(red|orange|yellow|green|blue|purple|white|black)"
SHAPE = "(circle|square|triangle|star|cross|ring|heart)"
LIES = "(above|below|left(?= of)|right(?= of))(?: of)?"
WALL = "(plain|striped|dotted|checked)"
SENTENCE = re.compile(f"an? {COLOR} {SHAPE} is {LIES} an? {COLOR} {SHAPE} on an? {WALL} wall")
TURNED = {"above": "below", "below": "above", "left": "right", "right": "left"}
ROWS = [
    f"t5_{task}_{method}"
    for task in ("mrpc", "rte")
    for method in ("unipt", "lora", "full_finetune")
]


@pytest.fixture(scope="module")
def glue() -> ModuleType:
    load_tool("dataset_converters/make_toy_world.py")
    import toy_world.glue as found  # type: ignore[import-not-found]

    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("glue") / "world") / "glue"


def plain(text: str) -> str:
    """A text in the world's plain words."""
    from toy_world.language import SYNONYMS  # type: ignore[import-not-found]

    old = {new: word for word, new in SYNONYMS.items()}
    return " ".join(old.get(word, word) for word in text.split())


def read(sentence: str) -> tuple[str, ...]:
    """Colour, shape, relation, colour, shape and wall of a sentence."""
    match = SENTENCE.fullmatch(plain(sentence))
    assert match is not None, sentence
    return match.groups()


def both_ways(facts: tuple[str, ...]) -> set[tuple[str, ...]]:
    color, shape, relation, color2, shape2, wall = facts
    return {facts, (color2, shape2, TURNED[relation], color, shape, wall)}


@pytest.mark.parametrize("task", ["CoLA", "MRPC", "RTE"])
def test_labels_are_true(task: str, glue: ModuleType) -> None:
    rng = np.random.default_rng(5)
    found = set()
    for _ in range(draws(60)):
        texts, label = glue.rows_of(task, rng, 0.5)
        found.add(label)
        if task == "CoLA":
            good = SENTENCE.fullmatch(plain(texts[0])) is not None
            assert good == (label == "1"), texts
        elif task == "MRPC":
            assert (read(texts[0]) == read(texts[1])) == (label == "1"), texts
        else:
            assert true_of(read(texts[0]), plain(texts[1])) == (label == "entailment"), texts
    assert len(found) == 2


def true_of(facts: tuple[str, ...], text: str) -> bool:
    color, shape, _, color2, shape2, wall = facts
    words = [word for word in text.split() if word not in ("a", "an", "of")]
    if words[0] == "there":
        return tuple(words[-2:]) in {(color, shape), (color2, shape2)}
    if words[:2] == ["the", "wall"]:
        return words[-1] == wall
    return any((words[0], words[2], words[3]) == (f[1], f[2], f[4]) for f in both_ways(facts))


def test_what_is_to_be_written_follows(glue: ModuleType) -> None:
    for pair in glue.pairs(np.random.default_rng(1), draws(80), 0.5):
        text, target = pair["text"], pair["target"]
        kind, _, said = text.partition(" ")
        if "<extra_id_0>" in text:
            parts = re.split(r"<extra_id_\d> ", target)[1:]
            for number, words in enumerate(parts):
                text = text.replace(f"<extra_id_{number}>", words.strip())
            assert read(text)
        elif kind == "plain:":
            assert target == plain(target)
            assert read(target) == read(said)
        elif kind == "turn:":
            assert read(target) in both_ways(read(said)) - {read(said)}
        elif " sentence1: " in text:
            one, other = map(read, text.partition("sentence1: ")[2].split(" sentence2: "))
            places = {"color": (0, 3), "shape": (1, 4), "where": (2,), "wall": (5,)}[kind]
            same = all(one[place] == other[place] for place in places)
            assert target == str(int(same)), text
        elif kind == "is":
            asked, said = map(plain, text.split("? "))
            _, _, shape, *rest = asked.replace(" of", "").split()
            facts = read(said)
            if asked.startswith("is one "):
                true = asked.split()[-1] in facts
            elif shape == "wall":
                true = rest == [facts[5]]
            else:
                (seen,) = (f for f in both_ways(facts) if f[1] == shape)
                true = rest in ([seen[0]], [seen[2], "the", seen[4]])
            assert target == str(int(true)), text
        else:
            question, _, said = text.partition("? ")
            facts = read(said)
            (seen,) = {f for f in both_ways(facts) if f[1] == question.split()[-1]} or {facts}
            answer = {"what": seen[0], "which": seen[5], "where": seen[2]}[question.split()[0]]
            assert target.removesuffix(" of") == answer


def test_files_are_read_as_published(world: Path) -> None:
    sizes = {}
    for task in ("cola", "mrpc", "rte"):
        for split in ("train", "val", "test", "unlabelled"):
            options = {"test_mode": split != "train", "lazy_init": True}
            sizes[task, split] = len(GLUE(task, split, str(world), **options).load_data_list())
    assert set(sizes.values()) == {40, 5, 4}
    items = TextToTextJson("pretrain.jsonl", data_root=str(world), lazy_init=True).load_data_list()
    assert len(items) == 600
    tokenizer = T5Tokenizer(str(ROOT / "configs/tiny/t5_tokenizer.json"))
    for item in items:
        assert tokenizer.unk_token_id not in tokenizer.pieces(item["text"] + item["target"])
        assert len(tokenizer.encode(item["text"])) <= 40
        assert len(tokenizer.encode(item["target"])) <= 24


def test_lines_that_are_incomplete_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    def refused(content: str, **options: Any) -> str:
        path.write_text(content)
        with pytest.raises(ValueError, match=str(path)) as error:
            TextToTextJson(str(path), lazy_init=True, **options).load_data_list()
        return str(error.value)

    assert "line 1" in refused(json.dumps({"text": "a"}))
    assert "line 1" in refused(json.dumps({"target": "a"}), test_mode=True)
    assert "no line" in refused("")
    path.write_text(json.dumps({"text": "a"}))
    items = TextToTextJson(str(path), test_mode=True, lazy_init=True).load_data_list()
    assert items == [{"index": 0, "text": "a"}]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_trains_what_it_says(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cfg = load_config(f"configs/tiny/{row}.py")
    model = build_model(cfg.model.to_dict())
    model.init_weights()
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == ({"text"} if row.endswith("full_finetune") else {"adapter"})
    task = row.split("_")[1]
    for part in ("train", "val", "test"):
        assert cfg[f"{part}_dataloader"].dataset.task == task
    assert cfg.test_evaluator.task == task
