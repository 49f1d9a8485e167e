"""What a script or a notebook calls: build a model, read media, embed them, convert files."""

from .auto import AutoAdapterModel
from .convert import convert_checkpoint
from .encoding import encode_image, encode_text, encode_video
from .inputs import InputReader, read_image, read_text, read_video
from .model import build_model, init_model, load_weights

__all__ = [
    "AutoAdapterModel",
    "InputReader",
    "build_model",
    "convert_checkpoint",
    "encode_image",
    "encode_text",
    "encode_video",
    "init_model",
    "load_weights",
    "read_image",
    "read_text",
    "read_video",
]
