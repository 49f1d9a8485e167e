"""Data sets of texts beside features: VL-Adapter's four tasks of pictures and four of videos."""

from .base import BaseFeatureDataset
from .captions import FeatureCaption
from .frames import fit_frames
from .questions import FeatureVQA
from .statements import FeatureNLVR2
from .video import FeatureVideoCaption, FeatureVideoQA

__all__ = [
    "BaseFeatureDataset",
    "FeatureCaption",
    "FeatureNLVR2",
    "FeatureVQA",
    "FeatureVideoCaption",
    "FeatureVideoQA",
    "fit_frames",
]
