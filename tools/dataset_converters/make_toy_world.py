"""Draw the embedded toy world: stills to pre-train on, videos to adapt to.

    python tools/dataset_converters/make_toy_world.py --out data/toy_world

writes (see docs/embedded_data.md)::

    data/toy_world/
        world.json                  options, counts and a digest of everything drawn
        stills/images.npy           (N, side, side, 3) uint8 RGB
        stills/captions.json        N lists of captions
        msrvtt/MSRVTT_data.json     the published MSR-VTT format
        msrvtt/MSRVTT_train.9k.csv
        msrvtt/MSRVTT_JSFUSION_test.csv
        msrvtt/videos/video0.mp4 ...

and with ``--parts`` the twins of the other benchmarks, each in its published format::

        didemo/{train,val,test}_data.json, videos/
        coco/annotations/coco_karpathy_{train,val,test}.json, coco_karpathy_{val,test}_gt.json,
             images/{train2014,val2014}/
        flickr30k/dataset_flickr30k.json, flickr30k-images/
        vqav2/v2_*_{questions,annotations}.json, answer_list.json       about coco's pictures
        refcoco/{pretrain_{train,val},finetune_refcoco_{train,val,testA,testB}}.json,
             {stills,train2014}/
        vqa_lxmert/{train,minival}.json, trainval_{label2ans,ans2label}.json    the same questions
        glue/{CoLA,MRPC,RTE}/{train,dev,test}.tsv, pretrain.jsonl       about no pictures
        msrvtt_qa/{train,val,test}_qa.json, answer_list.json            about msrvtt's videos
        vl/{vqa,GQA,nlvr,COCO,video/ann}/..., pretrain_{bart,t5}.jsonl, {pictures,videos}/

The same options give the same pictures, frames and captions on every machine. A world that is there
already and complete is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.utils import ProgressBar

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_world.benchmarks import PARTS, WRITERS, write_msrvtt_qa
from toy_world.files import FPS, write_csv, write_json, write_mp4
from toy_world.language import vocabulary
from toy_world.stills import draw_stills
from toy_world.videos import KINDS, Script, Video, draw_video, write_script

from uniadapter.utils.arguments import natural, number, seed_number, side, whole
from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import parse_json
from uniadapter.utils.safe_io import atomic_file, atomic_write

#: Raise it when the drawing changes, so that worlds of an older version are drawn anew.
VERSION = 1
TRAIN, TEST = 1, 2
PROGRESS = 100


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw the embedded toy world.")
    parser.add_argument("--out", default="data/toy_world", help="folder of the world")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument(
        "--stills", type=whole(0), default=20000, help="number of stills, 0 for none"
    )
    parser.add_argument("--train-videos", type=natural, default=1200)
    parser.add_argument("--test-videos", type=natural, default=256)
    parser.add_argument("--captions", type=natural, default=3, help="captions of a training video")
    parser.add_argument("--still-side", type=side, default=48, help="side of a still in pixels")
    parser.add_argument("--video-side", type=side, default=64, help="side of a video in pixels")
    parser.add_argument(
        "--new-words",
        type=number(0, 1),
        default=0.5,
        help="share of words said by a new synonym",
    )
    parser.add_argument(
        "--camera",
        type=number(0, 100),
        default=0.6,
        help="strength of the visual shift, 0 for none",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        default=[],
        choices=[*PARTS, "all"],
        help="twins of other benchmarks to draw as well",
    )
    parser.add_argument(
        "--share",
        type=number(0, 10, open_below=True),
        default=1.0,
        help="of the sizes of these parts",
    )
    parser.add_argument("--vocab", help="write the vocabulary to this file as well")
    parser.add_argument("--force", action="store_true", help="draw it even if it is there")
    return parser.parse_args(argv)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What decides how the world looks."""
    unrelated = ("out", "vocab", "force", "parts", "share")
    return {"version": VERSION, **{k: v for k, v in vars(args).items() if k not in unrelated}}


def drawn_with(path: Path) -> Any:
    """The options of what is there; None where there is nothing, or nobody can read it."""
    if not path.is_file():
        return None
    try:
        facts = parse_json(path.read_bytes())
    except ValueError:
        return None
    return facts.get("options") if isinstance(facts, dict) else None


def is_complete(out: Path, options: dict[str, Any]) -> bool:
    """Whether ``out`` holds the world of these options, with every file in place."""
    path = out / "world.json"
    if drawn_with(path) != options:
        return False
    names = [f"msrvtt/videos/video{i}.mp4" for i in range(_count(options))]
    names += [
        "msrvtt/MSRVTT_data.json",
        "msrvtt/MSRVTT_train.9k.csv",
        "msrvtt/MSRVTT_JSFUSION_test.csv",
    ]
    if options["stills"]:
        names += ["stills/images.npy", "stills/captions.json"]
    return all((out / name).is_file() and (out / name).stat().st_size for name in names)


def _count(options: dict[str, Any]) -> int:
    return options["train_videos"] + options["test_videos"]


def video_seeds(options: dict[str, Any]) -> Iterator[list[int]]:
    """Yield the seed of each training video, then of each test video.

    No two test videos show the same things, so that a test caption has one right answer.

    Raises:
        ValueError: When there are not that many different ones.
    """
    for i in range(options["train_videos"]):
        yield [options["seed"], TRAIN, i]
    seen: set[tuple[str, ...]] = set()
    for i in range(options["test_videos"]):
        for attempt in range(1000):
            found = [options["seed"], TEST, i, attempt]
            key = write_script(np.random.default_rng(found)).key
            if key not in seen:
                break
        else:
            raise ValueError(f"--test-videos {options['test_videos']}: the world has not that many")
        seen.add(key)
        yield found


def draw_videos(options: dict[str, Any]) -> Iterator[Video]:
    """Yield the training videos, then the test videos."""
    style = {
        "side": options["video_side"],
        "captions": options["captions"],
        "new_words": options["new_words"],
        "camera": options["camera"],
    }
    for seed in video_seeds(options):
        yield draw_video(np.random.default_rng(seed), **style)


def scripts(options: dict[str, Any]) -> Iterator[tuple[bool, Script]]:
    """Yield whether a video is one of the test, and what it shows, in the order of the files."""
    for i, seed in enumerate(video_seeds(options)):
        yield i >= options["train_videos"], write_script(np.random.default_rng(seed))


def write_msrvtt(out: Path, options: dict[str, Any]) -> tuple[str, dict[str, int]]:
    """Write videos and annotations; return a digest of the raw frames and the counts of kinds."""
    (out / "videos").mkdir(parents=True, exist_ok=True)
    digest, kinds = hashlib.sha256(), dict[str, int]()
    videos, sentences, train, test = [], [], [], []
    bar = ProgressBar(_count(options))
    for i, video in enumerate(draw_videos(options)):
        name = f"video{i}"
        is_test = i >= options["train_videos"]
        write_mp4(out / "videos" / f"{name}.mp4", video.frames)
        digest.update(video.frames.tobytes())
        kinds[video.kind] = kinds.get(video.kind, 0) + 1
        split = "test" if is_test else "train"
        seconds = len(video.frames) / FPS
        videos.append(
            {
                "video_id": name,
                "id": i,
                "category": KINDS.index(video.kind),
                "split": split,
                "url": "",
                "start time": 0.0,
            }
            | {"end time": seconds}
        )
        for caption in video.captions:
            sentence = {"caption": caption, "video_id": name, "sen_id": len(sentences)}
            sentences.append(sentence)
        (test if is_test else train).append((name, video.captions[0]))
        # One line of the bar in a hundred: the rest would only fill a log.
        if (i + 1) % PROGRESS == 0 or i + 1 == _count(options):
            bar.update(i + 1 - bar.completed)
    info = {"description": "toy world in the format of MSR-VTT"}
    write_json(out / "MSRVTT_data.json", {"info": info, "videos": videos, "sentences": sentences})
    write_csv(out / "MSRVTT_train.9k.csv", ["video_id"], [[name] for name, _ in train])
    rows = [
        [f"ret{i}", name.replace("video", "msr"), name, text] for i, (name, text) in enumerate(test)
    ]
    header = ["key", "vid_key", "video_id", "sentence"]
    write_csv(out / "MSRVTT_JSFUSION_test.csv", header, rows)
    digest.update(json.dumps(sentences).encode())
    return digest.hexdigest(), kinds


def write_stills(out: Path, options: dict[str, Any]) -> str:
    """Write pictures and captions of the stills; return a digest of both."""
    out.mkdir(parents=True, exist_ok=True)
    images, captions = draw_stills(options["stills"], options["still_side"], options["seed"])
    with atomic_file(out / "images.npy", sync=False) as file:
        np.save(file, images)
    write_json(out / "captions.json", captions)
    digest = hashlib.sha256(images.tobytes())
    digest.update(json.dumps(captions).encode())
    return digest.hexdigest()


PART_FILE = "part.json"


def write_part(part: str, out: Path, options: dict[str, Any], force: bool) -> None:
    """Write one of the twins, unless it is there and was drawn with these options."""
    folder = out / part
    path = folder / PART_FILE
    if path.is_file() and not force:
        if drawn_with(path) == options:
            print(f"{folder} is complete.")
            return
        path.unlink()
    if part == "msrvtt_qa":
        digest = write_msrvtt_qa(folder, options, scripts(options))
    else:
        digest = WRITERS[part](folder, options)
    # Written last, so that an interrupted run never looks complete.
    write_json(path, {"options": options, "sha256": digest})
    print(f"wrote {folder}")


def parts_of(args: argparse.Namespace) -> list[str]:
    """The chosen parts, and coco where questions are about its pictures."""
    chosen = set(PARTS if "all" in args.parts else args.parts)
    if chosen & {"vqav2", "vqa_lxmert"}:
        chosen.add("coco")
    return [part for part in PARTS if part in chosen]


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the world unless it is there."""
    args = parse_args(argv)
    out, options = Path(args.out), options_of(args)
    if args.vocab:
        atomic_write(Path(args.vocab), ("\n".join(vocabulary()) + "\n").encode())
    if is_complete(out, options) and not args.force:
        print(f"{out} is complete: nothing to draw (--force draws it anew).")
    else:
        write_world(out, options)
    for part in parts_of(args):
        write_part(part, out, {**options, "share": args.share}, args.force)


def write_world(out: Path, options: dict[str, Any]) -> None:
    """Write the stills and MSR-VTT's twin."""
    out.mkdir(parents=True, exist_ok=True)
    # Written last, so that an interrupted run never looks complete.
    (out / "world.json").unlink(missing_ok=True)
    facts: dict[str, Any] = {"options": options}
    if options["stills"]:
        facts["stills_sha256"] = write_stills(out / "stills", options)
        print(f"{options['stills']} stills in {out / 'stills'}")
    facts["videos_sha256"], facts["kinds"] = write_msrvtt(out / "msrvtt", options)
    write_json(out / "world.json", facts)
    print(
        f"\n{options['train_videos']} training and {options['test_videos']} test videos in "
        f"{out / 'msrvtt'}"
    )


if __name__ == "__main__":
    main()
