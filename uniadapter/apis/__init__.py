"""What a script or a notebook calls: a model by name, media and texts read and embedded, files."""

from .adapters import find_adapter, load_adapter
from .auto import AutoAdapterModel
from .convert import convert_checkpoint
from .encoding import encode_image, encode_text, encode_video
from .export import export_model, load_exported
from .inference import inference_model
from .inferencers import (
    CaptionInferencer,
    FeatureExtractor,
    ImageToTextRetrievalInferencer,
    TextToImageRetrievalInferencer,
    TextToVideoRetrievalInferencer,
    VideoToTextRetrievalInferencer,
    VisualQuestionAnsweringInferencer,
)
from .inputs import InputReader, read_image, read_text, read_video
from .model import build_model, init_model, load_weights
from .weights import find_weights
from .zoo import get_model, list_models, load_model_and_preprocess

__all__ = [
    "AutoAdapterModel",
    "CaptionInferencer",
    "FeatureExtractor",
    "ImageToTextRetrievalInferencer",
    "InputReader",
    "TextToImageRetrievalInferencer",
    "TextToVideoRetrievalInferencer",
    "VideoToTextRetrievalInferencer",
    "VisualQuestionAnsweringInferencer",
    "build_model",
    "convert_checkpoint",
    "encode_image",
    "encode_text",
    "encode_video",
    "export_model",
    "find_adapter",
    "find_weights",
    "get_model",
    "inference_model",
    "init_model",
    "list_models",
    "load_adapter",
    "load_exported",
    "load_model_and_preprocess",
    "load_weights",
    "read_image",
    "read_text",
    "read_video",
]
