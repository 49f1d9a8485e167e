"""RefCOCO's twin: boxes lie around what is drawn, and an expression means one thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import ROOT, draws
from tests.toy_parts import load_tool
from uniadapter.datasets import ReferringExpressions
from uniadapter.models.roberta_tokenizer import RobertaTokenizer

tool = load_tool("dataset_converters/make_toy_world.py")
from toy_world import refcoco  # noqa: E402  (beside the tool)
from toy_world.drawing import draw_thing  # noqa: E402

FILES = {"pretrain_train": "stills", "finetune_refcoco_train": "train2014"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refcoco") / "world"
    sizes = ["--stills", "0", "--train-videos", "1", "--test-videos", "1", "--share", "0.01"]
    tool.main(["--out", str(out), *sizes, "--parts", "refcoco"])
    return out / "refcoco"


@settings(max_examples=draws(15), deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 4))
def test_boxes_lie_around_what_is_drawn(seed: int, count: int):
    rng = np.random.default_rng(seed)
    side = refcoco.SIDE
    things = refcoco.write_scene(rng, count, side, side)
    assert 0 < len(things) <= count
    assert len({thing.name for thing in things}) == len(things)
    for thing in things:
        image = np.zeros((side, side, 3), np.uint8)
        draw_thing(image, thing, np.array([255.0] * 3))
        rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis)) for axis in (1, 0))
        drawn = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # OpenCV's coordinates are the middles of pixels; a sharp corner may miss two of them.
        np.testing.assert_allclose(np.array(refcoco.extent(thing, side)) + 0.5, drawn, atol=2)


@settings(max_examples=draws(20), deadline=None)
@given(seed=st.integers(0, 2**20))
def test_an_expression_means_one_thing(seed: int):
    rng = np.random.default_rng(seed)
    things = refcoco.write_scene(rng, 4, refcoco.SIDE, refcoco.SIDE)
    found = refcoco.phrases(things, rng)
    assert {phrase.number for phrase in found if phrase.kind == "name"} == set(range(len(things)))
    for phrase in found:
        words = phrase.head.split()
        meant = [
            number
            for number, thing in enumerate(things)
            if all(word in (thing.color, thing.shape, "object") for word in words)
            and (phrase.kind == "name" or _related(thing, things, phrase.rest))
        ]
        assert meant == [phrase.number], phrase


def _related(thing, things, rest: str) -> bool:
    """Whether a thing stands so to the other one that the words name."""
    relation, _, name = rest.partition(" the ")
    other = next(other for other in things if other.name == name)
    dx, dy = refcoco.RELATIONS[relation]
    ahead = dx * (thing.x - other.x) + dy * (thing.y - other.y)
    return thing is not other and ahead > 0.06


def test_files_are_mdetrs_and_words_are_known(root: Path):
    tokenizer = RobertaTokenizer(str(ROOT / "configs/tiny/roberta_tokenizer.json"))
    for name in refcoco.SIZES:
        folder = "train2014" if name.startswith("finetune") else "stills"
        data = ReferringExpressions(
            ann_file=f"{name}.json", data_root=str(root), data_prefix={"media": f"{folder}/"}
        )
        assert len(data) > 4
        sizes = set()
        for index in range(len(data)):
            item = data.get_data_info(index)
            assert Path(item["media_path"]).is_file()
            sizes.add(tuple(item["said_shape"]))
            text = item["text"]
            assert len(tokenizer.encode(text)) == len(text.split()) + 2
            head = text[slice(*item["tokens_positive"][0])].split()
            assert len(tokenizer.places(text, item["tokens_positive"])) == len(head)
            # What is told by a relation is in testB alone.
            if name.endswith("testA"):
                assert text == f"the {' '.join(head)}"
            if name.endswith("testB"):
                assert len(text.split()) > len(head) + 2
        assert len(sizes) > 1


def test_the_same_options_write_the_same_files(root: Path, tmp_path: Path):
    options = tool.json.loads((root / "part.json").read_text())["options"]
    digest = refcoco.write_refcoco(tmp_path, options)
    assert digest == tool.json.loads((root / "part.json").read_text())["sha256"]
