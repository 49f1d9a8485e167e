"""What is known about one medium and its captions, beside the pixels."""

from __future__ import annotations

from mmengine.structures import BaseDataElement

#: What a pipeline hands on of an item, where the item has it.
META_KEYS = (
    "media_id",
    "video_id",
    "media_path",
    "text",
    "texts",
    "question",
    "question_id",
    "answers",
    "answer_weights",
    "gt_answers",
    "gt_scores",
    "question_type",
    "answer_type",
    "image_id",
    "gt_captions",
    "tokens_positive",
    "box",
    "gt_box",
    "ori_shape",
    "split",
    "index",
    "label",
    "target",
    "target_weight",
    "task",
    "identifier",
    "is_topk_optimal",
    "clip_id",
    "ts",
)


class MultimodalSample(BaseDataElement):
    """One medium (a video, or an image as a video of one frame) with its caption or captions.

    Everything stands in the meta information, so it crosses process borders as plain Python:

    - ``media_id`` (int): index of the medium; all captions of a medium share it.
    - ``video_id`` (str): name of the medium in the annotation file.
    - ``media_path`` (str): the file, or the folder of frames, that was read.
    - ``text`` (str): the caption in training, or the question; ``texts`` (list[str]): all captions
      of the medium in a retrieval test.
    - questions: ``question_id``, ``question`` (str, before it was cleaned); in training ``answers``
      (list[str]) and ``answer_weights`` (list[float]); in testing, where the split has them,
      ``gt_answers`` (list[str]) or ``gt_scores`` (the score of each right answer, dict[str,
      float]), ``question_type`` and ``answer_type`` (str).
    - grounding: ``text`` (the expression), ``tokens_positive`` (spans of characters that name the
      thing), ``box`` (its corners in the pixels of the picture as it is now), ``gt_box`` (in those
      of the original, whose height and width are ``ori_shape``), ``image_id`` and ``split``.
    - captions in testing: ``image_id`` (int or str) and ``gt_captions`` (list[str]).
    - texts alone: ``text`` is what is read, ``target`` (str) what is to be written, ``index`` (int)
      the place in the file and ``label`` (str) its label, where there is one.
    - texts beside features: ``text``, ``target`` and ``target_weight`` (float), what a target's
      loss counts; ``task`` (str); in testing what its metric reads: ``label`` (int: the number of
      the right answer, or whether a statement is true), ``identifier`` (str) of a statement,
      ``is_topk_optimal`` (bool) of a question, ``clip_id`` and ``ts`` (seconds) of a clip.
    - ``replaced`` (list[str]): media that could not be read and that this sample stands in for.
    - ``skipped`` (bool): testing only; the medium could not be read and has no pixels.
    """

    def captions(self) -> list[str]:
        """Return the captions of the sample: one in training, all of the medium in testing."""
        texts = self.get("texts")
        if texts is not None:
            return list(texts)
        text = self.get("text")
        return [] if text is None else [text]
