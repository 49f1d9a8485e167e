"""Captions of pictures and videos."""

from __future__ import annotations

from torch import nn

from uniadapter.models.tasks import CaptionModel
from uniadapter.structures import MultimodalSample
from uniadapter.visualization.report import Entry

from .base import BaseInferencer


class CaptionInferencer(BaseInferencer):
    """Describes pictures or videos, as the test loop does.

    See :class:`BaseInferencer` for the arguments and for those of a call, whose results are dicts
    with ``pred_caption`` (str).
    """

    needs = "a model that writes captions (CaptionModel)"
    task = "Captioning"

    @classmethod
    def runs(cls, model: nn.Module) -> bool:
        """Whether it writes captions."""
        return isinstance(model, CaptionModel)

    def result(self, sample: MultimodalSample) -> dict[str, str]:
        """The caption."""
        return {"pred_caption": sample.pred_caption}

    def entry(self, given: object, sample: MultimodalSample) -> Entry:
        """The caption and the frames."""
        return Entry(sample.pred_caption, panels=[self.panel(given)])
