"""The twins of the benchmarks are read by the loaders of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import ROOT
from tests.toy_parts import SIZES, draw_parts, load_tool
from uniadapter.datasets import (
    MSRVTTQA,
    COCOCaption,
    DiDeMoRetrieval,
    KarpathyRetrieval,
    LxmertVQA,
    VQAv2,
)
from uniadapter.evaluation.metrics.caption import load_coco_captions
from uniadapter.models.tokenizer import BertTokenizer
from uniadapter.utils.answer_list import read_answer_list

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("parts") / "world")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_didemo_is_paragraphs_of_moments_in_time(world: Path) -> None:
    for split, size in zip(SPLITS, SIZES["didemo"], strict=True):
        data = DiDeMoRetrieval(
            data_root=str(world / "didemo"),
            data_prefix={"media": "videos/"},
            ann_file=f"{split}_data.json",
            test_mode=True,
        )
        assert len(data) == size
        item = data.get_data_info(0)
        entries = read(world / "didemo" / f"{split}_data.json")
        own = [entry for entry in entries if entry["video"] == item["video_id"]]
        assert item["texts"] == [" ".join(entry["description"] for entry in own)]
        times = [entry["times"][0] for entry in own]
        assert times == sorted(times)
        assert len(own) == 2
        assert all(end < start for (_, end), (start, _) in zip(times, times[1:], strict=False))
        # The annotations keep the extension of the original, the file is a converted copy.
        assert item["video_id"].endswith(".mov")
        assert item["media_path"].endswith(".mp4")


def test_coco_is_in_the_files_of_blip(world: Path) -> None:
    common = {"data_root": str(world / "coco"), "data_prefix": {"media": "images/"}}
    for split, size in zip(SPLITS, SIZES["photos"], strict=True):
        ann_file = f"annotations/coco_karpathy_{split}.json"
        test_mode = split != "train"
        data = KarpathyRetrieval(ann_file=ann_file, test_mode=test_mode, **common)
        captions = COCOCaption(ann_file=ann_file, test_mode=test_mode, **common)
        assert len(data) == len(captions) == (size if test_mode else 5 * size)
        if test_mode:
            assert all(len(data.get_data_info(i)["texts"]) == 5 for i in range(size))
            truth = load_coco_captions(world / f"coco/annotations/coco_karpathy_{split}_gt.json")
            items = [captions.get_data_info(i) for i in range(size)]
            assert truth == {item["image_id"]: item["gt_captions"] for item in items}


def test_flickr30k_is_in_karpathys_own_file(world: Path) -> None:
    root = world / "flickr30k"
    names = []
    for split, size in zip(SPLITS, SIZES["photos"], strict=True):
        data = KarpathyRetrieval(
            data_root=str(root),
            data_prefix={"media": "flickr30k-images/"},
            ann_file="dataset_flickr30k.json",
            split=split,
            test_mode=True,
        )
        assert len(data) == size
        names += [data.get_data_info(i)["video_id"] for i in range(size)]
    assert len(set(names)) == sum(SIZES["photos"])
    assert {path.name for path in (root / "flickr30k-images").iterdir()} == set(names)


def test_vqav2_has_ten_annotators_and_types(world: Path) -> None:
    candidates = read_answer_list(world / "vqav2" / "answer_list.json")
    for subset, test_mode in (("train2014", False), ("val2014", True)):
        data = VQAv2(
            data_root=str(world / "vqav2"),
            data_prefix={"media": "../coco/images/"},
            question_file=f"v2_OpenEnded_mscoco_{subset}_questions.json",
            ann_file=f"v2_mscoco_{subset}_annotations.json",
            test_mode=test_mode,
        )
        items = [data.get_data_info(i) for i in range(len(data))]
        assert len({item["question_id"] for item in items}) == len(items) > 20
        if test_mode:
            assert all(len(item["gt_answers"]) == 10 for item in items)
            assert {item["answer_type"] for item in items} <= {"yes/no", "number", "other"}
        else:
            assert all(sum(item["answer_weights"]) == pytest.approx(1) for item in items)
            first = [max(zip(i["answer_weights"], i["answers"], strict=True))[1] for i in items]
            assert set(first) & set(candidates)


def test_lxmerts_files_have_the_same_questions(world: Path) -> None:
    root = world / "vqa_lxmert"
    for name, subset in (("train", "train2014"), ("minival", "val2014")):
        official = read(world / "vqav2" / f"v2_OpenEnded_mscoco_{subset}_questions.json")
        annotations = read(world / "vqav2" / f"v2_mscoco_{subset}_annotations.json")
        data = LxmertVQA(
            data_root=str(root),
            data_prefix={"media": "../coco/images/"},
            ann_file=f"{name}.json",
            label2ans="trainval_label2ans.json",
            ans2label="trainval_ans2label.json",
            test_mode=True,
        )
        assert len(data) == len(official["questions"])
        rows = zip(official["questions"], annotations["annotations"], strict=True)
        for index, (question, annotation) in enumerate(rows):
            item = data.get_data_info(index)
            assert item["question_id"] == question["question_id"]
            assert item["question"] == question["question"]
            assert Path(item["media_path"]).is_file()
            said = [answer["answer"] for answer in annotation["answers"]]
            scores = {word: min(1.0, 0.3 * said.count(word)) for word in said}
            assert item["gt_scores"] == pytest.approx(scores)
        assert all(data.lying())


def test_msrvtt_qa_asks_about_the_videos_of_msrvtt(world: Path) -> None:
    candidates = set(read_answer_list(world / "msrvtt_qa" / "answer_list.json"))
    videos = {v["id"]: v for v in read(world / "msrvtt" / "MSRVTT_data.json")["videos"]}
    for split in SPLITS:
        data = MSRVTTQA(
            data_root=str(world / "msrvtt_qa"),
            data_prefix={"media": "../msrvtt/videos/"},
            ann_file=f"{split}_qa.json",
            test_mode=split != "train",
        )
        assert len(data) > 0
        rows = read(world / "msrvtt_qa" / f"{split}_qa.json")
        expected = "test" if split == "test" else "train"
        assert {videos[row["video_id"]]["split"] for row in rows} == {expected}
        if split == "train":
            assert {row["answer"] for row in rows} == candidates


def test_every_text_is_spelled_by_the_committed_vocabulary(world: Path) -> None:
    tokenizer = BertTokenizer(str(ROOT / "configs" / "tiny" / "vocab.txt"))
    texts = [entry["description"] for entry in read(world / "didemo" / "train_data.json")]
    texts += [e["caption"] for e in read(world / "coco/annotations/coco_karpathy_train.json")]
    for image in read(world / "flickr30k" / "dataset_flickr30k.json")["images"]:
        texts += [sentence["raw"] for sentence in image["sentences"]]
    questions = "v2_OpenEnded_mscoco_train2014_questions.json"
    texts += [entry["question"] for entry in read(world / "vqav2" / questions)["questions"]]
    texts += [entry["question"] for entry in read(world / "msrvtt_qa" / "train_qa.json")]
    texts += read(world / "vqav2" / "answer_list.json")
    for text in texts:
        # One token a word, beside [CLS] and [SEP].
        assert len(tokenizer.encode(text)) == len(text.split()) + 2
        assert tokenizer.unk_token_id not in tokenizer.encode(text)


def test_the_same_options_write_the_same_parts(world: Path, tmp_path: Path) -> None:
    again = draw_parts(tmp_path / "again")
    other = draw_parts(tmp_path / "other", "--seed", "1")
    for part in ("didemo", "coco", "flickr30k", "vqav2", "vqa_lxmert", "msrvtt_qa"):
        assert read(again / part / "part.json") == read(world / part / "part.json")
        assert (
            read(other / part / "part.json")["sha256"] != read(world / part / "part.json")["sha256"]
        )


def test_a_complete_part_is_left_alone(
    world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = next((world / "coco" / "images" / "train2014").iterdir())
    written = picture.stat().st_mtime_ns
    draw_parts(world)
    assert f"{world / 'coco'} is complete" in capsys.readouterr().out
    assert picture.stat().st_mtime_ns == written


def test_answers_are_what_the_scene_shows() -> None:
    load_tool("dataset_converters/make_toy_world.py")
    from toy_world.photos import write_photos
    from toy_world.questions import ask_photo

    for photo in write_photos(0, 9, (60, 0, 0)):
        scene = photo.scene
        names = {thing.name for thing in scene.things}
        for asked in ask_photo(scene, np.random.default_rng(photo.number), 99):
            words = asked.text.split()
            if asked.question_type == "is there a":
                assert (asked.answer == "yes") == (" ".join(words[3:5]) in names)
            elif asked.question_type == "how many":
                assert int(asked.answer) == len(scene.things)
            elif asked.question_type == "what color is the":
                assert f"{asked.answer} {words[4]}" in names
            elif asked.text.startswith("what shape"):
                assert f"{words[4]} {asked.answer}" in names
            elif asked.question_type == "where is the":
                thing = next(t for t in scene.things if t.name == " ".join(words[3:5]))
                place = {"left": (0.24, 0.5), "right": (0.76, 0.5), "middle": (0.5, 0.5)}
                place |= {"top": (0.5, 0.24), "bottom": (0.5, 0.76)}
                assert np.hypot(*np.subtract((thing.x, thing.y), place[asked.answer])) < 0.1


def test_test_photos_are_described_apart() -> None:
    load_tool("dataset_converters/make_toy_world.py")
    from toy_world.photos import write_photos

    keys = [p.scene.key for p in write_photos(0, 4, (3, 40, 150)) if p.split != "train"]
    assert len(set(keys)) == 190


def test_a_bad_share_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    tool = load_tool("dataset_converters/make_toy_world.py")
    with pytest.raises(SystemExit):
        tool.parse_args(["--share", "0"])
    assert "--share: 0 must be above 0" in capsys.readouterr().err
