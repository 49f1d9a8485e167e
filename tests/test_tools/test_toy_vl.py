"""VL-Adapter's tasks about the embedded world: what is asked has the answer that is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import ROOT, draws
from tests.toy_parts import SMALL, load_tool
from uniadapter.apis.model import build_model
from uniadapter.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS
from uniadapter.utils.config import load_config

LIES = {
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
    "left of": lambda a, b: a.x < b.x,
    "right of": lambda a, b: a.x > b.x,
}


@pytest.fixture(scope="module")
def modules() -> tuple[ModuleType, ModuleType]:
    load_tool("dataset_converters/make_toy_world.py")
    import toy_world.photos as photos  # type: ignore[import-not-found]
    import toy_world.statements as statements  # type: ignore[import-not-found]

    return photos, statements


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part alone, drawn small, and its features."""
    out = tmp_path_factory.mktemp("vl") / "world"
    tool = load_tool("dataset_converters/make_toy_world.py")
    tool.main(["--out", str(out), *SMALL, "--parts", "vl"])
    files = [*out.glob("vl/pictures/*/*.jpg"), *out.glob("vl/videos/tv/*.mp4")]
    extract = load_tool("dataset_converters/extract_toy_features.py").extract
    assert extract(out / "vl") == len(files)
    # What is there is left alone, unless it is of other weights or another drawing.
    assert extract(out / "vl") == 0
    (out / "vl/features.json").write_text("{}", encoding="utf-8")
    assert extract(out / "vl") == len(files)
    return out / "vl"


def read(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return json.loads(path.read_text(encoding="utf-8"))


def named(scene: Any, name: str) -> Any:
    (found,) = [thing for thing in scene.things if thing.name == name]
    return found


def test_relations_are_those_of_the_places(modules) -> None:
    """Against where the things stand, which the questions do not look at."""
    _, statements = modules
    kinds = set()
    for number in range(draws(60)):
        rng = np.random.default_rng(number)
        scene = statements.related_scene(rng)
        for text, answer in statements.ask_relations(scene, rng, 20):
            how = next(how for how in LIES if f" {how} the " in text)
            *_, other = re.split(f" {how} the ", text.removesuffix(" ?"))
            two = named(scene, other)
            # Things of a pair stand apart along one axis by more than they differ on the other.
            step = {t.name: (t.x - two.x, t.y - two.y) for t in scene.things if t is not two}
            axis = 0 if how in ("left of", "right of") else 1
            near = [
                t
                for t in scene.things
                if t is not two
                and abs(step[t.name][axis]) > abs(step[t.name][1 - axis])
                and LIES[how](t, two)
            ]
            kinds.add(text.split()[0:2][0] + text.split()[1])
            if text.startswith("is the "):
                one = text.removeprefix("is the ").split(f" {how} ")[0]
                assert answer == ("yes" if named(scene, one) in near else "no"), text
                continue
            (thing,) = near
            parts = {"color": thing.color, "shape": thing.shape, "is": thing.name}
            assert answer == parts[text.split()[1]], text
    assert kinds == {"isthe", "whatcolor", "whatshape", "whatis"}


def holds(text: str, left: Any, right: Any) -> bool:
    """Whether a statement is true, word by word."""
    sides = {"left": left, "right": right}
    words = text.split()
    if words[-2:] == ["both", "pictures"]:
        word = words[3]
        return all(word in {w for t in s.things for w in t.name.split()} for s in (left, right))
    if words[0] == "both":
        return left.wall == right.wall == words[-1]
    if words[-1] == "all":
        return len(left.things) + len(right.things) == int(words[2])
    own = sides[words[1]]
    if "more" in words:
        other = right if own is left else left
        return len(own.things) > len(other.things)
    return words[5] in {w for t in own.things for w in t.name.split()}


def test_statements_are_true_of_one_pair_and_false_of_the_other(modules) -> None:
    photos, statements = modules
    seen, none = set(), 0
    count = draws(150)
    for number in range(count):
        rng = np.random.default_rng(number)
        true, false = ((photos.write_scene(rng), photos.write_scene(rng)) for _ in range(2))
        text = statements.state(true, false, rng)
        if text is None:
            none += 1
            continue
        assert holds(text, *true), (text, true)
        assert not holds(text, *false), (text, false)
        seen.add((text.split()[0], text.split()[-1] in ("all", "pictures", "other")))
        assert statements.state(true, true, rng) is None
    assert len(seen) == 4
    # Pairs that show too much alike are rare.
    assert none < 0.01 * count


def test_files_are_the_published_ones(data: Path) -> None:
    images = read(data / "COCO/dataset_coco.json")["images"]
    assert {image["split"] for image in images} == {"train", "restval", "val", "test"}
    assert all((data / "pictures/COCO" / image["filename"]).is_file() for image in images)
    for split in ("train", "val", "test"):
        rows = read(data / f"vqa/karpathy_{split}.json")
        assert {"question_id", "img_id", "sent", "label", "question_type"} <= set(rows[0])
    answers = set(read(data / "vqa/trainval_label2ans.json"))
    assert {a for row in rows for a in row["label"]} <= answers
    for split, folder in (("train", "VG"), ("valid", "VG"), ("testdev", "GQA")):
        rows = read(data / f"GQA/{split}.json")
        assert all((data / f"pictures/{folder}/{row['img_id']}.jpg").is_file() for row in rows)
        assert all(list(row["label"].values()) == [1.0] for row in rows)
    rows = read(data / "nlvr/train.json")
    # What a statement says does not tell whether it is true: it is said of two pairs.
    for split in ("train", "valid", "test"):
        sets: dict[str, list[int]] = {}
        for row in read(data / f"nlvr/{split}.json"):
            _, group, _, index = row["identifier"].split("-")
            sets.setdefault(f"{group}-{index}", []).append(row["label"])
        assert all(sorted(labels) == [0, 1] for labels in sets.values())
    assert all(re.fullmatch(r"train-\d+-[01]-[01]", row["identifier"]) for row in rows)
    videos = {row["vid_name"] for row in read(data / "video/ann/tv_subtitles.jsonl")}
    assert all((data / f"videos/tv/{name}.mp4").is_file() for name in videos)
    for split in ("train", "val", "test_public", "test_release"):
        for row in read(data / f"video/ann/tvqa/tvqa_{split}.jsonl"):
            assert row["vid_name"] in videos
            assert len({row[f"a{i}"] for i in range(5)}) == 5
            assert ("answer_idx" in row) != split.startswith("test")
    for split in ("train", "val", "test"):
        rows = read(data / f"video/ann/tvc/tvc_{split}_release.jsonl")
        assert len({row["clip_id"] for row in rows}) == len(rows)
        assert all(("descs" in row) == (split != "test") for row in rows)
    for name, mark in (("bart", "<mask>"), ("t5", "<extra_id_0>")):
        rows = read(data / f"pretrain_{name}.jsonl")
        assert all(set(row) == {"text", "target"} and row["target"] for row in rows)
        assert any(mark in row["text"] for row in rows)


def test_features_of_all_pictures_and_videos(data: Path) -> None:
    tool = load_tool("dataset_converters/extract_toy_features.py")
    for folder in ("COCO", "VG", "GQA", "nlvr"):
        found = sorted((data / folder / tool.GRIDS).glob("*.npz"))
        names = sorted(path.stem for path in (data / "pictures" / folder).glob("*.jpg"))
        assert [path.stem for path in found] == names
        grid = np.load(found[0])["features"]
        assert (grid.shape, grid.dtype) == ((49, 128), np.float16)
    for path in (data / tool.FRAMES).glob("*.npz"):
        frames = np.load(path)["features"]
        assert 12 <= len(frames) <= 20
        assert frames.shape[1] == 128


@pytest.mark.parametrize(
    "name",
    [
        "vl_bart_image_single",
        "vl_bart_video_single",
        pytest.param("vl_t5_image_single", marks=pytest.mark.deep),
    ],
)
def test_a_small_model_learns_and_answers_all_tasks(data: Path, name: str) -> None:
    """A step of each task with the configs' own data sets, and answers to their test items."""
    cfg = load_config(ROOT / f"configs/tiny/{name}.py")
    model = build_model({**cfg.model.to_dict(), "pretrained": None})
    for split, mode in (("train", "loss"), ("test", "predict")):
        loader = cfg[f"{split}_dataloader"].to_dict()
        for dataset in loader["dataset"]["datasets"].values():
            video = "video/" if "video" in name else ""
            dataset["data_root"] = f"{data}/{video}"
        joint = DATASETS.build(loader["dataset"])
        sampler = DATA_SAMPLERS.build(loader["sampler"], default_args={"dataset": joint, "seed": 0})
        batches = DATA_SAMPLERS.build(
            loader["batch_sampler"], default_args={"sampler": sampler, "batch_size": 3}
        )
        seen = set()
        for indices in batches:
            task = joint.place(indices[0])[0]
            if task in seen:
                continue
            seen.add(task)
            batch = FUNCTIONS.get("pseudo_collate")([joint[index] for index in indices])
            inputs = model.data_preprocessor(batch, mode == "loss")
            found = model.train(mode == "loss")(**inputs, mode=mode)
            if mode == "loss":
                assert torch.isfinite(found["loss_lm"])
                found["loss_lm"].backward()
            else:
                assert all(isinstance(sample.pred_text, str) for sample in found)
        assert seen == set(cfg.model.tasks)
