"""Videos with subtitles: questions of TVQA and How2QA, captions of TVC and YC2C (VALUE)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...registry import DATASETS
from ...utils.json_files import brief
from ..readers import read_json_lines, require_file, require_id, require_text
from .base import BaseFeatureDataset, Once, refuse_some, whole_text
from .frames import fit_frames

#: Frames of a video that the model reads.
NUM_FRAMES = 64
#: Tasks whose clips are told by their times; those of the others are whole videos.
_TIMED = ("tvc",)


def read_subtitles(path: str) -> dict[str, str]:
    """Read what is said in videos.

    Args:
        path: JSON-lines file, ``{"vid_name", "sub": [{"text", "start", "end"}, ...]}`` a line.

    Returns:
        By name of the video its subtitles, each stripped, joined by blanks.

    Raises:
        ValueError: When a line is incomplete, or a video stands in the file twice.
        FileNotFoundError: When there is no such file.
    """
    once, found = Once("vid_name"), dict[str, str]()
    for line, entry in read_json_lines(require_file(path, "subtitles")):
        where = f"{path}: line {line}"
        name = require_text(entry, "vid_name", where)
        once.check(name, where)
        parts = entry.get("sub")
        listed = parts if isinstance(parts, list) else [None]
        texts = [part.get("text") if isinstance(part, dict) else None for part in listed]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"{where}: 'sub' of {name!r} must be a list of objects with a text under 'text'; "
                "an empty one where nothing is said."
            )
        found[name] = " ".join(str(text).strip() for text in texts)
    return found


class VideoDataset(BaseFeatureDataset):
    """Items of a task about videos with subtitles.

    Texts are put together when an item is asked for: subtitles are long, and many items share
    them. A prefix stands behind the text and one blank.

    Args:
        ann_file: JSON-lines file or files.
        features: See the base class; ``shape`` is ``(None, D)`` for videos of uneven length.
        task: See the subclass.
        subtitles: JSON-lines file of the subtitles, see :func:`read_subtitles`.
        prefix: See the base class. Defaults to False.
        num_frames: Frames that the model reads, see :func:`fit_frames`. Defaults to 64.
        **kwargs: See the base class.

    Raises:
        ValueError: When an option is outside its set, or an entry is incomplete, repeats or has no
            subtitles.
        FileNotFoundError: When a file, the folder of features or one of them does not exist.
    """

    #: Key of an entry's identifier.
    ID = ""

    def __init__(
        self,
        ann_file: str | Sequence[str],
        features: dict[str, Any],
        task: str,
        subtitles: str,
        prefix: bool | str = False,
        num_frames: int = NUM_FRAMES,
        **kwargs: Any,
    ) -> None:
        if type(num_frames) is not int or num_frames < 1:
            raise ValueError(
                f"{type(self).__name__}: num_frames must be at least 1, got {num_frames!r}."
            )
        self.subtitles, self.num_frames = subtitles, num_frames
        super().__init__(ann_file, features, task, prefix, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.subtitles = self._joined(self.subtitles)

    def load_data_list(self) -> list[dict]:
        """Return the items of all files, in their order."""
        said = read_subtitles(self.subtitles)
        self._said = said
        self._ids = Once(self.ID)
        items = super().load_data_list()
        del self._ids
        used = {item["video_id"] for item in items}
        self._said = {name: text for name, text in said.items() if name in used}
        return items

    def _video(self, entry: Any, where: str) -> dict[str, Any]:
        """The video of an entry, which must have subtitles."""
        name = require_text(entry, "vid_name", where)
        if name not in self._said:
            raise ValueError(
                f"{where}: vid_name {name!r} has no line in {self.subtitles}; add one, with an "
                "empty 'sub' where nothing is said, or name the file of this data set's subtitles."
            )
        return {"where": where, "video_id": name, "images": [name]}

    def _closed(self, text: str) -> str:
        """The text of a video with its prefix."""
        return f"{text} {self.prefix}" if self.prefix else text

    def fit(self, features: np.ndarray) -> np.ndarray:
        """See :func:`fit_frames`."""
        return fit_frames(features, self.num_frames)


@DATASETS.register_module()
class FeatureVideoQA(VideoDataset):
    """TVQA (``tvqa_{train,val,test_public,test_release}.jsonl``) or How2QA.

    A line is ``{"qid", "q", "a0" ..., "answer_idx", "ts", "vid_name"}`` with five answers (TVQA) or
    four (How2QA); in testing ``answer_idx`` may be missing from all lines. What is read::

        [Subs] SUBTITLES [Q] QUESTION [TS] (20.16-25.12) [Choices] a0: FIRST. a1: SECOND. tvqa:

    The target is ``'a0'``, ``'a1'`` ...; a test item has ``question_id`` (the ``qid``),
    ``question`` and ``label``, the number of the right answer.

    Args:
        ann_file: See the base class.
        features: See the base class.
        task: ``'tvqa'`` or ``'how2qa'``.
        subtitles: See the base class.
        prefix: See the base class. Defaults to False.
        **kwargs: See the base class.

    Raises:
        ValueError: As the base class, and when answers are not as many as the task's.
        FileNotFoundError: As the base class.
    """

    METAINFO: dict[str, Any] = {"dataset": "FeatureVideoQA", "task": "video qa"}
    TASKS = ("tvqa", "how2qa")
    ID = "qid"

    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the questions of a file."""
        items = []
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            item = self._video(entry, where)
            item["question_id"] = require_id(entry, "qid", where)
            self._ids.check(item["question_id"], where)
            item["question"] = require_text(entry, "q", where)
            item["ts"] = whole_text(entry, "ts", where)
            item["choices"] = self._choices(entry, where)
            if "answer_idx" in entry or not self.test_mode:
                item["label"] = self._label(entry, where)
            items.append(item)
        refuse_some(items, "label", "answer_idx", path)
        yield from items

    def _choices(self, entry: dict[str, Any], where: str) -> list[str]:
        count = self.task.choices
        found = sorted(key for key in entry if key[:1] == "a" and key[1:].isdecimal())
        wanted = [f"a{number}" for number in range(count)]
        if found != wanted or not all(isinstance(entry[key], str) for key in wanted):
            raise ValueError(
                f"{where}: {self.task.name} has {count} answers, texts under {wanted}, and this "
                f"question has {found}; is it the file of another task?"
            )
        return [entry[key] for key in wanted]

    def _label(self, entry: dict[str, Any], where: str) -> int:
        label = entry.get("answer_idx")
        if type(label) is not int or not 0 <= label < self.task.choices:
            raise ValueError(
                f"{where}: 'answer_idx' must be a number from 0 to {self.task.choices - 1}, got "
                f"{brief(label)}; a file without answers needs test_mode=True."
            )
        return label

    def complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """Put the text together."""
        said = enumerate(text.strip(". ") for text in item.pop("choices"))
        choices = " ".join(f"a{number}: {text}." for number, text in said)
        text = (
            f"[Subs] {self._said[item['video_id']]} [Q] {item['question']} [TS] ({item['ts']}) "
            f"[Choices] {choices}"
        )
        item = {**item, "text": self._closed(text)}
        if self.test_mode:
            return item
        return {**item, "target": f"a{item['label']}", "target_weight": 1.0}


@DATASETS.register_module()
class FeatureVideoCaption(VideoDataset):
    """TVC (``tvc_{train,val,test}_release.jsonl``) or YC2C: clips to describe.

    A line is ``{"vid_name", "clip_id", "ts": [start, end], "descs": [{"desc"}, ...]}``; of YC2C
    ``ts`` is not read. Every description is an item, in testing too, as published validation
    figures score each against itself alone; where no line has ``descs`` a clip is one. What is
    read, of YC2C without the times::

        [Subs] SUBTITLES [TS] ([35.73, 40.9]) tvc:

    A test item has ``video_id`` (the ``vid_name``), ``clip_id``, of TVC ``ts``, ``image_id`` (the
    ``clip_id`` and the number of the description) and ``gt_captions``, the one description.

    Args:
        ann_file: See the base class.
        features: See the base class.
        task: ``'tvc'`` or ``'yc2c'``.
        subtitles: See the base class.
        prefix: See the base class. Defaults to False.
        **kwargs: See the base class.

    Raises:
        ValueError: As the base class, and when some lines of a split have descriptions and others
            not.
        FileNotFoundError: As the base class.
    """

    METAINFO: dict[str, Any] = {"dataset": "FeatureVideoCaption", "task": "video caption"}
    TASKS = ("tvc", "yc2c")
    ID = "clip_id"

    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the descriptions, or the clips, of a file."""
        items: list[dict[str, Any]] = []
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            clip = {**self._video(entry, where), "clip_id": require_id(entry, "clip_id", where)}
            self._ids.check(clip["clip_id"], where)
            if self.task.name in _TIMED:
                clip["ts"] = _seconds(entry, where)
            if "descs" not in entry and self.test_mode:
                items.append({**clip, "image_id": str(clip["clip_id"])})
                continue
            for number, text in enumerate(_descriptions(entry, where)):
                key = f"{clip['clip_id']}-{number}"
                items.append({**clip, "image_id": key, "gt_captions": [text]})
        refuse_some(items, "gt_captions", "descs", path)
        yield from items

    def complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """Put the text together."""
        text = f"[Subs] {self._said[item['video_id']]}"
        if self.task.name in _TIMED:
            text += f" [TS] ({item['ts']})"
        item = {**item, "text": self._closed(text)}
        if self.test_mode:
            return item
        return {**item, "target": item.pop("gt_captions")[0], "target_weight": 1.0}


def _seconds(entry: dict[str, Any], where: str) -> list[float]:
    times = entry.get("ts")
    good = isinstance(times, list) and len(times) == 2
    if not good or not all(_is_time(time) for time in times or ()):
        raise ValueError(f"{where}: 'ts' must be two numbers of seconds, got {brief(times)}.")
    return list(times or ())


def _is_time(value: Any) -> bool:
    """Whether it is a number; Python reads NaN and Infinity in JSON too."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < math.inf


def _descriptions(entry: dict[str, Any], where: str) -> list[str]:
    parts = entry.get("descs")
    if not isinstance(parts, list) or not parts:
        raise ValueError(
            f"{where}: 'descs' must be a list of at least one description; a file without them "
            "needs test_mode=True."
        )
    return [whole_text(part, "desc", f"{where}: descs[{n}]") for n, part in enumerate(parts)]
