"""Predictions and rankings as entries of a report: what the commands that draw have in common."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms.backends import open_media
from uniadapter.datasets.transforms.sampling import sample_frames
from uniadapter.evaluation.functional import exact_match
from uniadapter.utils.boxes import generalized_iou
from uniadapter.utils.json_files import parse_json
from uniadapter.visualization.report import Entry, Panel, Report
from uniadapter.visualization.strips import sized, strip

TARGET, FOUND = (40, 200, 80), (230, 50, 40)
#: GIoU from which a box is right, as in the metric.
THRESHOLD = 0.5
_UNREADABLE = (120, 120, 120)
_FRAMES, _HEIGHT, _BOX_HEIGHT = 6, 72, 240


def frames_of(path: str, number: int) -> np.ndarray:
    """Frames (N, H, W, 3) uint8 of a medium, N at most ``number`` and at most those it has.

    Raises:
        MediaError: If it can't be read.
    """
    reader = open_media(path, "auto")
    return reader.get_frames(
        sample_frames(len(reader), min(number, len(reader)), "center").tolist()
    )


# --- Rankings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankingPictures:
    """What of a ranking is drawn.

    Attributes:
        queries (int): Spread over the split.
        videos (int): Of a query.
        frames (int): Of a video.
        height (int): Of a frame, in pixels.
    """

    queries: int = 5
    videos: int = 4
    frames: int = 6
    height: int = 56


def read_ranking(path: str | Path) -> dict[str, Any]:
    """Read a dumped ranking.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is no ranking, or has no query.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: tools/test.py writes it with test_cfg.dump={path}."
        )
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no ranking: it is no JSON ({error}).") from error
    keys = {"texts", "media", "positives", "top"}
    if not isinstance(content, dict) or not keys <= set(content) or not content["texts"]:
        raise ValueError(f"{path} is no ranking: the keys {sorted(keys)} are expected, not empty.")
    wrong = _wrong_in(content)
    if wrong is not None:
        raise ValueError(f"{path} is no whole ranking: {wrong}; write it again.")
    return content


def _wrong_in(ranking: dict[str, Any]) -> str | None:
    """What doesn't fit together in a ranking, in words; None if all does."""
    texts, media = ranking["texts"], ranking["media"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return "'texts' must be a list of queries"
    good = isinstance(media, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("id", "path"))
        for entry in media
    )
    if not good:
        return "'media' must be a list of objects with an 'id' and a 'path'"
    keys = ("positives", "top", *(["ranks"] if "ranks" in ranking else []))
    for key in keys:
        if not isinstance(ranking[key], list) or len(ranking[key]) != len(texts):
            return f"{key!r} must be a list with an entry for each of the {len(texts)} queries"

    def known(value: Any) -> bool:
        return type(value) is int and 0 <= value < len(media)

    for query, (right, listed) in enumerate(zip(ranking["positives"], ranking["top"], strict=True)):
        pairs = isinstance(listed, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and known(pair[0])
            and isinstance(pair[1], int | float)
            for pair in listed
        )
        if not known(right) or not pairs:
            return f"query {query} names media that are not in the list, or no scores"
    return None


def ranking_report(ranking: dict[str, Any], about: str, options: RankingPictures) -> Report:
    """Text queries with their ranked videos.

    Args:
        ranking (dict): From :func:`read_ranking`.
        about (str): Where it is from.
        options (RankingPictures): What is drawn.
    """
    total = len(ranking["top"])
    entries = [_query_entry(ranking, query, options) for query in spread(total, options.queries)]
    return Report(
        "Retrieved videos", [f"{about}: {total} queries, {len(ranking['media'])} videos"], entries
    )


def spread(total: int, wanted: int) -> list[int]:
    """Numbers of at most ``wanted`` of ``total`` things, evenly spread."""
    return np.linspace(0, total - 1, min(wanted, total)).round().astype(int).tolist()


def _query_entry(ranking: dict[str, Any], query: int, options: RankingPictures) -> Entry:
    right, panels = ranking["positives"][query], []
    listed = ranking["top"][query][: options.videos]
    for place, (medium, score) in enumerate(listed, 1):
        picture, wrong = _strip_of(ranking["media"][medium]["path"], options)
        title = " ".join([f"{place}. {ranking['media'][medium]['id']}  {score:.2f}", wrong])
        panels.append(Panel(picture, title, medium == right))
    rank = _place_of(ranking, query)
    if right not in [medium for medium, _ in listed]:
        picture, wrong = _strip_of(ranking["media"][right]["path"], options)
        title = f"right: {ranking['media'][right]['id']}, {rank} {wrong}"
        panels.append(Panel(picture, title, True))
    lines = [f"right video: {ranking['media'][right]['id']}, {rank} of {len(ranking['media'])}"]
    return Entry(f'Query {query}: "{ranking["texts"][query]}"', lines, panels)


def _strip_of(path: str, options: RankingPictures) -> tuple[Image.Image, str]:
    """Frames of a video side by side, and what is wrong with it."""
    try:
        pictures = frames_of(path, options.frames)
    except MediaError as error:
        print(f"cannot be shown: {error}", file=sys.stderr)
        return Image.new("RGB", (4 * options.height, options.height), _UNREADABLE), "not readable"
    return strip([sized(picture, options.height) for picture in pictures]), ""


def _place_of(ranking: dict[str, Any], query: int) -> str:
    """The rank of the right video in words."""
    if "ranks" in ranking:
        return f"rank {ranking['ranks'][query]}"
    listed = [medium for medium, _ in ranking["top"][query]]
    right = ranking["positives"][query]
    if right in listed:
        return f"rank {listed.index(right) + 1}"
    return f"not among the best {len(listed)}"


# --- Predictions --------------------------------------------------------------------------------


def prediction_report(rows: Sequence[Mapping[str, Any]], about: str, number: int) -> Report:
    """Items of a test with what was predicted of them.

    Args:
        rows (Sequence): As :class:`~uniadapter.engine.hooks.PredictionHook` keeps them.
        about (str): Where they are from.
        number (int): How many are drawn, spread over all.

    Raises:
        ValueError: If the rows have no prediction that can be drawn.
    """
    entries = [_row_entry(rows[index]) for index in spread(len(rows), number)]
    return Report("Predictions", [f"{about}: {len(rows)} items"], entries)


def answer_entry(facts: Any, answer: str, frames: np.ndarray | None, height: int) -> Entry:
    """A question with its frames, target and answer.

    Args:
        facts (Mapping | MultimodalSample): Of the question.
        answer (str): The model's.
        frames (ndarray, optional): (N, H, W, 3) uint8.
        height (int): Of a frame, in pixels.
    """
    annotated = facts.get("gt_answers") or facts.get("answers")
    target = Counter(annotated).most_common(1)[0][0] if annotated else None
    right = None if target is None else exact_match(answer, target)
    given = dict.fromkeys(facts.get("gt_answers") or [])
    lines = [f"Target: {'not in this split' if target is None else target}", f"Answer: {answer}"]
    if len(given) > 1:
        lines[0] += f" (also given: {', '.join(a for a in given if a != target)})"
    title = f"Question {facts.get('question_id')}: {facts.get('question')}"
    return Entry(title, lines, _panels(facts, frames, height, right))


def boxes_entry(
    facts: Any, found: Sequence[Sequence[float]], scores: Sequence[float], frame: Any, height: int
) -> Entry:
    """An expression with its picture, target and predictions.

    Args:
        facts (Mapping | MultimodalSample): Of the expression.
        found (Sequence): Boxes that are drawn, in the pixels of the original, best first.
        scores (Sequence): Of all boxes.
        frame (ndarray): (H, W, 3) uint8, the picture.
        height (int): Of the drawing, in pixels.
    """
    truth = list(facts.get("gt_box"))
    overlap = float(generalized_iou(torch.tensor(list(found[0])), torch.tensor(truth)))
    text = facts.get("text")
    words = [text[begin:end] for begin, end in facts.get("tokens_positive") or ()]
    lines = [
        f"names the thing by: {', '.join(words)}",
        f"score {scores[0]:.2f}, GIoU {overlap:.2f}",
    ]
    picture = with_boxes(frame, found, truth, height)
    title = f"{facts.get('split')} {facts.get('image_id')}: {text}"
    return Entry(title, lines, [Panel(picture, str(facts.get("video_id")), overlap >= THRESHOLD)])


def with_boxes(
    frame: np.ndarray, found: Sequence[Sequence[float]], truth: Sequence[float], height: int
) -> Image.Image:
    """A picture with its boxes, given in the pixels of the original; the best one drawn last."""
    picture = sized(frame, height)
    across, down = picture.width / frame.shape[1], picture.height / frame.shape[0]
    pen = ImageDraw.Draw(picture)
    drawn = [(box, FOUND, 3 if rank == 0 else 1) for rank, box in enumerate(found)][::-1]
    for box, color, width in [(truth, TARGET, 3), *drawn]:
        left, top, right, bottom = box
        corners = [left * across, top * down, right * across, bottom * down]
        # Pillow refuses a box whose corners are exchanged.
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            pen.rectangle(corners, outline=color, width=width)
    return picture


def _row_entry(row: Mapping[str, Any]) -> Entry:
    for key, draw in _DRAWN.items():
        if row.get(key) is not None:
            return draw(row)
    if row.get("skipped"):
        return Entry(str(row.get("video_id")), ["could not be read"])
    known = ", ".join(_DRAWN)
    raise ValueError(f"The test predicts nothing that can be drawn: {known}; it has {sorted(row)}.")


def _frames_in(row: Mapping[str, Any], number: int) -> np.ndarray | None:
    path = row.get("media_path") or row.get("img_path")
    if not path:
        return None
    try:
        return frames_of(path, number)
    except MediaError as error:
        print(f"cannot be shown: {error}", file=sys.stderr)
        return None


def _panels(
    facts: Any, frames: np.ndarray | None, height: int, right: bool | None
) -> Sequence[Panel]:
    if frames is None:
        return ()
    shown = strip([sized(frame, height) for frame in frames])
    return [Panel(shown, str(facts.get("video_id") or ""), right)]


def _answer(row: Mapping[str, Any]) -> Entry:
    return answer_entry(row, row["pred_answer"], _frames_in(row, _FRAMES), _HEIGHT)


def _boxes(row: Mapping[str, Any]) -> Entry:
    frames = _frames_in(row, 1)
    height, width = row["ori_shape"][:2]
    blank = np.full((height, width, 3), _UNREADABLE, np.uint8)
    frame = blank if frames is None else frames[0]
    return boxes_entry(row, row["pred_boxes"][:1], row["pred_scores"], frame, _BOX_HEIGHT)


def _caption(row: Mapping[str, Any]) -> Entry:
    lines = [f"By people: {text}" for text in row.get("gt_captions") or ()]
    frames = _panels(row, _frames_in(row, _FRAMES), _HEIGHT, None)
    return Entry(f"{row.get('image_id')}: {row['pred_caption']}", lines, frames)


def _written(row: Mapping[str, Any]) -> Entry:
    target = row.get("target")
    right = None if target is None else exact_match(row["pred_text"], target)
    lines = [f"Target: {target}"] if target is not None else []
    frames = _panels(row, _frames_in(row, _FRAMES), _HEIGHT, right)
    return Entry(f"{row.get('text')}: {row['pred_text']}", lines, frames)


def _label(row: Mapping[str, Any]) -> Entry:
    target = row.get("gt_label")
    right = None if target is None else row["pred_label"] == target
    lines = [f"Target: {'not in this split' if target is None else target}"]
    if row.get("pred_score"):
        lines.append(f"Score: {max(row['pred_score']):.2f}")
    frames = _panels(row, _frames_in(row, _FRAMES), _HEIGHT, right)
    return Entry(f"Class {row['pred_label']}", lines, frames)


_DRAWN: dict[str, Callable[[Mapping[str, Any]], Entry]] = {
    "pred_answer": _answer,
    "pred_caption": _caption,
    "pred_boxes": _boxes,
    "pred_text": _written,
    "pred_label": _label,
}
