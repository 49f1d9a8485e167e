"""Data sets of texts beside features: drawn files against a naive reader."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate

from tests.helpers import draws
from uniadapter.datasets import (
    FeatureCaption,
    FeatureNLVR2,
    FeatureVideoCaption,
    FeatureVideoQA,
    FeatureVQA,
)
from uniadapter.datasets.feature_tasks import fit_frames
from uniadapter.datasets.transforms import PackFeatures
from uniadapter.registry import DATASETS

PREFIXES = {
    "vqa": "vqa: ",
    "gqa": "gpa: ",
    "nlvr": "nlvr: ",
    "caption": "caption: ",
    "tvqa": "tvqa: ",
    "how2qa": "how2qa: ",
    "tvc": "tvc: ",
    "yc2c": "yc2c: ",
}
WORDS = ["a", "Dog", "two", "red", "cars?", "is", "it", "Café", "7.5", "- no", "(on)", "[TS]"]
CELLS, DIM = 4, 3


class World:
    """A folder with features by name, and annotation files.

    Args:
        root: The folder.
        seed: Of what is drawn.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.drawn = root, random.Random(seed)
        self.arrays: dict[str, np.ndarray] = {}
        (root / "features").mkdir(parents=True)

    def picture(self, name: str, rows: int = CELLS) -> str:
        drawn = np.random.default_rng(self.drawn.randrange(2**32))
        self.arrays[name] = drawn.normal(size=(rows, DIM)).astype(np.float16)
        np.savez(self.root / "features" / f"{name}.npz", features=self.arrays[name])
        return name

    def text(self, least: int = 1) -> str:
        words = [self.drawn.choice(WORDS) for _ in range(self.drawn.randint(least, 6))]
        return self.drawn.choice(["", " "]) + " ".join(words) + self.drawn.choice(["", " ", "."])

    def pick(self, values: Sequence[Any]) -> Any:
        return self.drawn.choice(values)

    def json(self, name: str, content: Any) -> str:
        (self.root / name).write_text(json.dumps(content), encoding="utf-8")
        return name

    def lines(self, name: str, rows: Sequence[Any]) -> str:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.root / name).write_text(text, encoding="utf-8")
        return name

    def build(self, kind: Any, **options: Any) -> Any:
        shape = (None if "subtitles" in options else CELLS, DIM)
        options["features"] = {"type": "npz", "root": "features", "shape": shape}
        options["pipeline"] = [PackFeatures()]
        # mmengine collects garbage when it serializes items, which takes most of the time here.
        return kind(data_root=str(self.root), serialize_data=False, **options)

    def check(self, item: dict[str, Any], text: str, names: Sequence[str], **facts: Any) -> None:
        assert set(item) == {"inputs", "data_samples"}
        assert set(item["inputs"]) == {"text", "features"}
        assert item["inputs"]["text"] == text == item["data_samples"].text
        features = item["inputs"]["features"]
        assert features.dtype == torch.float32
        assert len(features) == len(names)
        for found, name in zip(features.numpy(), names, strict=True):
            assert np.array_equal(found[:CELLS], self.arrays[name][:CELLS].astype(np.float32))
        for key, value in facts.items():
            assert getattr(item["data_samples"], key) == value, key


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, 0)


def questions(world: World, count: int, first: int = 0) -> list[dict[str, Any]]:
    rows = []
    for number in range(first, first + count):
        answers = world.drawn.sample(["yes", "No", "2 cars", "a b"], world.drawn.randint(0, 3))
        row = {
            "question_id": number,
            "img_id": world.pick(list(world.arrays)),
            "sent": world.text(),
            "label": {answer: world.pick([0.3, 0.6, 0.9, 1, 0]) for answer in answers},
        }
        if world.pick([True, False]):
            row |= {"question_type": "what is", "answer_type": "other"}
        if world.pick([True, False]):
            row |= {"is_topk_optimal": world.pick([True, False])}
        rows.append(row)
    return rows


@settings(max_examples=draws(4), deadline=None)
@given(
    seed=st.integers(0, 2**16),
    task=st.sampled_from(["vqa", "gqa"]),
    prefix=st.sampled_from([False, True, "answer this: "]),
)
def test_questions(seed: int, task: str, prefix: Any, tmp_path_factory: Any) -> None:
    world = World(tmp_path_factory.mktemp("vqa"), seed)
    for number in range(3):
        world.picture(f"COCO_train2014_{number:012d}")
    parts = [questions(world, 4), questions(world, 2, first=4)]
    files = [world.json(f"{n}.json", rows) for n, rows in enumerate(parts)]
    front = {False: "", True: PREFIXES[task]}.get(prefix, prefix)
    data = world.build(FeatureVQA, ann_file=files, task=task, prefix=prefix)
    rows = parts[0] + parts[1]
    assert len(data) == len(rows)
    for index, row in enumerate(rows):
        item = data[index]
        world.check(item, front + row["sent"], [row["img_id"]], task=task, question=row["sent"])
        sample = item["data_samples"]
        scored = {answer: score for answer, score in row["label"].items() if score}
        if scored:
            assert sample.target_weight == scored[sample.target]
        else:
            assert (sample.target, sample.target_weight) == ("", 0.0)
        assert "gt_scores" not in sample
    test = world.build(FeatureVQA, ann_file=files, task=task, prefix=prefix, test_mode=True)
    for index, row in enumerate(rows):
        sample = test[index]["data_samples"]
        assert sample.gt_scores == row["label"]
        assert sample.question_id == row["question_id"]
        assert "target" not in sample
        for key in ("question_type", "answer_type", "is_topk_optimal"):
            assert sample.get(key) == row.get(key)


def test_answers_are_drawn_by_their_scores(world: World) -> None:
    label = {"yes": 0.9, "no": 0.3, "never": 0, "maybe": 0.6}
    row = {"question_id": 1, "img_id": world.picture("a"), "sent": "q", "label": label}
    data = world.build(FeatureVQA, ann_file=world.json("q.json", [row]))
    random.seed(5)
    samples = [data[0]["data_samples"] for _ in range(3000)]
    counts = Counter(sample.target for sample in samples)
    assert set(counts) == {"yes", "no", "maybe"}
    for answer, count in counts.items():
        # Five standard deviations of the share.
        assert abs(count / 3000 - label[answer] / 1.8) < 0.046
    assert all(sample.target_weight == label[sample.target] for sample in samples)
    # What is drawn is the global generator's, which a worker seeds.
    random.seed(5)
    again = [data[0]["data_samples"].target for _ in range(20)]
    assert again == [sample.target for sample in samples[:20]]


def test_the_annotators_answers(world: World) -> None:
    rows = [{"question_id": n, "img_id": world.picture("a"), "sent": "q"} for n in (3, 5)]
    ten = {n: [{"answer": f"{n} {k}"} for k in range(10)] for n in (3, 4, 5)}
    kinds = {"question_type": "what is", "answer_type": "other"}
    found = {"annotations": [{"question_id": n, "answers": ten[n], **kinds} for n in ten]}
    options = dict(ann_file=world.json("q.json", rows), annotations=world.json("a.json", found))
    data = world.build(FeatureVQA, test_mode=True, **options)
    assert data[1]["data_samples"].gt_answers == [f"5 {k}" for k in range(10)]
    with pytest.raises(ValueError, match="set test_mode=True"):
        world.build(FeatureVQA, **options)
    world.json("q.json", [*rows, {**rows[0], "question_id": 6}])
    with pytest.raises(ValueError, match=r"entry 2: question_id 6 has no annotation in .*a.json"):
        world.build(FeatureVQA, test_mode=True, **options)
    options["annotations"] = ["a.json", "a.json"]
    with pytest.raises(ValueError, match="question_id 3 is in another file"):
        world.build(FeatureVQA, test_mode=True, **options)


@settings(max_examples=draws(3), deadline=None)
@given(seed=st.integers(0, 2**16), prefix=st.booleans())
def test_statements(seed: int, prefix: bool, tmp_path_factory: Any) -> None:
    world = World(tmp_path_factory.mktemp("nlvr"), seed)
    names = [world.picture(f"dev-{number}-img{number}") for number in range(3)]
    rows = [
        {
            "uid": f"nlvr2_dev_{number}",
            "identifier": f"dev-{number}-0-1",
            "img0": world.pick(names),
            "img1": world.pick(names),
            "label": world.pick([0, 1]),
            "sent": world.text(),
        }
        for number in range(5)
    ]
    front = PREFIXES["nlvr"] if prefix else ""
    ann_file = world.json("n.json", rows)
    for testing in (False, True):
        data = world.build(FeatureNLVR2, ann_file=ann_file, prefix=prefix, test_mode=testing)
        for index, row in enumerate(rows):
            names, text = [row["img0"], row["img1"]], front + row["sent"]
            facts = {"target": ("false", "true")[row["label"]], "target_weight": 1.0}
            if testing:
                facts = {"question_id": row["uid"]}
                facts |= {key: row[key] for key in ("identifier", "label")}
            world.check(data[index], text, names, task="nlvr", **facts)
            assert data[index]["inputs"]["features"].shape == (2, CELLS, DIM)


@settings(max_examples=draws(3), deadline=None)
@given(seed=st.integers(0, 2**16), prefix=st.booleans())
def test_captions(seed: int, prefix: bool, tmp_path_factory: Any) -> None:
    world = World(tmp_path_factory.mktemp("coco"), seed)
    images = []
    for number in range(8):
        name = world.picture(f"COCO_val2014_{number:012d}")
        texts = [world.text() for _ in range(world.drawn.randint(1, 6))]
        split = world.pick(["train", "restval", "val", "test"]) if number else "test"
        images.append(
            {
                "filepath": "val2014",
                "filename": f"{name}.jpg",
                "cocoid": number,
                "split": split,
                "sentences": [{"raw": text} for text in texts],
            }
        )
    images[1]["split"] = "restval"
    front = PREFIXES["caption"] if prefix else ""
    options = dict(ann_file=world.json("dataset_coco.json", {"images": images}), prefix=prefix)
    data = world.build(FeatureCaption, split="train", **options)
    used = [image for image in images if image["split"] in ("train", "restval")]
    rows = [(image, part["raw"].strip()) for image in used for part in image["sentences"]]
    assert len(data) == len(rows)
    for index, (image, text) in enumerate(rows):
        name = image["filename"].removesuffix(".jpg")
        world.check(data[index], front, [name], target=text, target_weight=1.0, task="caption")
    data = world.build(FeatureCaption, split="test", test_mode=True, **options)
    used = [image for image in images if image["split"] == "test"]
    assert len(data) == len(used)
    for index, image in enumerate(used):
        name, texts = image["filename"].removesuffix(".jpg"), image["sentences"]
        facts = {"image_id": image["cocoid"]}
        world.check(
            data[index], front, [name], gt_captions=[t["raw"].strip() for t in texts], **facts
        )


def videos(world: World) -> dict[str, str]:
    """Videos with subtitles; returns what is said in each."""
    said, rows = {}, []
    for number in range(3):
        name = world.picture(f"s01e0{number}_clip", rows=world.drawn.randint(CELLS, 9))
        parts = [world.text() for _ in range(world.drawn.randint(0, 4))]
        rows.append(
            {
                "vid_name": name,
                "sub": [{"text": part, "start": 0.5, "end": 1.25} for part in parts],
            }
        )
        said[name] = " ".join(part.strip() for part in parts)
    world.lines("subtitles.jsonl", [*rows, {"vid_name": "unused", "sub": []}])
    return said


@settings(max_examples=draws(4), deadline=None)
@given(seed=st.integers(0, 2**16), task=st.sampled_from(["tvqa", "how2qa"]), prefix=st.booleans())
def test_questions_about_videos(seed: int, task: str, prefix: bool, tmp_path_factory: Any) -> None:
    world = World(tmp_path_factory.mktemp("qa"), seed)
    said, count = videos(world), {"tvqa": 5, "how2qa": 4}[task]
    rows = []
    for number in range(4):
        choices = {f"a{n}": world.pick([" ..x. ", "It is.", "no .", "b"]) for n in range(count)}
        row = {"qid": 10 + number, "q": world.text(), "ts": "20.16-25.12", **choices}
        rows.append({**row, "vid_name": world.pick(list(said)), "answer_idx": number, "show": "x"})
    options = dict(subtitles="subtitles.jsonl", task=task, prefix=prefix)
    wanted = []
    for row in rows:
        choices = [f"a{n}: {row[f'a{n}'].strip('. ')}." for n in range(count)]
        text = f"[Subs] {said[row['vid_name']]} [Q] {row['q'].strip()} [TS] (20.16-25.12)"
        text = " ".join([text, "[Choices]", *choices])
        wanted.append(text + f" {PREFIXES[task]}" * prefix)
    ann_file = world.lines("qa.jsonl", rows)
    data = world.build(FeatureVideoQA, ann_file=ann_file, **options)
    test = world.build(FeatureVideoQA, ann_file=ann_file, test_mode=True, **options)
    for index, row in enumerate(rows):
        target = {"target": f"a{row['answer_idx']}", "target_weight": 1.0}
        world.check(data[index], wanted[index], [row["vid_name"]], task=task, **target)
        truth = {"label": row["answer_idx"], "question_id": row["qid"]}
        world.check(test[index], wanted[index], [row["vid_name"]], **truth)
        features = data[index]["inputs"]["features"]
        assert features.shape == (1, 64, DIM)
        assert not features[:, len(world.arrays[row["vid_name"]]) :].any()
        del row["answer_idx"]
    parts = [world.lines("public.jsonl", rows[:2]), world.lines("release.jsonl", rows[2:])]
    test = world.build(FeatureVideoQA, ann_file=parts, test_mode=True, **options)
    assert [test[n]["data_samples"].question_id for n in range(4)] == [10, 11, 12, 13]
    assert "label" not in test[0]["data_samples"]


@settings(max_examples=draws(4), deadline=None)
@given(seed=st.integers(0, 2**16), task=st.sampled_from(["tvc", "yc2c"]), prefix=st.booleans())
def test_captions_of_videos(seed: int, task: str, prefix: bool, tmp_path_factory: Any) -> None:
    world = World(tmp_path_factory.mktemp("vc"), seed)
    said, rows, wanted = videos(world), [], []
    for number in range(3):
        name = world.pick(list(said))
        descs = [world.text() for _ in range(world.drawn.randint(1, 3))]
        times = [35.73, 40 + number]
        row = {"vid_name": name, "clip_id": number, "duration": 60.5}
        row |= {"ts": times} if task == "tvc" else {}
        rows.append({**row, "descs": [{"desc": text, "desc_id": 4} for text in descs]})
        text = f"[Subs] {said[name]}" + f" [TS] ({times})" * (task == "tvc")
        text += f" {PREFIXES[task]}" * prefix
        wanted += [(name, text, number, place, desc) for place, desc in enumerate(descs)]
    options = dict(subtitles="subtitles.jsonl", task=task, prefix=prefix)
    ann_file = world.lines("c.jsonl", rows)
    data = world.build(FeatureVideoCaption, ann_file=ann_file, **options)
    test = world.build(FeatureVideoCaption, ann_file=ann_file, test_mode=True, **options)
    assert len(data) == len(test) == len(wanted)
    for index, (name, text, clip, place, desc) in enumerate(wanted):
        world.check(data[index], text, [name], target=desc, target_weight=1.0, task=task)
        truth = {"gt_captions": [desc], "clip_id": clip, "image_id": f"{clip}-{place}"}
        world.check(test[index], text, [name], video_id=name, **truth)
        assert ("ts" in test[index]["data_samples"]) == (task == "tvc")
    for row in rows:
        del row["descs"]
    world.lines("c.jsonl", rows)
    test = world.build(FeatureVideoCaption, ann_file=ann_file, test_mode=True, **options)
    assert [test[n]["data_samples"].image_id for n in range(3)] == ["0", "1", "2"]
    assert "gt_captions" not in test[0]["data_samples"]
    with pytest.raises(ValueError, match=r"line 1: 'descs' must be a list"):
        world.build(FeatureVideoCaption, ann_file=ann_file, **options)


@settings(max_examples=draws(20), deadline=None)
@given(length=st.integers(1, 200), number=st.integers(1, 70), seed=st.integers(0, 99))
def test_fitting_frames(length: int, number: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(length, 3)).astype(np.float32)
    found = fit_frames(features, number)
    assert found.shape == (number, 3)
    assert found.dtype == np.float32
    for place in range(number):
        if length <= number:
            wanted = features[place] if place < length else np.zeros(3)
        else:
            # Whole numbers: floor(i L / n) and ceil((i + 1) L / n).
            first, last = place * length // number, -(-(place + 1) * length // number)
            wanted = np.max(features[first:last], axis=0)
        assert np.array_equal(found[place], wanted)


def test_a_batch_and_a_config(world: World) -> None:
    rows = [
        {"question_id": n, "img_id": world.picture(f"{n}"), "sent": f"q{n}", "label": {"a": 1}}
        for n in range(3)
    ]
    config = dict(
        type="FeatureVQA",
        ann_file=world.json("q.json", rows),
        data_root=str(world.root),
        features=dict(type="npz", root="features", shape=[CELLS, DIM]),
        pipeline=[dict(type="PackFeatures", meta_keys=["images"])],
        indices=2,
    )
    data = DATASETS.build(config)
    assert len(data) == 2
    batch = pseudo_collate([data[0], data[1]])
    assert batch["inputs"]["text"] == ["q0", "q1"]
    assert [tuple(one.shape) for one in batch["inputs"]["features"]] == [(1, CELLS, DIM)] * 2
    assert [sample.images for sample in batch["data_samples"]] == [["0"], ["1"]]
