"""Transforms: from an annotation to frames and a clean caption, alike for videos and images."""

from .augment import VideoRandAugment
from .backends import BACKENDS, DecordBackend, FramesBackend, ImageBackend, VideoBackend, open_media
from .formatting import PackInputs
from .loading import LoadVideo
from .sampling import sample_frames
from .text import CleanCaption, CleanQuestion
from .video import VideoFlip, VideoRandomResizedCrop, VideoResize

__all__ = [
    "BACKENDS",
    "CleanCaption",
    "CleanQuestion",
    "DecordBackend",
    "FramesBackend",
    "ImageBackend",
    "LoadVideo",
    "PackInputs",
    "VideoBackend",
    "VideoFlip",
    "VideoRandAugment",
    "VideoRandomResizedCrop",
    "VideoResize",
    "open_media",
    "sample_frames",
]
