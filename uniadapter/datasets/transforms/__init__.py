"""Transforms: from an annotation to frames and a clean caption, alike for videos and images."""

from .augment import VideoRandAugment
from .backends import BACKENDS, open_media
from .base_backend import ArrayBackend, InexactError, VideoBackend
from .boxes import BoxCrop, BoxResize, CheckPicture
from .fit import FitAndPad
from .formatting import PackFeatures, PackInputs, PackTexts
from .loading import LoadSeconds, LoadVideo
from .pictures import FramesBackend, ImageBackend, picture_of
from .pyav import AvBackend
from .sampling import sample_frames, sample_seconds
from .text import CleanCaption, CleanQuestion, HideWord
from .video import (
    VideoCenterCrop,
    VideoFlip,
    VideoRandomResizedCrop,
    VideoRatioCrop,
    VideoResize,
)
from .video_files import DecordBackend

__all__ = [
    "BACKENDS",
    "ArrayBackend",
    "AvBackend",
    "BoxCrop",
    "BoxResize",
    "CheckPicture",
    "CleanCaption",
    "CleanQuestion",
    "DecordBackend",
    "FitAndPad",
    "FramesBackend",
    "HideWord",
    "ImageBackend",
    "InexactError",
    "LoadSeconds",
    "LoadVideo",
    "PackFeatures",
    "PackInputs",
    "PackTexts",
    "VideoBackend",
    "VideoCenterCrop",
    "VideoFlip",
    "VideoRandAugment",
    "VideoRandomResizedCrop",
    "VideoRatioCrop",
    "VideoResize",
    "open_media",
    "picture_of",
    "sample_frames",
    "sample_seconds",
]
