"""VL-Adapter's tasks about the world: four about photos and two about videos, in published files.

VQA, GQA (how things stand to each other), NLVR2 (statements about two photos) and COCO's captions
are about photos in the stills' own look; TVQA and TVC about videos with subtitles. The language is
reworded where it is read, and plain where it is written. ``pretrain_{bart,t5}.jsonl`` are texts of
the world without pictures, for a language model to begin with. ``pictures/`` and ``videos/`` are
what features are extracted from (docs/embedded_data.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uniadapter.utils.safe_io import atomic_write

from .files import FPS, write_jpg, write_json, write_mp4
from .language import choose, shift_language, write_articles
from .lxmert import lxmert_row, write_tables
from .photos import Photo, Scene, take_photo, write_photos, write_scene
from .questions import KINDS, annotate, annotation_of, ask_photo, ask_video
from .statements import ask_relations, pick_pair, related_scene, state
from .videos import Script, render, write_script

#: Number of this world, which tells its random streams apart, and numbers of its parts.
VL = 10
COCO, GQA, NLVR, TV, TEXTS = range(5)
#: Photos of train, val and test; sets of four statements; videos of train, val and both tests.
PHOTOS = {COCO: (1500, 100, 250), GQA: (1500, 100, 250), NLVR: (1200, 100, 250)}
SETS = (1000, 50, 200)
VIDEOS = (700, 150, 20, 20)
PAIRS = 60000
QUESTIONS, VIDEO_QUESTIONS = 4, 3
#: Side of a photo and of a frame in pixels: seven patches of eight.
SIDE = 56
#: The sequence of marks that stands for hidden words, and for what is written of them.
Hide = Callable[[list[str], int, int], tuple[str, str]]


def sizes_of(sizes: tuple[int, ...], options: dict[str, Any]) -> tuple[int, ...]:
    """Numbers of items at the share that was asked for."""
    return tuple(max(4, round(size * options["share"])) for size in sizes)


def _generator(options: dict[str, Any], part: int, *rest: int) -> np.random.Generator:
    return np.random.default_rng([options["seed"], VL, part, *rest])


class _Writer:
    """Writes files below a folder, and keeps a digest of all of them."""

    def __init__(self, out: Path) -> None:
        self.out, self.digest = out, hashlib.sha256()

    def path(self, name: str) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def json(self, name: str, content: Any) -> None:
        write_json(self.path(name), content)
        self.digest.update(json.dumps(content).encode())

    def lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        content = "".join(json.dumps(row) + "\n" for row in rows)
        atomic_write(self.path(name), content.encode(), sync=False)
        self.digest.update(content.encode())

    def photo(self, folder: str, name: str, scene: Scene, rng: np.random.Generator) -> list[str]:
        """Draw a photo; return its captions."""
        image, captions = take_photo(Photo("", 0, scene, rng), SIDE, "night", 0.0, 0.0)
        write_jpg(self.path(f"pictures/{folder}/{name}.jpg"), image)
        self.digest.update(image.tobytes())
        return [write_articles(caption) for caption in captions]


def write_vl(out: Path, options: dict[str, Any]) -> str:
    """Write all tasks; return a digest of what was drawn and written."""
    writer = _Writer(out)
    for write in (_write_coco_and_vqa, _write_gqa, _write_nlvr, _write_tv, _write_texts):
        write(writer, options)
    return writer.digest.hexdigest()


def _write_coco_and_vqa(writer: _Writer, options: dict[str, Any]) -> None:
    """Captions and questions of the same photos, on Karpathy's splits."""
    images: list[dict[str, Any]] = []
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    annotations: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    train, val, test = sizes_of(PHOTOS[COCO], options)
    for photo in write_photos(options["seed"], VL + COCO, (train, val, test)):
        # Of COCO's validation set Karpathy gives most to training.
        split = "restval" if photo.split == "train" and photo.number % 5 == 4 else photo.split
        subset = "train2014" if split == "train" else "val2014"
        name = f"COCO_{subset}_{photo.number:012d}"
        captions = writer.photo("COCO", name, photo.scene, photo.rng)
        sentences = [
            {"tokens": text.split(), "raw": text, "imgid": photo.number, "sentid": number}
            for number, text in enumerate(captions, start=len(captions) * photo.number)
        ]
        images.append(
            {"filepath": subset, "filename": f"{name}.jpg", "imgid": photo.number}
            | {"cocoid": photo.number, "split": split, "sentences": sentences}
            | {"sentids": [sentence["sentid"] for sentence in sentences]}
        )
        for question, annotation in _vqa_questions(photo, options):
            row = lxmert_row(question, annotation, name)
            optimal = max(row["label"].values()) == 1
            rows[photo.split].append({**row, "is_topk_optimal": optimal})
            annotations[subset].append(annotation)
    writer.json("COCO/dataset_coco.json", {"images": images, "dataset": "coco"})
    for split, found in rows.items():
        writer.json(f"vqa/karpathy_{split}.json", found)
    for subset, answers in annotations.items():
        writer.json(f"vqa/v2_mscoco_{subset}_annotations.json", {"annotations": answers})
    write_tables(writer.out / "vqa")


def _vqa_questions(photo: Photo, options: dict[str, Any]) -> Iterator[tuple[dict, dict]]:
    rng = _generator(options, COCO, 1, photo.number)
    for index, asked in enumerate(ask_photo(photo.scene, rng, QUESTIONS)):
        ids = {"image_id": photo.number, "question_id": 1000 * photo.number + index}
        said = annotate(asked.answer, rng)
        annotation = annotation_of(asked, ids, said)
        yield {**ids, "question": shift_language(asked.text, rng, options["new_words"])}, annotation


def _write_gqa(writer: _Writer, options: dict[str, Any]) -> None:
    """Questions about relations; those of the test are about photos of another folder."""
    number, answers = 0, set[str]()
    sizes = sizes_of(PHOTOS[GQA], options)
    for split, folder, size in zip(
        ("train", "valid", "testdev"), ("VG", "VG", "GQA"), sizes, strict=True
    ):
        rows = []
        for _ in range(size):
            rng = _generator(options, GQA, number)
            scene, name = related_scene(rng), str(2000000 + number)
            writer.photo(folder, name, scene, rng)
            for index, (text, answer) in enumerate(ask_relations(scene, rng, QUESTIONS)):
                said = shift_language(text, rng, options["new_words"])
                rows.append(
                    {"question_id": f"{name}{index}", "img_id": name, "sent": said}
                    | {"label": {answer: 1.0}}
                )
                answers.add(answer)
            number += 1
        writer.json(f"GQA/{split}.json", rows)
    listed = sorted(answers)
    writer.json("GQA/trainval_label2ans.json", listed)
    writer.json("GQA/trainval_ans2label.json", {answer: i for i, answer in enumerate(listed)})


def _write_nlvr(writer: _Writer, options: dict[str, Any]) -> None:
    """Sets of two pairs of photos with the same two statements."""
    number = 0
    splits = zip(
        ("train", "valid", "test"),
        ("train", "dev", "test1"),
        sizes_of(PHOTOS[NLVR], options),
        sizes_of(SETS, options),
        strict=True,
    )
    for split, said, photos, sets in splits:
        scenes, names, rows = [], [], []
        for _ in range(photos):
            rng = _generator(options, NLVR, number)
            scenes.append(write_scene(rng))
            names.append(f"{said}-{number}-img")
            writer.photo("nlvr", names[-1], scenes[-1], rng)
            number += 1
        rng = _generator(options, NLVR, 1, number)
        for group in range(sets):
            for index, (text, pairs, labels) in enumerate(_state_twice(scenes, rng)):
                sent = shift_language(text, rng, options["new_words"])
                for pair, ((first, second), true) in enumerate(zip(pairs, labels, strict=True)):
                    rows.append(
                        {
                            "uid": f"nlvr2_{split}_{len(rows)}",
                            "identifier": f"{said}-{group}-{pair}-{index}",
                            "img0": names[first],
                            "img1": names[second],
                            "label": int(true),
                            "sent": sent,
                        }
                    )
        writer.json(f"nlvr/{split}.json", rows)


def _state_twice(
    scenes: list[Scene], rng: np.random.Generator
) -> list[tuple[str, list[tuple[int, int]], tuple[bool, bool]]]:
    """Two statements about the same two pairs of photos, each true of one pair and false of one."""
    while True:
        pairs = [pick_pair(rng, scenes), pick_pair(rng, scenes)]
        told = [(scenes[first], scenes[second]) for first, second in pairs]
        stated = []
        for _ in range(2):
            true = int(rng.integers(2))
            text = state(told[true], told[1 - true], rng)
            stated.append((text, pairs, (true == 0, true == 1)))
        # Pairs that show too much alike are drawn anew.
        if all(text is not None for text, *_ in stated):
            return [(str(text), pairs, labels) for text, pairs, labels in stated]


def _write_tv(writer: _Writer, options: dict[str, Any]) -> None:
    """Questions with five choices, and captions, of videos with subtitles."""
    splits = ("train", "val", "test_public", "test_release")
    questions: dict[str, list[dict]] = {split: [] for split in splits}
    clips: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    subtitles, number, desc_id = [], 0, 0
    for split, size in zip(splits, sizes_of(VIDEOS, options), strict=True):
        for _ in range(size):
            rng = _generator(options, TV, number)
            script, name = write_script(rng), f"toy_clip_{number:05d}"
            frames = render(script.shots, script.wall, SIDE, rng)
            write_mp4(writer.path(f"videos/tv/{name}.mp4"), frames)
            writer.digest.update(frames.tobytes())
            seconds = round(len(frames) / FPS, 2)
            subtitles.append({"vid_name": name, "sub": _subtitles(script, rng, seconds)})
            for row in _choices(script, rng, options):
                row["qid"] = sum(len(rows) for rows in questions.values())
                row |= {"vid_name": name, "ts": f"0.00-{seconds:.2f}", "show_name": "toy"}
                if split.startswith("test"):
                    del row["answer_idx"]
                questions[split].append(row)
            clip: dict[str, Any] = {"vid_name": name, "duration": seconds, "ts": [0.0, seconds]}
            clip["clip_id"] = number
            if not split.startswith("test"):
                clip["descs"] = []
                for text in script.captions[:3]:
                    row = {"desc": write_articles(text), "desc_id": desc_id, "type": "v"}
                    clip["descs"].append(row)
                    desc_id += 1
            clips["test" if split.startswith("test") else split].append(clip)
            number += 1
    writer.lines("video/ann/tv_subtitles.jsonl", subtitles)
    for split, rows in questions.items():
        writer.lines(f"video/ann/tvqa/tvqa_{split}.jsonl", rows)
    for split, rows in clips.items():
        writer.lines(f"video/ann/tvc/tvc_{split}_release.jsonl", rows)


def _subtitles(script: Script, rng: np.random.Generator, seconds: float) -> list[dict[str, Any]]:
    """What is said: about the wall, and about a thing or none."""
    things = [thing for shot in script.shots for thing in shot.things]
    said = [f"there is a {script.wall} wall"]
    if rng.random() < 0.5:
        said.append(f"then a {choose(rng, sorted({thing.shape for thing in things}))} appears")
    half = seconds / len(said)
    return [
        {"text": text, "start": round(i * half, 2), "end": round((i + 1) * half, 2)}
        for i, text in enumerate(said)
    ]


def _choices(
    script: Script, rng: np.random.Generator, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Questions whose answers are of a kind with five words at least."""
    for asked in ask_video(script, rng, VIDEO_QUESTIONS):
        kind = next(kind for kind in KINDS if asked.answer in kind)
        others = [word for word in kind if word != asked.answer]
        if len(others) < 4:
            continue
        wrong = [others[i] for i in rng.permutation(len(others))[:4]]
        right = int(rng.integers(5))
        words = [*wrong[:right], asked.answer, *wrong[right:]]
        text = shift_language(asked.text, rng, options["new_words"])
        yield {"q": text, **{f"a{i}": w for i, w in enumerate(words)}, "answer_idx": right}


def _write_texts(writer: _Writer, options: dict[str, Any]) -> None:
    """Pairs of texts for both language models: hidden words, and answers about captions."""
    count = max(16, round(PAIRS * options["share"]))
    for name, hide in (("bart", _hide_bart), ("t5", _hide_t5)):
        rng = _generator(options, TEXTS, 0)
        rows = [_pair(rng, options["new_words"], hide) for _ in range(count)]
        writer.lines(f"pretrain_{name}.jsonl", rows)


def _pair(rng: np.random.Generator, share: float, hide: Hide) -> dict[str, str]:
    scene = related_scene(rng)
    plain = write_articles(choose(rng, scene.captions()))
    caption = shift_language(plain, rng, share)
    kind = int(rng.integers(4))
    if kind == 0:
        words = caption.split()
        start = int(rng.integers(len(words) - 1))
        text, target = hide(words, start, min(len(words), start + int(rng.integers(1, 4))))
        return {"text": text, "target": target}
    if kind == 1:
        return {"text": f"{caption} ?", "target": plain}
    if kind == 2:
        # Questions about all of a scene; the caption may leave the answer out.
        asked = choose_asked(scene, rng, plain)
        return {"text": f"{shift_language(asked[0], rng, share)} {caption}", "target": asked[1]}
    # Which of five words is in the caption, as a letter with its number.
    named = [word for word in plain.split() if any(word in kind for kind in KINDS[:2])]
    if not named:
        return {"text": f"{caption} ?", "target": plain}
    right = choose(rng, named)
    words = next(kind for kind in KINDS if right in kind)
    others = [word for word in words if word not in plain.split()][:4]
    at = int(rng.integers(len(others) + 1))
    listed = [*others[:at], right, *others[at:]]
    choices = " ".join(f"a{i}: {word}." for i, word in enumerate(listed))
    return {"text": f"{caption} [Choices] {choices}", "target": f"a{at}"}


def choose_asked(scene: Scene, rng: np.random.Generator, caption: str) -> tuple[str, str]:
    """A question about a scene whose answer the caption says, or whether it names a thing."""
    said = [a for a in ask_photo(scene, rng, QUESTIONS) if a.answer in caption.split()]
    if said:
        return said[0].text, said[0].answer
    things = [thing.name for thing in scene.things]
    name = choose(rng, things)
    return f"is there a {name} ?", "yes" if name in caption else "no"


def _hide_bart(words: list[str], start: int, stop: int) -> tuple[str, str]:
    """BART's task: words that a mark stands for; the whole sentence is written."""
    return " ".join([*words[:start], "<mask>", *words[stop:]]), " ".join(words)


def _hide_t5(words: list[str], start: int, stop: int) -> tuple[str, str]:
    """T5's task: words that a sentinel stands for; they are written behind it."""
    text = " ".join([*words[:start], "<extra_id_0>", *words[stop:]])
    return text, " ".join(["<extra_id_0>", *words[start:stop]])
