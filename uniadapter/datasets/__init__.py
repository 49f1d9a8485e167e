"""Datasets: one file a benchmark, reading its published annotation format."""

from . import transforms
from .base import BaseMediaDataset, BaseRetrievalDataset
from .base_question import BaseQuestionDataset, Question
from .caption import BaseCaptionDataset, COCOCaption
from .didemo import DiDeMoRetrieval
from .easy_vqa import EasyVQA
from .feature_tasks import (
    FeatureCaption,
    FeatureNLVR2,
    FeatureVideoCaption,
    FeatureVideoQA,
    FeatureVQA,
)
from .glue import GLUE
from .grounding import ReferringExpressions
from .image_text import KarpathyRetrieval
from .joint import JointDataset
from .joint_sampler import JointBatchSampler
from .json_lines import CaptionJsonDataset, RetrievalJsonDataset, VQAJsonDataset
from .karpathy import CaptionedImage
from .lxmert_vqa import LxmertVQA
from .media import MediaError
from .msrvtt import MSRVTTRetrieval
from .msrvtt_qa import MSRVTTQA
from .msvd import MSVDRetrieval
from .precomp import PrecompRetrieval
from .pretrain import StillCaptionDataset
from .samplers import OrientedBatchSampler
from .text_to_text import TextToTextJson
from .vqa import VQAv2

__all__ = [
    "GLUE",
    "BaseCaptionDataset",
    "BaseMediaDataset",
    "BaseQuestionDataset",
    "BaseRetrievalDataset",
    "COCOCaption",
    "CaptionJsonDataset",
    "CaptionedImage",
    "DiDeMoRetrieval",
    "EasyVQA",
    "FeatureCaption",
    "FeatureNLVR2",
    "FeatureVQA",
    "FeatureVideoCaption",
    "FeatureVideoQA",
    "JointBatchSampler",
    "JointDataset",
    "KarpathyRetrieval",
    "LxmertVQA",
    "MSRVTTQA",
    "MSRVTTRetrieval",
    "MSVDRetrieval",
    "MediaError",
    "OrientedBatchSampler",
    "PrecompRetrieval",
    "Question",
    "ReferringExpressions",
    "RetrievalJsonDataset",
    "StillCaptionDataset",
    "TextToTextJson",
    "VQAJsonDataset",
    "VQAv2",
    "transforms",
]
