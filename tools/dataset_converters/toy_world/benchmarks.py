"""The twins of the other benchmarks, each in its published format.

Every function writes one part of the world and returns a digest of what it drew or wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_jpg, write_json, write_mp4
from .glue import write_glue
from .language import shift_language
from .lxmert import lxmert_row, write_tables
from .moments import MOMENTS, SEGMENTS, film, write_moments
from .photos import SPLITS, Photo, take_photo, write_photos
from .questions import annotate, annotation_of, ask_photo, ask_video
from .refcoco import write_refcoco
from .videos import Script
from .vl import write_vl

#: Numbers of the worlds, which tell their random streams apart; 0 to 2 are stills and MSR-VTT.
DIDEMO, COCO, FLICKR, VQA, VIDEO_QA = 3, 4, 5, 6, 7
SIZES = {
    "didemo": (800, 64, 200),
    "coco": (1500, 100, 250),
    "flickr30k": (1500, 100, 250),
}
QUESTIONS = 4
#: Training videos whose questions are those of val_qa.json.
VAL_SHARE = 0.1


def sizes_of(part: str, options: dict[str, Any]) -> tuple[int, int, int]:
    """Items of train, val and test of a part."""
    train, val, test = (max(4, round(size * options["share"])) for size in SIZES[part])
    return train, val, test


def write_didemo(out: Path, options: dict[str, Any]) -> str:
    """DiDeMo: ``{train,val,test}_data.json``, an entry a moment, and ``videos/``."""
    (out / "videos").mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for video in write_moments(options["seed"], DIDEMO, sizes_of("didemo", options)):
        frames, sentences = film(
            video, options["video_side"], options["camera"], options["new_words"]
        )
        write_mp4((out / "videos" / video.name).with_suffix(".mp4"), frames)
        digest.update(frames.tobytes())
        for index, text in enumerate(sentences):
            width = SEGMENTS // MOMENTS
            entries[video.split].append(
                {
                    "annotation_id": MOMENTS * video.number + index,
                    "description": text,
                    "dl_link": "",
                    "num_segments": SEGMENTS,
                    "times": [[width * index, width * (index + 1) - 1]] * 4,
                    "video": video.name,
                }
            )
    for split, rows in entries.items():
        write_json(out / f"{split}_data.json", rows)
    digest.update(json.dumps(entries).encode())
    return digest.hexdigest()


def coco_name(photo: Photo) -> str:
    """File of a photo below ``images/``; Karpathy's val and test are both of COCO's val."""
    folder = "train2014" if photo.split == "train" else "val2014"
    return f"{folder}/COCO_{folder}_{photo.number:012d}.jpg"


def coco_photos(options: dict[str, Any]) -> Iterator[Photo]:
    """What the photos of the COCO twin show."""
    return write_photos(options["seed"], COCO, sizes_of("coco", options))


def write_coco(out: Path, options: dict[str, Any]) -> str:
    """COCO: BLIP's files of Karpathy's split, the COCO-format right captions and the pictures."""
    for folder in ("annotations", "images/train2014", "images/val2014"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    truth: dict[str, dict[str, list]] = {
        split: {"images": [], "annotations": []} for split in SPLITS[1:]
    }
    for photo in coco_photos(options):
        image, captions = _take(photo, options, "night")
        name = coco_name(photo)
        write_jpg(out / "images" / name, image)
        digest.update(image.tobytes())
        if photo.split == "train":
            entries["train"] += [
                {"image": name, "caption": text, "image_id": f"coco_{photo.number}"}
                for text in captions
            ]
            continue
        entries[photo.split].append({"image": name, "caption": captions})
        rows = truth[photo.split]
        rows["images"].append({"id": photo.number})
        for text in captions:
            number = len(rows["annotations"])
            rows["annotations"].append({"image_id": photo.number, "caption": text, "id": number})
    for split, found in entries.items():
        write_json(out / "annotations" / f"coco_karpathy_{split}.json", found)
    for split, rows in truth.items():
        write_json(out / "annotations" / f"coco_karpathy_{split}_gt.json", rows)
    digest.update(json.dumps(entries).encode())
    return digest.hexdigest()


def write_flickr30k(out: Path, options: dict[str, Any]) -> str:
    """Flickr30K: Karpathy's own ``dataset_flickr30k.json`` and the pictures."""
    (out / "flickr30k-images").mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    images: list[dict[str, Any]] = []
    sentences = 0
    sizes = sizes_of("flickr30k", options)
    for photo in write_photos(options["seed"], FLICKR, sizes):
        image, captions = _take(photo, options, "dusk")
        name = f"{1000000000 + photo.number}.jpg"
        write_jpg(out / "flickr30k-images" / name, image)
        digest.update(image.tobytes())
        numbers = list(range(sentences, sentences + len(captions)))
        sentences += len(captions)
        images.append(
            {
                "sentids": numbers,
                "imgid": photo.number,
                "sentences": [
                    {"tokens": text.split(), "raw": text, "imgid": photo.number, "sentid": number}
                    for number, text in zip(numbers, captions, strict=True)
                ],
                "split": photo.split,
                "filename": name,
            }
        )
    content = {"images": images, "dataset": "flickr30k"}
    write_json(out / "dataset_flickr30k.json", content)
    digest.update(json.dumps(content).encode())
    return digest.hexdigest()


def _take(photo: Photo, options: dict[str, Any], camera: str) -> tuple[np.ndarray, list[str]]:
    style = (options["video_side"], camera, options["camera"], options["new_words"])
    return take_photo(photo, *style)


def vqav2_questions(options: dict[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """Yield subset, official question and its annotation of every question about COCO's photos."""
    for photo in coco_photos(options):
        rng = np.random.default_rng([options["seed"], VQA, photo.number])
        subset = coco_name(photo).split("/")[0]
        for index, asked in enumerate(ask_photo(photo.scene, rng, QUESTIONS)):
            ids = {"image_id": photo.number, "question_id": 1000 * photo.number + index}
            text = shift_language(asked.text, rng, options["new_words"])
            said = annotate(asked.answer, rng)
            yield subset, {**ids, "question": text}, annotation_of(asked, ids, said)


def write_vqav2(out: Path, options: dict[str, Any]) -> str:
    """VQAv2: official questions and annotations about COCO's photos, and the answer list."""
    out.mkdir(parents=True, exist_ok=True)
    questions: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    annotations: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    for subset, question, annotation in vqav2_questions(options):
        questions[subset].append(question)
        annotations[subset].append(annotation)
    header = {"info": {"description": "toy world in the format of VQAv2"}, "license": {}}
    for subset, rows in questions.items():
        kind = {**header, "data_type": "mscoco", "data_subtype": subset}
        content = {**kind, "task_type": "Open-Ended", "questions": rows}
        write_json(out / f"v2_OpenEnded_mscoco_{subset}_questions.json", content)
        name = f"v2_mscoco_{subset}_annotations.json"
        write_json(out / name, {**kind, "annotations": annotations[subset]})
    train = [row["multiple_choice_answer"] for row in annotations["train2014"]]
    write_json(out / "answer_list.json", _by_count(train))
    return hashlib.sha256(json.dumps([questions, annotations]).encode()).hexdigest()


def write_vqa_lxmert(out: Path, options: dict[str, Any]) -> str:
    """The same questions in LXMERT's files: ``train.json``, ``minival.json`` and both tables."""
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    for subset, question, annotation in vqav2_questions(options):
        image = f"COCO_{subset}_{question['image_id']:012d}"
        rows[subset].append(lxmert_row(question, annotation, image))
    write_json(out / "train.json", rows["train2014"])
    write_json(out / "minival.json", rows["val2014"])
    write_tables(out)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def write_msrvtt_qa(
    out: Path, options: dict[str, Any], scripts: Iterator[tuple[bool, Script]]
) -> str:
    """MSRVTT-QA: ``{train,val,test}_qa.json`` about MSR-VTT's videos, and the answer list."""
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    first_val = round(options["train_videos"] * (1 - VAL_SHARE))
    for number, (is_test, script) in enumerate(scripts):
        split = "test" if is_test else "val" if number >= first_val else "train"
        rng = np.random.default_rng([options["seed"], VIDEO_QA, number])
        for asked in ask_video(script, rng, QUESTIONS):
            rows[split].append(
                {
                    "answer": asked.answer,
                    "category_id": 0,
                    "id": sum(len(found) for found in rows.values()),
                    "question": shift_language(asked.text, rng, options["new_words"]),
                    "video_id": number,
                }
            )
    for split, found in rows.items():
        write_json(out / f"{split}_qa.json", found)
    write_json(out / "answer_list.json", _by_count([row["answer"] for row in rows["train"]]))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _by_count(answers: list[str]) -> list[str]:
    counts = Counter(answers)
    return sorted(counts, key=lambda answer: (-counts[answer], answer))


WRITERS: dict[str, Callable[[Path, dict[str, Any]], str]] = {
    "didemo": write_didemo,
    "coco": write_coco,
    "flickr30k": write_flickr30k,
    "vqav2": write_vqav2,
    "refcoco": write_refcoco,
    "vqa_lxmert": write_vqa_lxmert,
    "glue": write_glue,
    "vl": write_vl,
}
PARTS = (*WRITERS, "msrvtt_qa")
