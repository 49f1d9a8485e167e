"""Precision of the boxes that a text means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uniadapter.registry import METRICS
from uniadapter.utils.boxes import generalized_iou

from .gathered import GatheredMetric, sample_field, sample_id, write_json


@METRICS.register_module()
class GroundingMetric(GatheredMetric):
    """Precision@k of RefCOCO, RefCOCO+ and RefCOCOg as MDETR measures it.

    An expression counts if one of the k boxes of highest score has a *generalised* IoU of at least
    0.5 with the annotated box, in the pixels of the original picture. GIoU is at most IoU, so that
    this is a little stricter than the usual measure. Of equal scores the box with the greater
    coordinates comes first, as there.

    A dataset of several files has figures of each (``testA/P@1``) rather than of all.

    Args:
        topk: The numbers k. Defaults to (1, 5, 10).
        threshold: GIoU from which a box is right. Defaults to 0.5.
        result_file: Write the boxes here as well, as a list of COCO's results: ``image_id``,
            ``category_id`` 1, ``bbox`` (left, top, width, height) and ``score``, the best ``max(
            topk)`` of each expression, and ``split``. Defaults to None.
        prefix: Put before every name, for several evaluators in one run.
        collect_device: Accepted for mmengine's sake.

    Raises:
        ValueError: If an option is outside its set.
    """

    def __init__(
        self,
        topk: Sequence[int] = (1, 5, 10),
        threshold: float = 0.5,
        result_file: str | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        if not topk or any(not isinstance(k, int) or k < 1 for k in topk):
            raise ValueError(f"GroundingMetric.topk={topk!r} must be numbers of at least 1.")
        if not -1 < threshold <= 1:
            raise ValueError(f"GroundingMetric.threshold={threshold} must be in (-1, 1].")
        self.topk, self.threshold = sorted(set(topk)), threshold
        self.result_file = result_file

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Keep the best boxes of some expressions.

        Args:
            data_batch: Not used.
            data_samples: Each with ``image_id``, ``split``, ``gt_box`` (corners in pixels),
                ``pred_boxes`` (corners) and ``pred_scores``; a sample that was skipped has none of
                the last two, and is wrong.

        Raises:
            ValueError: If one of them is missing.
        """
        for sample in data_samples:
            number = sample_id(sample, "image_id", "GroundingMetric")
            split = str(sample_field(sample, "split", ""))
            boxes, scores = (sample_field(sample, f"pred_{name}") for name in ("boxes", "scores"))
            if boxes is None and sample_field(sample, "skipped", False):
                boxes, scores = [], []
            truth = sample_field(sample, "gt_box")
            if boxes is None or scores is None or truth is None or len(boxes) != len(scores):
                raise ValueError(
                    f"GroundingMetric needs 'gt_box', 'pred_boxes' and as many 'pred_scores' of "
                    f"every data sample; image_id {number!r} lacks one."
                )
            ranked = sorted(zip(map(float, scores), map(list, boxes), strict=True), reverse=True)
            self.results.append(
                {
                    "id": f"{split}/{number}",
                    "prediction": ranked[: max(self.topk)],
                    "truth": [float(side) for side in truth],
                    "image_id": number,
                    "split": split,
                }
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Percentages of right expressions.

        Args:
            results: Records of :meth:`process`.

        Returns:
            ``'P@1'``, ``'P@5'`` ..., behind the split and a slash where there are several.
        """
        if self.result_file is not None:
            write_json(Path(self.result_file), _coco_results(results), "GroundingMetric")
        places: dict[str, list[int]] = defaultdict(list)
        for record in results:
            places[record["split"]].append(self._place(record))
        metrics: dict[str, float] = {}
        for split, found in places.items():
            before = f"{split}/" if len(places) > 1 else ""
            for k in self.topk:
                right = sum(place < k for place in found)
                metrics[f"{before}P@{k}"] = 100.0 * right / len(found)
        return metrics

    def _place(self, record: dict[str, Any]) -> int:
        """Place of the first right box from 0; the number of all where there is none."""
        boxes = [box for _, box in record["prediction"]]
        if not boxes:
            return max(self.topk)
        overlap = generalized_iou(torch.tensor(boxes), torch.tensor(record["truth"]))
        right = (overlap >= self.threshold).nonzero()
        return int(right[0]) if len(right) else max(self.topk)


def _coco_results(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": record["image_id"],
            "category_id": 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
            "split": record["split"],
        }
        for record in results
        for score, box in record["prediction"]
    ]
