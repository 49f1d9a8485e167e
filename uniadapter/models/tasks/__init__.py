"""Tasks: towers, adapter and heads as MMEngine models."""

from .base import VisionLanguageModel
from .caption import CaptionModel
from .classify import AnswerClassModel
from .grounding import GroundingModel
from .pretrain import BlipPretrainModel
from .retrieval import RetrievalModel
from .seq2seq import Seq2SeqModel
from .vl_seq2seq import VLSeq2Seq
from .vqa import VQAModel
from .vse import VseModel

__all__ = [
    "AnswerClassModel",
    "BlipPretrainModel",
    "CaptionModel",
    "GroundingModel",
    "RetrievalModel",
    "Seq2SeqModel",
    "VLSeq2Seq",
    "VQAModel",
    "VisionLanguageModel",
    "VseModel",
]
