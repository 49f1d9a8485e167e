"""Scores of generated captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uniadapter.evaluation.functional.caption_scores import (
    PYTHON_SCORES,
    check_caption_tools,
    score_captions,
)
from uniadapter.registry import METRICS
from uniadapter.utils.json_files import brief, parse_json

from .gathered import (
    GatheredMetric,
    sample_field,
    sample_id,
    sample_prediction,
    shown,
    write_json,
)


@METRICS.register_module()
class CaptionMetric(GatheredMetric):
    """BLEU-1 to 4, ROUGE-L, CIDEr and, with Java, METEOR and SPICE, all times 100.

    Data samples carry ``image_id``, ``pred_caption`` and, unless ``ann_file`` is given,
    ``gt_captions`` (a list of the image's reference captions). A sample that is ``skipped`` and has
    no prediction counts as an empty caption, which scores 0.

    Args:
        ann_file: Ground truth in COCO's caption format, in place of the samples' ``gt_captions``.
        scores: As in :func:`~uniadapter.evaluation.functional.score_captions`.
        tokenizer: ``'python'``, or ``'java'`` for pycocoevalcap's own.
        results_file: JSON file for the official server, a list of ``image_id`` and ``caption``;
            written whether or not there are references.
        subset: Score the images that have a prediction when ``ann_file`` has more; otherwise an
            image without a prediction is an error.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.
        prediction: Field of the caption; text-to-text models write ``'pred_text'``.

    Raises:
        FileNotFoundError: If ``ann_file`` does not exist, or Java or SPICE's models are missing.
        ModuleNotFoundError: If pycocoevalcap is not installed.
        ValueError: If ``ann_file`` is no caption ground truth, or another argument is wrong.
    """

    #: Extension of results files.
    suffix = ".json"

    def __init__(
        self,
        ann_file: str | Path | None = None,
        scores: Sequence[str] = PYTHON_SCORES,
        tokenizer: str = "python",
        results_file: str | Path | None = None,
        subset: bool = False,
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_caption",
    ) -> None:
        super().__init__(prefix=prefix, collect_device=collect_device)
        check_caption_tools(scores, tokenizer)
        if results_file is not None and Path(results_file).suffix != self.suffix:
            raise ValueError(
                f"{type(self).__name__}.results_file must end in {self.suffix}, got "
                f"{results_file!r}"
            )
        self.prediction = prediction
        self.references = None if ann_file is None else load_coco_captions(ann_file)
        self.ann_file = ann_file
        self.scores = tuple(scores)
        self.tokenizer = tokenizer
        self.results_file = results_file
        self.subset = subset

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take note of some captions.

        Args:
            data_batch: Not used.
            data_samples: Dicts or objects with the fields named above.

        Raises:
            ValueError: If a field is missing or of the wrong kind.
        """
        for sample in data_samples:
            image = sample_id(sample, "image_id", "CaptionMetric")
            record: dict[str, Any] = dict(
                id=image, prediction=sample_prediction(sample, self.prediction, "CaptionMetric")
            )
            if self.references is None:
                record["truth"] = _reference_list(sample, image)
            self.results.append({**record, **self._further(sample)})

    def _further(self, sample: Any) -> dict[str, Any]:
        """What else a record of a sample holds."""
        return {}

    def _submit(self, records: Sequence[dict]) -> None:
        if self.results_file is not None:
            rows = [{"image_id": r["id"], "caption": r["prediction"]} for r in records]
            write_json(self.results_file, rows, "CaptionMetric")

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of all captions.

        Args:
            results: The gathered records.

        Returns:
            ``'Bleu_1'`` to ``'Bleu_4'``, ``'ROUGE_L'``, ``'CIDEr'``, and ``'METEOR'`` and
            ``'SPICE'`` if asked for; nothing when there are no references but a results file.

        Raises:
            ValueError: If images lack references or predictions.
        """
        predictions = {record["id"]: record["prediction"] for record in results}
        references = self._references(results)
        self._submit(results)
        empty = [image for image, text in predictions.items() if not text.strip()]
        if empty:
            print_log(
                f"CaptionMetric: {len(empty)} captions are empty and score 0: images "
                f"{shown(empty)}",
                logger="current",
                level=30,
            )
        if references is None:
            return {}
        return score_captions(references, predictions, self.scores, self.tokenizer)

    def _references(self, results: Sequence[dict]) -> dict[int | str, list[str]] | None:
        """The references of exactly the images of the results; None if they have none at all."""
        if self.references is not None:
            return self._references_of_file([record["id"] for record in results])
        without = [record["id"] for record in results if record["truth"] is None]
        if not without:
            return {record["id"]: record["truth"] for record in results}
        if len(without) < len(results):
            raise ValueError(
                f"CaptionMetric: {len(without)} of {len(results)} images have no 'gt_captions': "
                f"{shown(without)}"
            )
        if self.results_file is None:
            raise ValueError(
                "CaptionMetric: the data samples have no 'gt_captions'; set ann_file to a COCO "
                "caption ground truth, or results_file to write the captions for the server"
            )
        return None

    def _references_of_file(self, images: Sequence[int | str]) -> dict[int | str, list[str]]:
        references = self.references or {}
        unknown = [image for image in images if image not in references]
        if unknown:
            raise ValueError(
                f"CaptionMetric: {self.ann_file} has no captions of images {shown(unknown)}; its "
                f"ids look like {shown(list(references)[:1])}"
            )
        known = set(images)
        missing = [image for image in references if image not in known]
        if missing and not self.subset:
            raise ValueError(
                f"CaptionMetric: images of {self.ann_file} without a prediction: {shown(missing)}. "
                "Set subset=True to score the predicted ones alone."
            )
        if missing:
            print_log(
                f"CaptionMetric: {len(missing)} images of {self.ann_file} have no prediction and "
                "are left out",
                logger="current",
            )
        return {image: references[image] for image in images}


def _reference_list(sample: Any, image: int | str) -> list[str] | None:
    value = sample_field(sample, "gt_captions")
    if value is None:
        return None
    captions = [value] if isinstance(value, str) else list(value)
    if not captions or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(
            f"'gt_captions' of image {image!r} must be a list of strings with at least one, got "
            f"{value!r}"
        )
    return captions


def load_coco_captions(ann_file: str | Path) -> dict[int | str, list[str]]:
    """Read reference captions in COCO's format.

    Args:
        ann_file: JSON file with ``annotations``, a list of ``image_id`` and ``caption``, and maybe
            ``images``, a list of ``id``.

    Returns:
        Image id to its captions, in the order of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not JSON, lacks a key, or an image has no caption.
    """
    path = Path(ann_file)
    if not path.is_file():
        raise FileNotFoundError(f"CaptionMetric.ann_file {path} does not exist")
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ValueError(f"{path} has no list 'annotations'; it must be in COCO's caption format")
    captions: dict[int | str, list[str]] = {}
    for index, row in enumerate(content["annotations"]):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str):
            raise ValueError(f"{path}: annotation {index} has no string 'caption': {brief(row)}")
        try:
            image = sample_id(row, "image_id", "annotation")
        except ValueError as error:
            raise ValueError(f"{path}: annotation {index}: {error}") from None
        captions.setdefault(image, []).append(row["caption"])
    listed = content.get("images", [])
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise ValueError(f"{path}: 'images' must be a list of objects with an 'id'")
    images = [sample_id(row, "id", f"{path}: image {index}") for index, row in enumerate(listed)]
    bare = [image for image in images if image not in captions]
    if bare or not captions:
        raise ValueError(f"{path}: images without a caption: {shown(bare) or 'all'}")
    return captions
