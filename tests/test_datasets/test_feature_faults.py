"""What the data sets of texts beside features refuse, naming file, key and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_datasets.test_feature_tasks import CELLS, DIM, World
from uniadapter.datasets import (
    FeatureCaption,
    FeatureNLVR2,
    FeatureVideoCaption,
    FeatureVideoQA,
    FeatureVQA,
)

QUESTION = {"question_id": 1, "img_id": "a", "sent": "is it?", "label": {"yes": 1.0}}
STATEMENT = {
    "uid": "u1",
    "identifier": "dev-1-0-0",
    "img0": "a",
    "img1": "b",
    "sent": "s",
    "label": 1,
}
IMAGE = {"filename": "a.jpg", "cocoid": 1, "split": "train", "sentences": [{"raw": "a dog"}]}
CHOICES = {f"a{number}": "it" for number in range(5)}
VIDEO_QUESTION = {"qid": 1, "q": "who?", "ts": "0-1", "vid_name": "a", "answer_idx": 4, **CHOICES}
CLIP = {"vid_name": "a", "clip_id": 1, "ts": [0.5, 2], "descs": [{"desc": "one walks"}]}
VIDEO = {"subtitles": "subtitles.jsonl"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, 0)
    for name in "ab":
        world.picture(name)
    world.lines("subtitles.jsonl", [{"vid_name": name, "sub": []} for name in "ab"])
    return world


Build = Callable[..., Any]


def vqa(world: World, rows: Any, **options: Any) -> Any:
    return world.build(FeatureVQA, ann_file=world.json("x.json", rows), **options)


def nlvr(world: World, rows: Any, **options: Any) -> Any:
    return world.build(FeatureNLVR2, ann_file=world.json("x.json", rows), **options)


def coco(world: World, rows: Any, **options: Any) -> Any:
    ann_file = world.json("x.json", {"images": rows})
    return world.build(FeatureCaption, ann_file=ann_file, split="train", **options)


def qa(world: World, rows: Any, **options: Any) -> Any:
    options = {"task": "tvqa", **VIDEO, **options}
    return world.build(FeatureVideoQA, ann_file=world.lines("x.json", rows), **options)


def clips(world: World, rows: Any, **options: Any) -> Any:
    options = {"task": "tvc", **VIDEO, **options}
    return world.build(FeatureVideoCaption, ann_file=world.lines("x.json", rows), **options)


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


EMPTY_LIST = {**IMAGE, "sentences": []}
OTHER = {**IMAGE, "cocoid": 2}


@pytest.mark.parametrize(
    ("build", "rows", "words"),
    [
        (vqa, {}, "a list of entries is expected"),
        (vqa, [], "no item was found"),
        (vqa, [QUESTION, without(QUESTION, "sent")], "entry 1: key 'sent' is missing"),
        (vqa, [{**QUESTION, "sent": "  "}], "entry 0: 'sent' is empty"),
        (vqa, [{**QUESTION, "sent": 7}], "'sent' must be a string"),
        (vqa, [without(QUESTION, "img_id")], "'img_id' is missing"),
        (vqa, [without(QUESTION, "question_id")], "'question_id' is missing"),
        (vqa, [QUESTION, QUESTION], "entry 1: question_id 1 stands at .*entry 0 too"),
        (vqa, [without(QUESTION, "label")], "'label' is missing: training needs the scores"),
        (vqa, [{**QUESTION, "label": ["yes"]}], "'label' must be an object of answers and scores"),
        (vqa, [{**QUESTION, "label": {"yes": 2}}], "score of 'yes' must be a number from 0 to 1"),
        (vqa, [{**QUESTION, "label": {"yes": True}}], "score of 'yes' must be a number"),
        (vqa, [{**QUESTION, "is_topk_optimal": 1}], "'is_topk_optimal' must be true or false"),
        (nlvr, [{**STATEMENT, "label": 2}], "'label' must be 0 .false. or 1 .true., got 2"),
        (nlvr, [{**STATEMENT, "label": "1"}], "'label' must be 0"),
        (nlvr, [without(STATEMENT, "label")], "'label' must be 0 .*got None"),
        (nlvr, [STATEMENT, STATEMENT], "entry 1: uid 'u1' stands at .*entry 0 too"),
        (nlvr, [without(STATEMENT, "img1")], "'img1' is missing"),
        (nlvr, [without(STATEMENT, "identifier")], "'identifier' is missing"),
        (coco, [IMAGE, IMAGE], r"images\[1\]: image id 1 stands at .*images\[0\] too"),
        (coco, [{**IMAGE, "filepath": "x"}, OTHER], r"images\[1\]: picture 'a' stands at"),
        (coco, [EMPTY_LIST], "'sentences' must be a list of at least one"),
        (coco, [{**IMAGE, "split": "val"}], "no item was found"),
        (qa, [without(VIDEO_QUESTION, "a4")], "tvqa has 5 answers, texts under .*question has"),
        (qa, [{**VIDEO_QUESTION, "a5": "x"}], "tvqa has 5 answers"),
        (qa, [{**VIDEO_QUESTION, "a2": 3}], "tvqa has 5 answers, texts"),
        (qa, [{**VIDEO_QUESTION, "answer_idx": 5}], "'answer_idx' must be a number from 0 to 4"),
        (qa, [{**VIDEO_QUESTION, "answer_idx": "1"}], "'answer_idx' must be a number"),
        (qa, [without(VIDEO_QUESTION, "answer_idx")], "needs test_mode=True"),
        (qa, [{**VIDEO_QUESTION, "ts": [0, 1]}], "'ts' must be a string"),
        (qa, [VIDEO_QUESTION, VIDEO_QUESTION], "line 2: qid 1 stands at .*line 1 too"),
        (qa, [{**VIDEO_QUESTION, "vid_name": "c"}], "vid_name 'c' has no line in .*subtitles"),
        (clips, [{**CLIP, "ts": "0-1"}], "'ts' must be two numbers of seconds"),
        (clips, [{**CLIP, "ts": [1]}], "'ts' must be two numbers"),
        (clips, [{**CLIP, "ts": [1, math.nan]}], r"numbers of seconds, got \[1, nan\]"),
        (clips, [without(CLIP, "ts")], "'ts' must be two numbers of seconds, got None"),
        (clips, [{**CLIP, "descs": []}], "'descs' must be a list of at least one description"),
        (clips, [{**CLIP, "descs": [{}]}], r"descs\[0\]: key 'desc' is missing"),
        (clips, [CLIP, CLIP], "line 2: clip_id 1 stands at"),
        (clips, [{**CLIP, "vid_name": "c"}], "vid_name 'c' has no line in"),
    ],
)
def test_annotations(build: Build, rows: Any, words: str, world: World) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build(world, rows)
    assert "x.json" in str(caught.value)


@pytest.mark.parametrize(
    ("build", "row", "key"),
    [
        (vqa, QUESTION, "label"),
        (nlvr, STATEMENT, "label"),
        (qa, VIDEO_QUESTION, "answer_idx"),
        (clips, CLIP, "descs"),
    ],
)
def test_truths_of_some(build: Build, row: dict[str, Any], key: str, world: World) -> None:
    names = ("question_id", "uid", "qid", "clip_id")
    number = next(name for name in names if name in row)
    other = {**without(row, key), number: "another"}
    with pytest.raises(ValueError, match=f"1 of 2 entries have no '{key}', the first at .*x.json"):
        build(world, [row, other], test_mode=True)
    assert len(build(world, [other], test_mode=True)) == 1


@pytest.mark.parametrize(
    ("build", "row"),
    [
        (vqa, {**QUESTION, "img_id": "gone"}),
        (nlvr, {**STATEMENT, "img1": "gone"}),
        (coco, {**IMAGE, "filename": "gone.jpg"}),
        (qa, {**VIDEO_QUESTION, "vid_name": "gone"}),
        (clips, {**CLIP, "vid_name": "gone"}),
    ],
)
def test_features_that_are_missing(build: Build, row: dict[str, Any], world: World) -> None:
    world.lines("subtitles.jsonl", [{"vid_name": "gone", "sub": []}])
    with pytest.raises(FileNotFoundError, match=r"gone.npz: no features of 'gone', which .*x.json"):
        build(world, [row])


def test_features_of_another_shape(world: World) -> None:
    world.picture("b", rows=CELLS + 1)
    data = nlvr(world, [STATEMENT])
    with pytest.raises(ValueError, match=rf"b.npz: 'features' of 'b' has shape \({CELLS + 1}, "):
        data[0]
    features = {"type": "npz", "root": "features", "shape": (None, DIM)}
    data = FeatureNLVR2("x.json", features, data_root=str(world.root))
    with pytest.raises(ValueError, match=r"a.npz and .*b.npz: features of shapes"):
        data[0]
    np.savez(world.root / "features" / "b.npz", features=np.zeros((CELLS, DIM), np.int8))
    with pytest.raises(ValueError, match="type int8"):
        data[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"vid_name": "a", "sub": []}] * 2, "line 2: vid_name 'a' stands at .*line 1 too"),
        ([{"sub": []}], "line 1: key 'vid_name' is missing"),
        ([{"vid_name": "a"}], "line 1: 'sub' of 'a' must be a list of objects"),
        ([{"vid_name": "a", "sub": ["hello"]}], "'sub' of 'a' must be a list of objects"),
        ([{"vid_name": "a", "sub": [{"start": 1}]}], "with a text under 'text'"),
    ],
)
def test_subtitles(rows: list[Any], words: str, world: World) -> None:
    world.lines("subtitles.jsonl", rows)
    with pytest.raises(ValueError, match=words) as caught:
        clips(world, [CLIP])
    assert "subtitles.jsonl" in str(caught.value)


@pytest.mark.parametrize("name", ["x.json", "subtitles.jsonl"])
def test_broken_lines(name: str, world: World) -> None:
    clips(world, [CLIP])
    path = world.root / name
    path.write_text(path.read_text()[:-5] + "\n")
    with pytest.raises(ValueError, match=rf"{name}: line \d: not valid JSON"):
        world.build(FeatureVideoCaption, ann_file="x.json", task="tvc", **VIDEO)


def test_answers_outside_the_list(world: World) -> None:
    options = {"label2ans": world.json("label2ans.json", ["yes", "no"])}
    assert len(vqa(world, [QUESTION], **options)) == 1
    with pytest.raises(ValueError, match=r"question 1 names the answer '2', .*label2ans.json"):
        vqa(world, [{**QUESTION, "label": {"2": 1}}], **options)


@pytest.mark.parametrize(
    ("build", "row", "options", "words"),
    [
        (vqa, QUESTION, {"task": "nlvr"}, "task='nlvr' is unknown: choose from .'vqa', 'gqa'"),
        (vqa, QUESTION, {"prefix": 1}, "prefix=1 must be True, False or a text"),
        (vqa, QUESTION, {"indices": 0}, "indices = 0 leaves no item"),
        (vqa, QUESTION, {"data_prefix": {"media": "x"}}, "data_prefix=.* is read by nothing"),
        (nlvr, STATEMENT, {"filter_cfg": {"x": 1}}, "filter_cfg=.* is read by nothing"),
        (nlvr, STATEMENT, {"task": "vqa"}, "task='vqa' is unknown: choose from .'nlvr'"),
        (coco, IMAGE, {"task": "vqa"}, "task='vqa' is unknown: choose from .'caption'"),
        (qa, VIDEO_QUESTION, {"task": "tvc"}, "task='tvc' is unknown"),
        (qa, VIDEO_QUESTION, {"num_frames": 0}, "num_frames must be at least 1"),
        (qa, VIDEO_QUESTION, {"subtitles": ""}, "subtitles is empty"),
    ],
)
def test_options(build: Build, row: Any, options: Any, words: str, world: World) -> None:
    with pytest.raises(ValueError, match=words):
        build(world, [row], **options)


def test_files_that_are_missing(world: World) -> None:
    with pytest.raises(FileNotFoundError, match="ann_file = .*none.json' does not exist"):
        world.build(FeatureVQA, ann_file="none.json")
    with pytest.raises(FileNotFoundError, match="subtitles = .*none.jsonl' does not exist"):
        clips(world, [CLIP], subtitles="none.jsonl")
    with pytest.raises(ValueError, match="ann_file is empty"):
        world.build(FeatureVQA, ann_file=[])
    with pytest.raises(ValueError, match="split must be one of"):
        world.build(FeatureCaption, ann_file="x.json", split="restval")
