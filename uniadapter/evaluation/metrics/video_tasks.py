"""Questions and captions of videos, with files for the server of VALUE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from uniadapter.registry import METRICS
from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write

from .caption import CaptionMetric
from .gathered import sample_field, sample_id
from .vqa import AnswerMetric


@METRICS.register_module()
class ChoiceMetric(AnswerMetric):
    """Share of questions with given answers that are answered rightly (TVQA, How2QA), in percent.

    Data samples carry ``question_id``, ``pred_text`` and ``label``, the number of the right answer
    (absent or None in a split to submit). A text is right if it is ``a`` and that number, exactly.

    Args:
        submission_file: JSON file for VALUE's server, one object ``{"question id": number}``, such
            as ``tvqa/tvqa_val_predictions.json``; written whether or not there are truths. The
            number is the second character of the text, or 0 where that is no digit.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.
        prediction: Field of the text. Defaults to ``'pred_text'``.

    Raises:
        ValueError: If ``submission_file`` does not end in .json.
    """

    truth = "label"

    def __init__(
        self,
        submission_file: str | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_text",
    ) -> None:
        super().__init__(submission_file, prefix, collect_device, prediction)

    def _truth_of(self, sample: Any, question: int | str) -> int | None:
        label = sample_field(sample, "label")
        if label is not None and (isinstance(label, bool) or not isinstance(label, int)):
            raise ValueError(
                f"ChoiceMetric: 'label' of question {question!r} must be the number of its right "
                f"answer, got {label!r}."
            )
        return label

    def _submit(self, records: Sequence[dict]) -> None:
        if self.submission_file is None:
            return
        numbers = {str(record["id"]): said_number(record["prediction"]) for record in records}
        if len(numbers) < len(records):
            raise ValueError("ChoiceMetric: two question ids are one as a text; rename one.")
        atomic_write(self.submission_file, json.dumps(numbers).encode())
        print_log(
            f"ChoiceMetric: wrote {len(numbers)} answers to {self.submission_file}",
            logger="current",
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy of all answers.

        Args:
            results: The gathered records.

        Returns:
            ``'accuracy'``, in percent; nothing when there are no truths.

        Raises:
            ValueError: If only some questions have truths, or none has and there is no submission
                to write.
        """
        has_truth = self._has_truth(results)
        self._submit(results)
        if not has_truth:
            return {}
        rights = [record["prediction"] == f"a{record['truth']}" for record in results]
        return {"accuracy": 100.0 * sum(rights) / len(rights)}


def said_number(text: str) -> int:
    """The number of an answer that a text says: its second character, or 0 if that is no digit."""
    try:
        return int(text[1])
    except (IndexError, ValueError):
        return 0


@METRICS.register_module()
class VideoCaptionMetric(CaptionMetric):
    """Scores of captions of clips, as :class:`CaptionMetric`, and the file for VALUE's server.

    With :class:`~uniadapter.datasets.FeatureVideoCaption` every description of a clip is scored
    against itself alone, as VL-Adapter's validation figures are; the server compares with all
    descriptions of a clip, so that the two can't be compared.

    Data samples carry ``image_id``, ``pred_text``, ``clip_id``, ``video_id`` and, of TVC, ``ts``;
    and ``gt_captions`` as there.

    Args:
        results_file: JSON-lines file (.jsonl) for VALUE's server, such as
            ``tvc/tvc_val_predictions.jsonl``: a clip a line, ``vid_name``, ``clip_id``, ``ts`` and
            ``descs`` where samples have times, as TVC's, otherwise ``video_id``, ``clip_id`` and
            ``descs``, as YC2C's.
        prediction: Field of the caption. Defaults to ``'pred_text'``.
        **kwargs: Those of :class:`CaptionMetric`.

    Raises:
        FileNotFoundError: As :class:`CaptionMetric`.
        ValueError: If ``results_file`` does not end in .jsonl, or as there.
    """

    suffix = ".jsonl"

    def __init__(self, prediction: str = "pred_text", **kwargs: Any) -> None:
        super().__init__(prediction=prediction, **kwargs)

    def _further(self, sample: Any) -> dict[str, Any]:
        """The clip of a sample, as the server wants it."""
        clip = sample_id(sample, "clip_id", "VideoCaptionMetric")
        name = sample_field(sample, "video_id")
        if not isinstance(name, str):
            raise ValueError(
                f"VideoCaptionMetric needs the name of the video as 'video_id' of clip {clip!r}, "
                f"got {name!r}; the dataset has to set it"
            )
        times = sample_field(sample, "ts")
        if times is None:
            return {"clip": {"video_id": name, "clip_id": clip}}
        return {"clip": {"vid_name": name, "clip_id": clip, "ts": list(times)}}

    def _submit(self, records: Sequence[dict]) -> None:
        if self.results_file is None:
            return
        rows: dict[int | str, dict[str, Any]] = {}
        for record in records:
            # What is said of a clip is said once, however many descriptions it has.
            row = {**record["clip"], "descs": [{"desc": record["prediction"]}]}
            rows.setdefault(record["clip"]["clip_id"], row)
        lines = [json_text(row) + "\n" for row in rows.values()]
        atomic_write(self.results_file, "".join(lines).encode())
        print_log(
            f"VideoCaptionMetric: wrote {len(lines)} clips to {self.results_file}",
            logger="current",
        )
