"""What is known about one medium and its captions, beside the pixels."""

from __future__ import annotations

from mmengine.structures import BaseDataElement


class MultimodalSample(BaseDataElement):
    """One medium (a video, or an image as a video of one frame) with its caption or captions.

    Everything stands in the meta information, so it crosses process borders as plain Python:

    - ``media_id`` (int): index of the medium; all captions of a medium share it.
    - ``video_id`` (str): name of the medium in the annotation file.
    - ``media_path`` (str): the file, or the folder of frames, that was read.
    - ``text`` (str) in training, or ``texts`` (list[str]) in testing.
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
